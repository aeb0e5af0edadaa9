"""Many audio files as one memory-mapped array: decoded once, then read at random for free."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from audio_enh.errors import AudioFileError, UserError
from audio_enh.io import read_audio

EXTENSIONS = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".w64", ".caf"})


@dataclass(frozen=True)
class AudioFolder:
    """Where training audio lies.

    Attributes:
        path: a folder, searched recursively, or a manifest: a CSV file with a column ``path``, relative to
            the manifest's folder.
        where: for a manifest, the rows to take: column name to the value or values allowed.
        exclude: words; a file whose path contains one is left out.
        optional: whether there may be none.
    """

    path: str
    where: dict[str, str | Sequence[str]] | None = None
    exclude: Sequence[str] = ()
    optional: bool = False

    def files(self) -> list[Path]:
        """The audio files, sorted.

        Raises:
            UserError: when there are none though there must be.
        """
        root = Path(self.path).expanduser()
        if root.is_dir():
            found = [p for p in root.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file()]
        elif root.is_file() and root.suffix.lower() == ".csv":
            found = [root.parent / row["path"] for row in manifest_rows(root, self.where)]
        else:
            raise UserError(f"no folder and no CSV manifest at '{root}': give the data's place in the recipe")
        found = sorted(p for p in found if not any(word in str(p) for word in self.exclude))
        if not found and not self.optional:
            what = " with " + ", ".join(f"{k}={v}" for k, v in self.where.items()) if self.where else ""
            raise UserError(
                f"no audio files for training in '{root}'{what} ({', '.join(sorted(EXTENSIONS))})"
            )
        return found


@dataclass(frozen=True)
class PairFolder:
    """Where noisy audio and its clean original lie.

    Attributes:
        path: a folder with ``noisy/`` and ``clean/``, in which paired files have one name, or a manifest: a CSV
            file with the columns ``path`` (the noisy file) and ``clean``, relative to the manifest's folder.
        where: for a manifest, the rows to take: column name to the value or values allowed.
    """

    path: str
    where: dict[str, str | Sequence[str]] | None = None

    def files(self) -> tuple[list[Path], list[Path]]:
        """The noisy files, sorted, and the clean file of each.

        Raises:
            UserError: there are none, or one lacks its partner. Position never pairs files, names do.
        """
        root = Path(self.path).expanduser()
        if root.is_dir():
            noisy, clean = root / "noisy", root / "clean"
            partners = {p.relative_to(clean).with_suffix(""): p for p in AudioFolder(str(clean)).files()}
            pairs = []
            for path in AudioFolder(str(noisy)).files():
                partner = partners.get(path.relative_to(noisy).with_suffix(""))
                if partner is None:
                    raise UserError(f"'{path}' has no file of its name in '{clean}'")
                pairs.append((path, partner))
        elif root.is_file() and root.suffix.lower() == ".csv":
            rows = manifest_rows(root, self.where, columns=("path", "clean"))
            pairs = sorted((root.parent / row["path"], root.parent / row["clean"]) for row in rows)
        else:
            raise UserError(f"no folder and no CSV manifest at '{root}': give the data's place in the recipe")
        if not pairs:
            raise UserError(f"no pairs for training in '{root}'")
        return [noisy for noisy, _ in pairs], [clean for _, clean in pairs]


def manifest_rows(
    manifest: Path,
    where: Mapping[str, str | Sequence[str]] | None = None,
    columns: Sequence[str] = ("path",),
) -> Iterator[dict[str, str]]:
    """Rows of a CSV manifest whose columns have the values that ``where`` allows.

    Raises:
        UserError: one of ``columns`` or of ``where``'s is not there.
    """
    where = where or {}
    with manifest.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {*columns, *where} - set(reader.fieldnames or [])
        if missing:
            raise UserError(f"manifest '{manifest}' lacks the column {', '.join(sorted(missing))}")
        for row in reader:
            if all(row[k] in ([v] if isinstance(v, str) else v) for k, v in where.items()):
                yield row


class PackedAudio:
    """Mono audio at one rate, all files end to end in an int16 memory map.

    The map is built once in ``cache`` and reused while the files' names, sizes and times are the same. Worker
    processes share its pages.

    Args:
        files: audio files of any rate and channel count; channels are averaged.
        sample_rate: in Hz.
        cache: folder for the packed array.
    """

    def __init__(self, files: Sequence[Path], sample_rate: int, cache: Path):
        stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) if p.exists() else None for p in files]
        if None in stats:
            raise AudioFileError(f"training file '{files[stats.index(None)]}' is missing")
        key = hashlib.sha256(json.dumps([sample_rate, stats]).encode()).hexdigest()[:16]
        data_path, index_path = cache / f"{key}.npy", cache / f"{key}.json"
        if not (data_path.exists() and index_path.exists()):
            _pack(files, sample_rate, data_path, index_path)
        self.sample_rate = sample_rate
        self.files = list(files)
        self._data = np.load(data_path, mmap_mode="r")
        self.offsets = np.array(json.loads(index_path.read_text()), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Samples of each file, ``(files,)``."""
        return np.diff(self.offsets)

    @property
    def seconds(self) -> float:
        return float(self.offsets[-1] / self.sample_rate)

    def read(self, index: int, start: int = 0, length: int | None = None) -> np.ndarray:
        """Float32 samples of one file, at most to its end: ``(samples,)``."""
        begin, end = self.offsets[index], self.offsets[index + 1]
        stop = end if length is None else min(end, begin + start + length)
        return self._data[begin + start : stop].astype(np.float32) / 32768

    def draw(self, rng: np.random.Generator, length: int, loop: bool) -> np.ndarray:
        """A random stretch: files are drawn by duration, then a place in the file.

        Args:
            rng: source of randomness.
            length: samples wanted.
            loop: fill up a short file by going on with another draw of the same file; otherwise a short
                file is set at a random place in silence.
        """
        where = int(rng.integers(self.offsets[-1]))
        index = int(np.searchsorted(self.offsets, where, side="right")) - 1
        total = int(self.lengths[index])
        if total >= length:
            return self.read(index, int(rng.integers(total - length + 1)), length)
        audio = self.read(index)
        if loop:
            repeated = np.tile(audio, -(-length // max(total, 1)) + 1)
            start = int(rng.integers(total))
            return repeated[start : start + length]
        out = np.zeros(length, np.float32)
        start = int(rng.integers(length - total + 1))
        out[start : start + total] = audio
        return out


def _pack(files: Sequence[Path], sample_rate: int, data_path: Path, index_path: Path) -> None:
    data_path.parent.mkdir(parents=True, exist_ok=True)
    # soundfile and soxr release the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(lambda path: _decode(path, sample_rate), files))
    offsets = np.concatenate([[0], np.cumsum([len(p) for p in parts])])
    temporary = data_path.with_suffix(f".{os.getpid()}.npy")
    np.save(temporary, np.concatenate(parts))
    temporary.replace(data_path)
    index = temporary.with_suffix(".json")
    index.write_text(json.dumps(offsets.tolist()))
    index.replace(index_path)


def _decode(path: Path, sample_rate: int) -> np.ndarray:
    audio, rate = read_audio(path)
    mono = audio.mean(axis=0)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    if not np.isfinite(mono).all():
        raise AudioFileError(f"training file '{path}' contains NaN or infinite samples")
    return np.clip(np.round(mono * 32767), -32768, 32767).astype(np.int16)
