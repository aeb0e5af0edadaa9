"""What each collection looks like on disk, and its one split.

| collection | valid | test |
|---|---|---|
| VoiceBank-DEMAND | speakers p226 and p287 | the published test set |
| EARS | p100, p101 | p102 to p107, as in Richter et al. 2024 |
| LibriTTS | dev-clean, dev-other | test-clean, test-other |
| WHAM! | cv | tt |
| WHAM! 48 kHz, DNS | one group in twenty, by its name's hash | DNS: the synthetic test set, where there is one |

A group is a reader (DNS speech) or a recording, so that no voice and no noise is on both sides.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from audio_enh.data.folders import audio_below
from audio_enh.errors import UserError

KINDS = ("speech", "noise", "rir", "pairs")


@dataclass(frozen=True)
class Entry:
    """A file, or a pair of files, to prepare.

    Attributes:
        source: the file; of a pair the noisy one.
        name: where it goes below the collection's folder, without extension.
        kind: ``"speech"``, ``"noise"``, ``"rir"`` or ``"pair"``.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        speaker: who speaks, or an empty string.
        clean: of a pair the clean file.
    """

    source: Path
    name: str
    kind: str
    split: str
    speaker: str = ""
    clean: Path | None = None


@dataclass(frozen=True)
class Corpus:
    """A public collection.

    Attributes:
        title: as people call it.
        home: where to get it.
        archives: names of its archives, with their SHA-256 where one is published.
        find: the entries below a folder; raises ``UserError`` if they are not there.
        expected: number of entries by kind and split of a complete copy, where that is known.
    """

    title: str
    home: str
    archives: dict[str, str | None]
    find: Callable[[Path], list[Entry]]
    expected: dict[tuple[str, str], int]


def voicebank_demand(root: Path) -> list[Entry]:
    """Valentini-Botinhao 2017: ``{clean,noisy}_{trainset_28spk,testset}_wav/p226_001.wav``."""
    entries = []
    for stem, given in (("trainset_28spk_wav", None), ("testset_wav", "test")):
        noisy, clean = (_folder(root, f"{side}_{stem}") for side in ("noisy", "clean"))
        originals = {path.stem: path for path in audio_below(clean)}
        for path in audio_below(noisy):
            speaker = path.stem.split("_")[0]
            split = given or ("valid" if speaker in ("p226", "p287") else "train")
            original = originals.get(path.stem)
            if original is None:
                raise UserError(f"'{path}' has no clean file in '{clean}': unpack both archives whole")
            entries.append(Entry(path, f"{split}/{path.stem}", "pair", split, speaker, original))
    return entries


def ears(root: Path) -> list[Entry]:
    """Richter et al. 2024 (arXiv 2406.06185): ``p001/emo_anger_freeform.wav``, 48 kHz.

    Without the styles that their benchmark leaves out: they are not words.
    """
    wordless = ("interjection", "melodic", "nonverbal", "vegetative")
    held_out = {"valid": ("p100", "p101"), "test": tuple(f"p{n}" for n in range(102, 108))}
    entries = []
    for path in audio_below(root):
        speaker = next((part for part in path.parts[::-1] if re.fullmatch(r"p\d{3}", part)), None)
        if speaker is None or path.stem.startswith(wordless):
            continue
        split = next((name for name, speakers in held_out.items() if speaker in speakers), "train")
        entries.append(Entry(path, f"{split}/{speaker}/{path.stem}", "speech", split, speaker))
    return _found(entries, root, "folders p001 to p107")


def libritts(root: Path) -> list[Entry]:
    """Zen et al. 2019: ``train-clean-100/<speaker>/<chapter>/*.wav``, 24 kHz."""
    splits = {"train": "train", "dev": "valid", "test": "test"}
    entries = []
    for folder in sorted(path for path in root.rglob("*-*") if path.is_dir()):
        split = splits.get(folder.name.split("-")[0])
        if split is None or not re.fullmatch(r"(train|dev|test)-(clean|other)(-\d+)?", folder.name):
            continue
        for path in audio_below(folder):
            speaker = path.relative_to(folder).parts[0]
            entries.append(Entry(path, f"{split}/{speaker}/{path.stem}", "speech", split, speaker))
    return _found(entries, root, "train-clean-100, dev-clean and the like")


def wham(root: Path) -> list[Entry]:
    """Wichern et al. 2019: ``wham_noise/{tr,cv,tt}/*.wav``, or the 48 kHz recordings ``high_res_wham/audio``."""
    entries = []
    for code, split in (("tr", "train"), ("cv", "valid"), ("tt", "test")):
        for folder in sorted(path for path in root.rglob(code) if path.is_dir()):
            entries += [Entry(path, f"{split}/{path.stem}", "noise", split) for path in audio_below(folder)]
    for folder in sorted(root.rglob("audio")):
        for path in audio_below(folder) if folder.is_dir() and folder.parent.name == "high_res_wham" else ():
            split = by_hash(path.stem)
            entries.append(Entry(path, f"{split}/{path.stem}", "noise", split))
    return _found(entries, root, "wham_noise/tr, cv, tt or high_res_wham/audio")


def dns(root: Path) -> list[Entry]:
    """DNS challenges 1 to 5: folders ``clean*``, ``noise*``, ``impulse_responses`` anywhere below ``datasets*``.

    Pairs of the synthetic test set (``no_reverb``, ``with_reverb``) are matched by their ``fileid``.
    """
    entries = []
    for folder in _topmost(
        root, lambda name: name.startswith(("clean", "noise")) or name == "impulse_responses"
    ):
        if "test_set" in folder.parts or any("testset" in part for part in folder.parts):
            continue
        kind = {"i": "rir", "n": "noise", "c": "speech"}[folder.name[0]]
        for path in audio_below(folder):
            reader = re.search(r"reader_(\d+)", path.stem)
            group = reader.group(1) if reader else path.stem
            name = path.relative_to(folder).with_suffix("").as_posix()
            split = by_hash(group)
            speaker = group if reader else ""
            entries.append(Entry(path, f"{kind}/{split}/{name}", kind, split, speaker))
    for condition in ("no_reverb", "with_reverb"):
        for folder in sorted(root.rglob(f"synthetic/{condition}")):
            originals = {_fileid(path): path for path in audio_below(folder / "clean")}
            for path in audio_below(folder / "noisy"):
                original = originals.get(_fileid(path))
                if original is None:
                    raise UserError(f"'{path}' has no clean file of its fileid in '{folder / 'clean'}'")
                entries.append(Entry(path, f"test/{condition}/{path.stem}", "pair", "test", "", original))
    return _found(entries, root, "folders clean, noise, clean_fullband or noise_fullband")


def folder(root: Path, kind: str, valid_fraction: float = 0.05) -> list[Entry]:
    """Anyone's recordings: files below ``root``, or for ``pairs`` below ``root/noisy`` and ``root/clean``.

    Splits by the first folder below ``root`` (a speaker, a place) where there is one, else by file.

    Args:
        root: folder.
        kind: one of :data:`KINDS`.
        valid_fraction: part of the groups for validation.
    """
    if kind not in KINDS:
        raise UserError(f"kind is {kind!r}: choose one of {', '.join(KINDS)}")
    if not 0 < valid_fraction < 1:
        raise UserError(f"valid_fraction must lie between 0 and 1, not be {valid_fraction}")
    base = _folder(root, "noisy") if kind == "pairs" else root
    originals: dict[Path, Path] = {}
    if kind == "pairs":
        clean = _folder(root, "clean")
        originals = {path.relative_to(clean).with_suffix(""): path for path in audio_below(clean)}
    entries = []
    for path in audio_below(base):
        name = path.relative_to(base).with_suffix("")
        group = name.parts[0]
        split = by_hash(group, valid_fraction)
        speaker = group if len(name.parts) > 1 else ""
        target = f"{kind}/{split}/{name.as_posix()}"
        if kind == "pairs":
            if name not in originals:
                raise UserError(f"'{path}' has no file of its name in '{root / 'clean'}'")
            entries.append(Entry(path, target, "pair", split, speaker, originals[name]))
        else:
            entries.append(Entry(path, target, kind, split, speaker))
    return _found(entries, root, "audio files")


def by_hash(group: str, valid_fraction: float = 0.05) -> str:
    """``"valid"`` or ``"train"``, always the same for a group and independent of the others."""
    number = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")
    return "valid" if number / 2**64 < valid_fraction else "train"


def _folder(root: Path, name: str) -> Path:
    """The folder of this name at or below ``root``."""
    for path in (root / name, root, *sorted(root.rglob(name))):
        if path.name == name and path.is_dir():
            return path
    raise UserError(f"no folder '{name}' in '{root}'")


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


def _found(entries: list[Entry], root: Path, what: str) -> list[Entry]:
    if not entries:
        raise UserError(f"nothing to prepare in '{root}': looked for {what}")
    return entries


# SHA-256 of LibriTTS as torchaudio publishes them; the other collections publish none.
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
        {("pair", "train"): 10802, ("pair", "valid"): 770, ("pair", "test"): 824},
    ),
    "ears": Corpus(
        "EARS",
        "https://github.com/facebookresearch/ears_dataset",
        dict.fromkeys(f"p{n:03}.zip" for n in range(1, 108)),
        ears,
        {},
    ),
    "dns": Corpus("DNS challenge", "https://github.com/microsoft/DNS-Challenge", {}, dns, {}),
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
        libritts,
        {},
    ),
    "wham": Corpus(
        "WHAM! noise",
        "http://wham.whisper.ai",
        {"wham_noise.zip": None, "high_res_wham.zip": None},
        wham,
        {},
    ),
}
