"""Where training audio lies: folders and CSV manifests."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio_enh.errors import UserError
from audio_enh.io import find_audio


@dataclass(frozen=True)
class AudioFolder:
    """Where training audio lies.

    Attributes:
        path: a folder, searched recursively as ``audio-enh enhance`` does, or a manifest: a CSV file with a
            column ``path``, relative to the manifest's folder.
        where: for a manifest, the rows to take: column name to the value or values allowed.
        exclude: words; a file whose path contains one is left out.
        optional: whether there may be none.
        favour: a column of the manifest in dB, such as ``dynamic_range_db``: seconds of a file with 10 dB more than
            the median are drawn twice as often, within a factor of four.
        bandwidth: a column of the manifest in Hz, such as ``bandwidth_hz``: what a file holds above it is no speech,
            and losses do not look there. None: all bands count.
        min_bandwidth: files with less are left out, in Hz; needs ``bandwidth``.
    """

    path: str
    where: dict[str, str | Sequence[str]] | None = None
    exclude: Sequence[str] = ()
    optional: bool = False
    favour: str | None = None
    bandwidth: str | None = None
    min_bandwidth: float = 0.0

    def files(self) -> list[Path]:
        """The audio files, sorted.

        Raises:
            UserError: when there are none though there must be.
        """
        root = Path(self.path).expanduser()
        if root.is_dir():
            found = audio_below(root)
        elif root.is_file() and root.suffix.lower() == ".csv":
            found = [root.parent / row["path"] for row in manifest_rows(root, self.where)]
        else:
            raise UserError(f"no folder and no CSV manifest at '{root}': give the data's place in the recipe")
        found = sorted(p for p in found if not any(word in str(p) for word in self.exclude))
        if found and self.min_bandwidth:
            wide = self.bandwidths(found) >= self.min_bandwidth
            found = [path for path, enough in zip(found, wide, strict=True) if enough]
        if not found and not self.optional:
            what = " with " + ", ".join(f"{k}={v}" for k, v in self.where.items()) if self.where else ""
            raise UserError(f"no audio files in '{root}'{what}")
        return found

    def weights(self, files: Sequence[Path]) -> np.ndarray | None:
        """How often a second of each file is drawn, ``(files,)``; None where all are alike.

        Raises:
            UserError: ``favour`` is asked of a folder, or is not a column of numbers.
        """
        if self.favour is None:
            return None
        decibels = self._column("favour", self.favour, files)
        return np.clip(2 ** ((decibels - np.median(decibels)) / 10), 0.25, 4.0)

    def bandwidths(self, files: Sequence[Path]) -> np.ndarray:
        """Up to which frequency in Hz each file holds what it is for, ``(files,)``; infinite where nothing is said.

        Raises:
            UserError: ``bandwidth`` is asked of a folder, is not a column of numbers, or is missing and needed.
        """
        if self.bandwidth is None:
            if self.min_bandwidth:
                raise UserError("min_bandwidth needs bandwidth=COLUMN of a manifest")
            return np.full(len(files), np.inf)
        return self._column("bandwidth", self.bandwidth, files)

    def _column(self, setting: str, column: str, files: Sequence[Path]) -> np.ndarray:
        root = Path(self.path).expanduser()
        if root.is_dir():
            raise UserError(f"{setting}={column} needs a manifest with that column, and '{root}' is a folder")
        rows = manifest_rows(root, self.where, columns=("path", column))
        try:
            values = {root.parent / row["path"]: float(row[column]) for row in rows}
        except ValueError as error:
            raise UserError(f"column {column} of '{root}' is to be numbers: {error}") from error
        return np.array([values[path] for path in files])


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


def audio_below(folder: Path) -> list[Path]:
    """The audio files in a folder, sorted; hidden files and folders are skipped, as in all commands."""
    try:
        return [found.path for found in find_audio([folder])]
    except UserError:  # there are none
        return []


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
    with manifest.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte-order mark
        reader = csv.DictReader(file)
        missing = {*columns, *where} - set(reader.fieldnames or [])
        if missing:
            raise UserError(f"manifest '{manifest}' lacks the column {', '.join(sorted(missing))}")
        for row in reader:
            if all(row[k] in ([v] if isinstance(v, str) else v) for k, v in where.items()):
                yield row
