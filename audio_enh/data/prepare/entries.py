"""What there is to prepare."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from audio_enh.errors import UserError

T = TypeVar("T")


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
        group: what must be on one side of the split with all that is of it; empty where that is not known.
    """

    source: Path
    name: str
    kind: str
    split: str
    speaker: str = ""
    clean: Path | None = None
    group: str = ""


@dataclass(frozen=True)
class Listing:
    """What there is to prepare.

    Attributes:
        entries: files and pairs.
        notes: what a user should know of the choice, one line each.
    """

    entries: list[Entry]
    notes: list[str] = field(default_factory=list)


def subfolder(root: Path, name: str) -> Path:
    """The folder of this name at or below ``root``."""
    for path in (root / name, root, *sorted(root.rglob(name))):
        if path.name == name and path.is_dir():
            return path
    raise UserError(f"no folder '{name}' in '{root}'")


def found_in(entries: list[T], root: Path, what: str) -> list[T]:
    """The entries, if there are any."""
    if not entries:
        raise UserError(f"nothing to prepare in '{root}': looked for {what}")
    return entries
