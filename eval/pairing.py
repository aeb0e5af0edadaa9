"""Which files belong together: by relative path, by stem, or by a pattern; never by guessing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_enh.errors import UserError

_NAMED = 5  # how many files an error names

KeyRule = Callable[[Path], str]


@dataclass(frozen=True)
class Group:
    """The files of one test item.

    Attributes:
        key: its name in rows and reports: the relative path without extension, the stem, or what the
            pattern captured.
        paths: by folder role, as given to ``pair_folders``.
    """

    key: str
    paths: Mapping[str, Path]


def match_rule(rule: str) -> KeyRule:
    """How a file's key is made from its path below its folder.

    Args:
        rule: ``path`` (relative path without extension), ``stem`` (name without folder and extension), or a
            regular expression, searched in the relative path: its groups, joined by ``-``, are the key (the
            whole match when it has no group).

    Raises:
        UserError: not a valid expression.
    """
    if rule == "path":
        return lambda path: path.with_suffix("").as_posix()
    if rule == "stem":
        return lambda path: path.stem
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise UserError(f"--match {rule}: not path, stem or a valid regular expression ({error})") from error

    def by_pattern(path: Path) -> str:
        found = pattern.search(path.as_posix())
        if found is None:
            raise UserError(f"--match {rule}: no match in {path.as_posix()}")
        return "-".join(group or "" for group in found.groups()) if found.groups() else found.group()

    return by_pattern


def pair_folders(folders: Mapping[str, Path], rule: KeyRule) -> list[Group]:
    """Find the files that each folder has for each key.

    Args:
        folders: role (``clean``, ``noisy``, a system's name) to folder.
        rule: see ``match_rule``.

    Returns:
        Sorted by key.

    Raises:
        UserError: a folder without audio, two roles in one folder, two files of a folder with one key, or
            files without counterpart; named.
    """
    _refuse_same_folder(folders)
    by_role = {role: _index(role, folder, rule) for role, folder in folders.items()}
    keys = set().union(*by_role.values())
    problems = [
        f"{folders[role]} has none for {_some(missing)}"
        for role, files in by_role.items()
        if (missing := sorted(keys - files.keys()))
    ]
    if problems:
        hint = "files are paired by name: rename them, remove the surplus, or see --match"
        raise UserError(f"missing pairs: {'; '.join(problems)} ({hint})")
    return [
        Group(key, {role: files[key] for role, files in by_role.items()}) for key in sorted(keys, key=natural)
    ]


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorting key under which ``file 2`` comes before ``file 10``."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    ]


def _index(role: str, folder: Path, rule: KeyRule) -> dict[str, Path]:
    from audio_enh.io import find_audio

    if not folder.is_dir():
        raise UserError(f"{folder} ({role}) is not a folder")
    files: dict[str, Path] = {}
    for found in find_audio([folder]):
        key = rule(found.relative)
        if key in files:
            raise UserError(
                f"ambiguous pairs: {files[key]} and {found.path} are both {key!r} (another --match rule?)"
            )
        files[key] = found.path
    return files


def _refuse_same_folder(folders: Mapping[str, Path]) -> None:
    seen: dict[Path, str] = {}
    for role, folder in folders.items():
        real = folder.resolve()
        if real in seen:
            raise UserError(f"{seen[real]} and {role} are the same folder, {folder}: nothing to compare")
        seen[real] = role


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
