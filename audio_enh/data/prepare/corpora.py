"""What each collection looks like on disk: which of its files are used, and for what.

The sides of the split follow from :mod:`audio_enh.data.prepare.groups`; ``docs/data_splits.md`` is made from both.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audio_enh.data.prepare import groups
from audio_enh.data.prepare.entries import Entry, Listing, found_in, subfolder
from audio_enh.data.prepare.groups import Rule, apply_rules
from audio_enh.errors import UserError
from audio_enh.sources.folders import audio_below


@dataclass(frozen=True)
class Corpus:
    """A public collection.

    Attributes:
        title: as people call it.
        home: where to get it.
        archives: names of its archives, with their SHA-256 where one is published.
        find: the entries below a folder; raises ``UserError`` if they are not there.
        rules: how its files are named, and split.
        remarks: what is left out, and other things that no rule tells; whole sentences.
        expected: number of entries by kind and split of a complete copy, where that is known.
    """

    title: str
    home: str
    archives: dict[str, str | None]
    find: Callable[[Path], Listing]
    rules: Sequence[Rule]
    remarks: str = ""
    expected: dict[tuple[str, str], int] = field(default_factory=dict)


def voicebank_demand(root: Path) -> Listing:
    """Valentini-Botinhao 2017: ``{clean,noisy}_{trainset_28spk,testset}_wav/p226_001.wav``."""
    entries = []
    for stem in ("trainset_28spk_wav", "testset_wav"):
        noisy, clean = (subfolder(root, f"{side}_{stem}") for side in ("noisy", "clean"))
        originals = {path.stem: path for path in audio_below(clean)}
        for path in audio_below(noisy):
            original = originals.get(path.stem)
            if original is None:
                raise UserError(f"'{path}' has no clean file in '{clean}': unpack both archives whole")
            found = apply_rules(groups.VOICEBANK, "pair", f"{noisy.name}/{path.name}")
            if found is None:
                raise UserError(f"'{path}' is not named as VoiceBank-DEMAND's files, such as p226_001.wav")
            speaker, split = found
            entries.append(Entry(path, f"{split}/{path.stem}", "pair", split, speaker, original, speaker))
    return Listing(entries)


def ears(root: Path) -> Listing:
    """Richter et al. 2024 (arXiv 2406.06185): ``p001/emo_anger_freeform.wav``, 48 kHz.

    Without the styles that their benchmark leaves out: they are not words.
    """
    wordless = ("interjection", "melodic", "nonverbal", "vegetative")
    paths = [path for path in audio_below(root) if not path.stem.startswith(wordless)]
    return _by_rules(root, paths, groups.EARS, "folders p001 to p107")


def librispeech(root: Path) -> Listing:
    """LibriTTS (Zen 2019) and LibriSpeech (Panayotov et al. 2015): ``train-clean-100/READER/CHAPTER/*``."""
    return _by_rules(root, audio_below(root), groups.LIBRISPEECH, "train-clean-100, dev-clean and the like")


def vctk(root: Path) -> Listing:
    """Yamagishi et al. 2019: ``wav48_silence_trimmed/p225/p225_001_mic1.flac`` or ``wav48/p225/p225_001.wav``."""
    return _by_rules(root, audio_below(root), groups.VCTK, "wav48_silence_trimmed/p225/p225_001_mic1.flac")


def wham(root: Path) -> Listing:
    """Wichern et al. 2019: ``wham_noise/{tr,cv,tt}/*.wav``, or the 48 kHz recordings ``high_res_wham/audio``."""
    entries = []
    named = {path.resolve() for path in (root, *root.rglob("high_res_wham")) if (path / "audio").is_dir()}
    for folder in sorted(path for path in named if path.name == "high_res_wham"):
        entries += _high_res_wham(folder)
    paths = [path for path in audio_below(root) if "high_res_wham" not in path.resolve().parts]
    try:
        rest = _by_rules(root, paths, groups.WHAM, "wham_noise/tr, cv, tt or high_res_wham/audio")
    except UserError:
        if not entries:
            raise
        return Listing(entries)
    return Listing(rest.entries + entries, rest.notes)


def _high_res_wham(folder: Path) -> list[Entry]:
    table = folder / "high_res_metadata.csv"
    if not table.is_file():
        raise UserError(
            f"'{table}' is missing: it says which recordings are for training; unpack the archive whole"
        )
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = {
            Path(row["Filename"]).name: row["WHAM! Split"].strip().lower() for row in csv.DictReader(file)
        }
    sides = {"tr": "train", "va": "valid", "cv": "valid", "te": "test", "tt": "test"}
    entries = []
    for path in audio_below(folder / "audio"):
        split = sides.get(rows.get(path.name, "")[:2])
        if split is not None:
            entries.append(Entry(path, f"{split}/{path.stem}", "noise", split, group=path.stem))
    return entries


def dns(root: Path) -> Listing:
    """DNS challenges 1 to 5: folders ``clean*``, ``noise*``, ``impulse_responses`` anywhere below ``datasets*``.

    Pairs of the synthetic test set (``no_reverb``, ``with_reverb``) are matched by their ``fileid``.
    """
    entries = []
    noises = twins = 0
    unknown: Counter[str] = Counter()
    for folder in _topmost(
        root, lambda name: name.startswith(("clean", "noise")) or name == "impulse_responses"
    ):
        if "test_set" in folder.parts or any("testset" in part for part in folder.parts):
            continue
        kind = {"i": "rir", "n": "noise", "c": "speech"}[folder.name[0]]
        for path in audio_below(folder):
            relative = path.relative_to(folder).as_posix()
            if kind == "rir" and ("noise" in path.stem.lower() or "pointsource_noises" in path.parts):
                noises += 1
                continue
            if path.stem.endswith("_mic2"):
                twins += 1
                continue
            found = apply_rules(groups.DNS, kind, f"{folder.name}/{relative}")
            if found is None:
                unknown[f"{kind} in '{path.parent}'"] += 1
            group, split = found or ("", "train")
            name = f"{kind}/{split}/{Path(relative).with_suffix('').as_posix()}"
            entries.append(Entry(path, name, kind, split, group if kind == "speech" else "", None, group))
    for condition in ("no_reverb", "with_reverb"):
        for folder in sorted(root.rglob(f"synthetic/{condition}")):
            originals = {_fileid(path): path for path in audio_below(folder / "clean")}
            for path in audio_below(folder / "noisy"):
                original = originals.get(_fileid(path))
                if original is None:
                    raise UserError(f"'{path}' has no clean file of its fileid in '{folder / 'clean'}'")
                entries.append(Entry(path, f"test/{condition}/{path.stem}", "pair", "test", "", original))
    notes = [
        f"{count} files of {what} are named in no known way: all for training, so that none of their voices or"
        " recordings is validated with"
        for what, count in unknown.most_common()
    ]
    if noises:
        notes.append(f"{noises} files beside the room responses name themselves noise: left out")
    if twins:
        notes.append(f"{twins} files are of VCTK's second microphone: left out")
    return Listing(found_in(entries, root, "folders clean, noise, clean_fullband or noise_fullband"), notes)


def _by_rules(root: Path, paths: Iterable[Path], rules: Sequence[Rule], what: str) -> Listing:
    """Entries of the files that a rule is for; the others are counted."""
    kind = rules[0].kind
    entries = []
    left = 0
    for path in paths:
        found = apply_rules(rules, kind, path.relative_to(root.parent).as_posix())
        if found is None:
            left += 1
            continue
        group, split = found
        within = path.stem if kind == "noise" else f"{group}/{path.stem}"
        speaker = group if kind == "speech" else ""
        entries.append(Entry(path, f"{split}/{within}", kind, split, speaker, None, group))
    notes = [f"{left} files are not of the collection: left out"] if left else []
    return Listing(found_in(entries, root, what), notes)


def _topmost(root: Path, wanted: Callable[[str], bool]) -> Iterable[Path]:
    """Folders with a wanted name, none of them inside another."""
    taken: list[Path] = []
    for path in sorted(p for p in (root, *root.rglob("*")) if p.is_dir() and wanted(p.name)):
        if not any(other in path.parents for other in taken):
            taken.append(path)
    return taken


def _fileid(path: Path) -> str:
    match = re.search(r"fileid_(\d+)", path.stem)
    return match.group(1) if match else path.stem


# SHA-256 of LibriTTS as torchaudio publishes them; for the other collections none are known here.
CORPORA: dict[str, Corpus] = {
    "vbdmd": Corpus(
        "VoiceBank-DEMAND, 28 speakers",
        "https://datashare.ed.ac.uk/handle/10283/2791",
        dict.fromkeys(
            f"{side}_{stem}.zip"
            for side in ("clean", "noisy")
            for stem in ("trainset_28spk_wav", "testset_wav")
        ),
        voicebank_demand,
        groups.VOICEBANK,
        "The clean side is speech to mix as well.",
        {("pair", "train"): 10802, ("pair", "valid"): 770, ("pair", "test"): 824},
    ),
    "ears": Corpus(
        "EARS",
        "https://github.com/facebookresearch/ears_dataset",
        dict.fromkeys(f"p{n:03}.zip" for n in range(1, 108)),
        ears,
        groups.EARS,
        "Sides as in Richter et al. 2024, without the styles that their benchmark leaves out.",
    ),
    "dns": Corpus(
        "DNS challenge",
        "https://github.com/microsoft/DNS-Challenge",
        {},
        dns,
        groups.DNS,
        "The synthetic test set's pairs are on the side test. Files that no rule is for are all for training."
        " Beside the room responses, what names itself noise is left out; of VCTK the second microphone.",
    ),
    "libritts": Corpus(
        "LibriTTS",
        "https://www.openslr.org/60",
        {
            "dev-clean.tar.gz": "da0864e1bd26debed35da8a869dd5c04dfc27682921936de7cff9c8a254dbe1a",
            "dev-other.tar.gz": "d413eda26f3a152ac7c9cf3658ef85504dfb1b625296e5fa83727f5186cca79c",
            "test-clean.tar.gz": "234ea5b25859102a87024a4b9b86641f5b5aaaf1197335c95090cde04fe9a4f5",
            "test-other.tar.gz": "33a5342094f3bba7ccc2e0500b9e72d558f72eb99328ac8debe1d9080402f10d",
            "train-clean-100.tar.gz": "c5608bf1ef74bb621935382b8399c5cdd51cd3ee47cec51f00f885a64c6c7f6b",
            "train-clean-360.tar.gz": "ce7cff44dcac46009d18379f37ef36551123a1dc4e5c8e4eb73ae57260de4886",
            "train-other-500.tar.gz": "e35f7e34deeb2e2bdfe4403d88c8fdd5fbf64865cae41f027a185a6965f0a5df",
        },
        librispeech,
        groups.LIBRISPEECH,
        "The published parts have no reader in common.",
    ),
    "librispeech": Corpus(
        "LibriSpeech",
        "https://www.openslr.org/12",
        dict.fromkeys(
            f"{part}.tar.gz"
            for part in (
                *("dev-clean", "dev-other", "test-clean", "test-other"),
                *("train-clean-100", "train-clean-360", "train-other-500"),
            )
        ),
        librispeech,
        groups.LIBRISPEECH,
        "The published parts have no reader in common.",
    ),
    "vctk": Corpus(
        "VCTK",
        "https://datashare.ed.ac.uk/handle/10283/3443",
        {"VCTK-Corpus-0.92.zip": None},
        vctk,
        groups.VCTK,
        "The first microphone only. Speakers of VoiceBank-DEMAND's test set are on the side test here too.",
    ),
    "wham": Corpus(
        "WHAM! noise",
        "http://wham.whisper.ai",
        {"wham_noise.zip": None, "high_res_wham.zip": None},
        wham,
        groups.WHAM,
        "The 48 kHz recordings (high_res_wham) are on the side that the column `WHAM! Split` of their"
        " high_res_metadata.csv says; those it says nothing of are left out.",
    ),
}
