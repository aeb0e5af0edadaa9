"""Nothing is removed or replaced that this program did not make: folders carry its mark, files are looked at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from audio_enh.errors import UserError

#: A file of this name and content lies in every folder that this program may remove.
MARK = ".audio_enh_made_this"
_MARK_TEXT = "audio_enh made this folder and may remove it.\n"


def make_owned(folder: Path) -> None:
    """Make a folder that :func:`remove_owned` may remove; its parents are made too, but never removed.

    Raises:
        FileExistsError: there is something of this name.
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True)
    (folder / MARK).write_text(_MARK_TEXT, encoding="utf-8")


def claim(folder: Path) -> None:
    """Make a folder, with its parents; it gets the mark if it was not there or is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        (folder / MARK).write_text(_MARK_TEXT, encoding="utf-8")


def is_owned(folder: Path) -> bool:
    """Whether a folder carries the mark of :func:`make_owned`; never a link to one."""
    try:
        return not folder.is_symlink() and (folder / MARK).read_text(encoding="utf-8") == _MARK_TEXT
    except (OSError, UnicodeDecodeError):
        return False


def remove_owned(folder: Path) -> None:
    """Remove a folder with all that is in it, if :func:`make_owned` made it; anything else is left alone."""
    if is_owned(folder):
        shutil.rmtree(folder, ignore_errors=True)


def is_there(path: Path) -> bool:
    """Whether writing ``path`` would change what is there: a file, or a link, a dangling one too.

    Devices and pipes are there to be written to.
    """
    return path.is_file() or (path.is_symlink() and not path.exists())


def check_replaceable(paths: Iterable[Path], overwrite: bool, hint: str = "another output") -> None:
    """Refuse to write over files.

    Args:
        paths: what is to be written.
        overwrite: the user allows it.
        hint: what to choose instead.

    Raises:
        UserError: one of them is there, and ``overwrite`` is not given.
    """
    if overwrite:
        return
    for path in paths:
        if is_there(path):
            raise UserError(f"{path} exists already: add --overwrite, or choose {hint}")


def check_report(path: Path, overwrite: bool) -> None:
    """Refuse to write a JSON report over a file that is not one of this program's, or through a link.

    Raises:
        UserError: such a file is there, and ``overwrite`` is not given.
    """
    if overwrite or not is_there(path):
        return
    try:
        with path.open(encoding="utf-8") as file:
            content = None if path.is_symlink() else json.load(file)
    except (OSError, ValueError, RecursionError):
        content = None
    if not (isinstance(content, dict) and "audio_enh" in content):
        raise UserError(
            f"{path} is there, and is no report of this program: add --overwrite, or choose another output"
        )
