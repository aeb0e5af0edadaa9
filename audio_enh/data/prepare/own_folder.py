"""Recordings of one's own: which of them belong together is told by folders or by a pattern."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from audio_enh.data.prepare.entries import Entry, Listing, found_in, subfolder
from audio_enh.data.prepare.groups import split_groups
from audio_enh.errors import UserError
from audio_enh.sources.folders import audio_below

KINDS = ("speech", "noise", "rir", "pairs")


def folder(root: Path, kind: str, valid_fraction: float = 0.05, pattern: str | None = None) -> Listing:
    """Anyone's recordings: files below ``root``, or for ``pairs`` below ``root/noisy`` and ``root/clean``.

    Folders that hold everything are entered. Where the first folders then are called train, dev, valid, test and the
    like, they are the sides. All else is split by groups: what ``pattern`` finds, or else the first folder.

    Args:
        root: folder.
        kind: one of :data:`KINDS`.
        valid_fraction: part of the groups for validation.
        pattern: regular expression, searched in the path below ``root``; its groups, or what it matches, name
            what must stay together: a speaker, a recording, a room.

    Raises:
        UserError: there are no files, or nothing says which of them belong together.
    """
    if kind not in KINDS:
        raise UserError(f"kind is {kind!r}: choose one of {', '.join(KINDS)}")
    if not 0 < valid_fraction < 1:
        raise UserError(f"valid_fraction must lie between 0 and 1, not be {valid_fraction}")
    base = subfolder(root, "noisy") if kind == "pairs" else root
    originals: dict[Path, Path] = {}
    if kind == "pairs":
        clean = subfolder(root, "clean")
        originals = {path.relative_to(clean).with_suffix(""): path for path in audio_below(clean)}
    paths = {path.relative_to(base): path for path in audio_below(base)}
    found_in(list(paths), root, "audio files")
    sides, named, notes = _own_groups(list(paths), root, valid_fraction, pattern)
    entries = []
    for relative, path in paths.items():
        name = relative.with_suffix("")
        split, group = sides[relative], named[relative]
        speaker = group if kind in ("speech", "pairs") else ""
        target = f"{kind}/{split}/{name.as_posix()}"
        if kind == "pairs":
            if name not in originals:
                raise UserError(f"'{path}' has no file of its name in '{root / 'clean'}'")
            entries.append(Entry(path, target, "pair", split, speaker, originals[name], group))
        else:
            entries.append(Entry(path, target, kind, split, speaker, None, group))
    return Listing(entries, notes)


def _own_groups(
    paths: Sequence[Path], root: Path, valid_fraction: float, pattern: str | None
) -> tuple[dict[Path, str], dict[Path, str], list[str]]:
    """Side and group of each file of a folder of one's own, and what to say of it."""
    common = 0
    while len({path.parts[common] for path in paths}) == 1 and min(len(p.parts) for p in paths) > common + 2:
        common += 1
    given: dict[Path, str] = {}
    for path in paths:
        subset = re.match(r"(train|dev|val|test|eval)", path.parts[common].lower())
        if (
            len(path.parts) > common + 1
            and subset
            and re.fullmatch(
                r"(train|dev|val|valid|validation|test|eval)([^a-z].*)?", path.parts[common].lower()
            )
        ):
            given[path] = {"train": "train", "dev": "valid", "val": "valid"}.get(subset[0], "test")
    named = {path: _own_group(path, common + (path in given), pattern) for path in paths}
    # What is not for validation or testing by its folder is divided here, unless a folder for validation is there.
    whole = "valid" in given.values()
    divided = [p for p in paths if p not in given or (given[p] == "train" and not whole)]
    without = [path for path in divided if named[path] is None]
    if without:
        reason = "does not match the pattern" if pattern else "is in no folder of its own"
        raise UserError(
            f"nothing says what '{root / without[0]}' belongs to ({len(without)} of {len(paths)} files): it {reason};"
            " say with --group what must stay on one side (a speaker, a recording, a room), a regular expression for"
            " the path, such as '^[^_]+' for p225 in p225_001.wav, or '.+' if every file stands by itself"
        )
    known = {path: group or path.with_suffix("").as_posix() for path, group in named.items()}
    sides_of = split_groups((known[path] for path in divided), valid_fraction)
    sides = {path: sides_of[known[path]] if path in set(divided) else given[path] for path in paths}
    by_side: dict[str, set[str]] = {}
    for path in paths:
        by_side.setdefault(known[path], set()).add(sides[path])
    twice = sorted(group for group, where in by_side.items() if len(where) > 1)
    if twice and pattern:
        raise UserError(
            f"{len(twice)} groups are on two sides of the split by the folders they lie in, such as '{twice[0]}'"
        )
    counts = Counter(next(iter(where)) for where in by_side.values())
    by = f"what '{pattern}' finds" if pattern else "their first folder"
    notes = [
        f"{len(by_side)} groups by {by}, such as '{next(iter(by_side))}': "
        + ", ".join(f"{counts[side]} {side}" for side in ("train", "valid", "test") if counts[side])
        + ("" if pattern else "; if that is not what must stay together, give --group")
    ]
    if twice:
        notes.append(
            f"{len(twice)} folders are on two sides, such as '{twice[0]}': are they other recordings there?"
        )
    if "valid" not in counts:
        notes.append("nothing is left for validation: there is one group only")
    return sides, known, notes


def _own_group(path: Path, level: int, pattern: str | None) -> str | None:
    if pattern is None:
        return path.parts[level] if len(path.parts) > level + 1 else None
    match = re.search(pattern, path.as_posix())
    if match is None:
        return None
    return "/".join(part or "" for part in match.groups()) if match.groups() else match[0]
