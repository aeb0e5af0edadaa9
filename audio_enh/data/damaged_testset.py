"""A damaged test set on disk: every family of distortions alone, and random chains."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import soundfile

from audio_enh.data.testset import draw_speech, empty_folder, pairs_in, write_metadata
from audio_enh.distortions import RandomDamage, Recordings
from audio_enh.distortions.damage import COUNTS, ROUND
from audio_enh.errors import UserError
from audio_enh.sources.packed import AudioFolder, PackedAudio

log = logging.getLogger(__name__)

# Largest magnitude in a file.
_HEADROOM = 0.99


def build_damaged_set(
    out: str,
    speech: AudioFolder,
    noise: AudioFolder | None = None,
    rooms: AudioFolder | None = None,
    talkers: AudioFolder | None = None,
    per_family: int = 20,
    counts: tuple[float, ...] = COUNTS,
    severity: tuple[float, float] = (0.0, 1.0),
    seconds: tuple[float, float] = (2.0, 6.0),
    sample_rate: int = 16000,
    cache: str = "~/.cache/audio_enh",
    seed: int = 0,
    skip_broken: bool = False,
) -> Path:
    """Damage speech by one distortion of each family in turn, and by chains; write ``noisy/``, ``clean/``,
    ``metadata.csv``.

    Distortions are drawn as by :class:`RandomDamage`. Clean speech is at -26 dB RMS; where a file would go beyond
    full scale, it and its clean one are turned down together. Speech files are drawn without repetition while they
    last, and cut at the longest duration. An item depends on the seed and its number alone: a larger set has the
    items of a smaller one. The folder appears when all of it is written.

    Args:
        out: folder to make; must not hold a set already.
        speech: clean speech.
        noise, rooms, talkers: recordings for the distortions that need some; bundled ones where None or empty.
        per_family: items of each family; of chains there are twice as many.
        counts: probability of 1, 2, ... distortions in a chain.
        severity: from where to where it is drawn, uniformly.
        seconds: shortest and longest item.
        sample_rate: in Hz.
        cache: folder for decoded audio.
        seed: everything drawn follows from it.
        skip_broken: leave out files that cannot be used or are silent, and say how many, instead of refusing.

    Returns:
        The folder.

    Raises:
        UserError: ``out`` exists and is not empty, no speech file is long enough, or a number is out of its range.
    """
    folder = empty_folder(out)
    if per_family < 1:
        raise UserError(f"per_family must be 1 or more, not {per_family}")
    if not (0 <= seconds[0] <= seconds[1] and seconds[1] > 0):
        raise UserError(f"seconds must be (shortest, longest), not ({seconds[0]}, {seconds[1]})")
    store = Path(cache).expanduser()
    talk = PackedAudio(speech.files(), sample_rate, store, skip_broken=skip_broken, what="speech")
    recordings = Recordings.from_folders(
        sample_rate, store, noise=noise, rooms=rooms, talkers=talkers, skip_broken=skip_broken
    )
    damage = RandomDamage(recordings, tuple(counts), (severity[0], severity[1]))
    for name, reason in damage.missing.items():
        log.warning("without %s: %s", name, reason)

    total = per_family * len(ROUND)
    shortest, longest = (round(s * sample_rate) for s in seconds)
    order, _ = draw_speech(talk, speech.path, total, max(shortest, 1), longest, seed, skip_broken)
    with pairs_in(folder) as made:
        rows = []
        for i, index in enumerate(order):
            kind = ROUND[i % len(ROUND)]
            clean = talk.read(int(index), 0, longest)
            item = damage(clean[None], sample_rate, np.random.default_rng((seed, i)), kind)
            highest = max(float(np.abs(x).max()) for x in (item.audio, item.target))
            gain = min(1.0, _HEADROOM / max(highest, _HEADROOM))
            name = f"{i:04d}_{kind.replace(' ', '_')}.flac"
            soundfile.write(made / "noisy" / name, item.audio[0] * gain, sample_rate, "PCM_16")
            soundfile.write(made / "clean" / name, item.target[0] * gain, sample_rate, "PCM_16")
            rows.append(
                {
                    "file": name,
                    "family": kind,
                    "distortions": " ".join(each.name for each in item.record),
                    "severities": " ".join(f"{each.severity:.3f}" for each in item.record),
                    "chain": ", ".join(str(each) for each in item.record),
                    "speech": talk.files[int(index)].stem,
                    "seconds": f"{len(clean) / sample_rate:.3f}",
                }
            )
        write_metadata(made, rows)
    log.info("%d pairs in %s", total, folder)
    return folder
