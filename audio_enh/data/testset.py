"""Noisy test sets on disk: the same files for everyone who has the same sources and seed."""

from __future__ import annotations

import contextlib
import csv
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from audio_enh.data import augment
from audio_enh.errors import UserError
from audio_enh.sources.packed import SILENT, AudioFolder, PackedAudio
from audio_enh.sources.rooms import reverberate

log = logging.getLogger(__name__)

# Stretches of noise drawn before one that is not silent is taken not to exist.
_TRIES = 1000


def build_test_set(
    out: str,
    speech: AudioFolder,
    noise: AudioFolder,
    rooms: AudioFolder | None = None,
    snr_db: Sequence[float] = (-5, 0, 5, 10, 15),
    per_snr: int = 40,
    seconds: tuple[float, float] = (2.0, 10.0),
    level_db: float = -26.0,
    early_seconds: float = 0.05,
    sample_rate: int = 16000,
    cache: str = "~/.cache/audio_enh",
    seed: int = 0,
    skip_broken: bool = False,
) -> Path:
    """Mix speech with noise at given signal-to-noise ratios and write ``noisy/``, ``clean/``, ``metadata.csv``.

    Speech files are drawn without repetition while they last, whole up to the longest duration. The ratio is
    that of speech while someone speaks (:func:`audio_enh.data.augment.active_rms`) to noise. The folder appears
    when all of it is written.

    Args:
        out: folder to make; must not hold a set already.
        speech, noise: sources.
        rooms: recorded room responses: with them every item is reverberant, and the target keeps the
            reflections of the first ``early_seconds`` (0: the direct sound alone).
        snr_db: ratios, in dB.
        per_snr: pairs for each.
        seconds: shortest and longest item.
        level_db: RMS of the noisy file against full scale.
        early_seconds: see ``rooms``.
        sample_rate: in Hz.
        cache: folder for decoded audio.
        seed: everything drawn follows from it.
        skip_broken: leave out files that cannot be used or are silent, and say how many, instead of refusing.

    Returns:
        The folder.

    Raises:
        UserError: ``out`` exists and is not empty, files cannot be used, no speech file is long enough, or a number
            is out of its range.
    """
    folder = empty_folder(out)
    if not (0 <= seconds[0] <= seconds[1] and seconds[1] > 0):
        raise UserError(f"seconds must be (shortest, longest), not ({seconds[0]}, {seconds[1]})")
    if early_seconds < 0:
        raise UserError(f"early_seconds must be 0 or more, not {early_seconds}")
    if per_snr < 1 or not snr_db:
        raise UserError(f"nothing to mix: per_snr is {per_snr} and snr_db {list(snr_db)}")
    store = Path(cache).expanduser()
    talk, sound = (
        PackedAudio(source.files(), sample_rate, store, skip_broken=skip_broken, what=what)
        for source, what in ((speech, "speech"), (noise, "noise"))
    )
    responses = None
    if rooms is not None:
        responses = PackedAudio(
            rooms.files(), sample_rate, store, skip_broken=skip_broken, rooms=True, what="room"
        )
    _refuse_silent(sound, np.flatnonzero(sound.peaks < SILENT), "noise", skip_broken)
    shortest, longest = (round(s * sample_rate) for s in seconds)
    total = len(snr_db) * per_snr
    order, rng = draw_speech(talk, speech.path, total, max(shortest, 1), longest, seed, skip_broken)

    with pairs_in(folder) as made:
        rows = []
        for i, index in enumerate(order):
            ratio = float(snr_db[i % len(snr_db)])
            clean = wet = talk.read(int(index), 0, longest)
            room = ""
            if responses is not None:
                which, response = responses.draw_whole(rng)
                wet, clean = reverberate(clean, response, sample_rate, early_seconds)
                room = responses.files[which].name
            source, disturbance = _noise(sound, rng, len(clean))
            disturbance = disturbance * (
                augment.active_rms(wet, sample_rate // 50) / augment.rms(disturbance) * 10 ** (-ratio / 20)
            )
            noisy = wet + disturbance
            gain = min(10 ** (level_db / 20) / augment.rms(noisy), 0.99 / float(np.abs(noisy).max()))
            name = f"{i:04d}_snr{ratio:g}.flac"
            soundfile.write(made / "noisy" / name, noisy * gain, sample_rate, "PCM_16")
            soundfile.write(made / "clean" / name, clean * gain, sample_rate, "PCM_16")
            rows.append(
                {
                    "file": name,
                    "snr_db": f"{ratio:g}",
                    "noise": source.stem,
                    "noise_type": source.stem.split("_")[0],
                    "speech": talk.files[int(index)].stem,
                    "room": room,
                    "seconds": f"{len(clean) / sample_rate:.3f}",
                }
            )
        write_metadata(made, rows)
    log.info("%d pairs in %s", total, folder)
    return folder


def empty_folder(out: str) -> Path:
    """The folder of a set to be made.

    Raises:
        UserError: it exists and is not empty.
    """
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"'{folder}' is not empty: give another `out` or remove it")
    return folder


@contextlib.contextmanager
def pairs_in(folder: Path) -> Iterator[Path]:
    """A place with ``noisy/`` and ``clean/`` to write a set into; it becomes ``folder`` at the end, or is gone."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        made = Path(temporary, "set")
        (made / "noisy").mkdir(parents=True)
        (made / "clean").mkdir()
        yield made
        if folder.exists():
            folder.rmdir()  # empty, see above
        made.rename(folder)


def write_metadata(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write ``metadata.csv``, a row for each file of a set."""
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw_speech(
    talk: PackedAudio, place: str, total: int, shortest: int, longest: int, seed: int, skip_broken: bool
) -> tuple[np.ndarray, np.random.Generator]:
    """The speech files of a set in their order, without repetition while they last, none of them silent.

    Args:
        talk: speech to choose from.
        place: where it is from, for messages.
        total: files wanted.
        shortest, longest: samples of an item; the beginning of a longer file is taken.
        seed: of the order.
        skip_broken: leave out silent files instead of refusing.

    Returns:
        Numbers of files, ``(total,)``, and the generator as it is after they were drawn.

    Raises:
        UserError: no file is long enough, or one is silent.
    """
    usable = np.flatnonzero(talk.lengths >= shortest)
    if usable.size == 0:
        raise UserError(f"no speech file in '{place}' lasts {shortest / talk.sample_rate:g} s or more")
    while usable.size:
        rng = np.random.default_rng(seed)
        order = np.concatenate([rng.permutation(usable) for _ in range(-(-total // usable.size))])[:total]
        drawn = np.unique(order)
        frame = talk.sample_rate // 50
        levels = [augment.active_rms(talk.read(int(index), 0, longest), frame) for index in drawn]
        silent = drawn[np.array(levels) < SILENT]
        if not silent.size:
            return order, rng
        _refuse_silent(talk, silent, "speech", skip_broken)
        usable = np.setdiff1d(usable, silent)
    raise UserError(f"all speech files in '{place}' are silent: nothing above -80 dBFS")


def _refuse_silent(pack: PackedAudio, silent: np.ndarray, what: str, skip_broken: bool) -> None:
    if not silent.size:
        return
    named = ", ".join(f"'{pack.files[int(index)]}'" for index in silent[:3])
    more = f" and {silent.size - 3} more" if silent.size > 3 else ""
    said = f"{silent.size} of {len(pack)} {what} files are silent where they would be used: {named}{more}"
    if not skip_broken:
        raise UserError(f"{said}; remove them, or leave them out with set.skip_broken=true")
    log.warning("%s; left out", said)


def _noise(pool: PackedAudio, rng: np.random.Generator, length: int) -> tuple[Path, np.ndarray]:
    """A stretch of noise that is not silent, every file as likely as another, and the file it is from."""
    for _ in range(_TRIES):
        index = int(rng.integers(len(pool)))
        audio = pool.read(index)
        if len(audio) < length:
            audio = np.tile(audio, -(-length // len(audio)))
        start = int(rng.integers(len(audio) - length + 1))
        audio = audio[start : start + length]
        if augment.rms(audio) > SILENT:
            return pool.files[index], audio
    raise UserError(
        f"{_TRIES} draws of {length / pool.sample_rate:g} s of noise were all below -80 dBFS, the last from"
        f" '{pool.files[index]}': the noise is too quiet, or nearly all of it is silence"
    )
