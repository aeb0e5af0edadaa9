"""Recordings that nobody finished: which there are, and how to take them up.

A program that is killed, or a machine without power, leaves a recording under its hidden name. Where that lies is
noted in the user's own folder for the state of programs for as long as the recording runs; a note that no living
process holds a lock on speaks of a leftover.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from audio_enh.errors import UserError
from audio_enh.io import AudioReader, AudioWriter


@dataclass(frozen=True)
class Leftover:
    """An unfinished recording.

    Attributes:
        part: the hidden file that holds what was recorded.
        target: the name it was to have.
        note: the file that told of it.
    """

    part: Path
    target: Path
    note: Path

    def __str__(self) -> str:
        """In a few words."""
        status = self.part.stat()
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.st_mtime))
        return f"recording of {when}, {status.st_size / 1e6:.1f} MB: {self.part}"


def folder() -> Path:
    """Where the notes lie."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return base / "audio-enh" / "recordings"


class Note:
    """Tells of a recording until `remove` is called. Without a place for it there is none: that stops no recording.

    Args:
        part: the hidden file.
        target: the name it is to have.
    """

    def __init__(self, part: Path, target: Path):
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        with contextlib.suppress(OSError, RuntimeError):  # no home, no right, no space
            place = folder()
            place.mkdir(parents=True, exist_ok=True)
            path = place / f"{os.getpid()}-{secrets.token_hex(4)}.json"
            self._file = path.open("wb", buffering=0)
            self._path = path
            _lock(self._file)
            self._file.write(json.dumps({"part": str(part), "target": str(target)}).encode())
            os.fsync(self._file.fileno())

    def remove(self) -> None:
        """The recording is finished, or given up."""
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()


def leftovers() -> list[Leftover]:
    """The recordings that were not finished, the oldest first. Notes of files that are gone are removed."""
    found = []
    try:
        notes = sorted(folder().glob("*.json"), key=lambda path: path.stat().st_mtime)
    except (OSError, RuntimeError):
        return []
    for note in notes:
        try:
            with note.open("r+b") as file:
                _lock(file)
                said = json.loads(file.read())
            leftover = Leftover(Path(said["part"]), Path(said["target"]), note)
            there = leftover.part.is_file()
        except (OSError, ValueError, KeyError, TypeError):
            continue  # its recording still runs, or it is no note of ours
        if there and leftover.part.stat().st_size:
            found.append(leftover)
        else:
            with contextlib.suppress(OSError):
                note.unlink()
    return found


def take_up(leftover: Leftover) -> Path:
    """Make it the file that it was to be, or one beside that where the name is taken; what was recorded is kept until
    that is done.

    Raises:
        UserError: it cannot be read or written.
    """
    target = free_name(leftover.target)
    with (
        AudioReader(leftover.part, allow_truncated=True) as reader,
        AudioWriter(target, sample_rate=reader.info.sample_rate, channels=reader.info.channels) as writer,
    ):
        for block in reader.blocks(1.0):
            writer.write(block)
        if writer.frames == 0:
            raise UserError(f"nothing was recorded in {leftover.part}: remove it")
    for path in (leftover.part, leftover.note):
        with contextlib.suppress(OSError):
            path.unlink()
    return target


def free_name(path: Path) -> Path:
    """The path, or the first of ``NAME-2``, ``NAME-3``... that nothing is called."""
    names = [path, *(path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(2, 1000))]
    return next((name for name in names if not os.path.lexists(name)), names[-1])


def _lock(file: BinaryIO) -> None:
    """For as long as the file is open; OSError if somebody else has it."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(1 << 20)  # beyond the text, which others may read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        file.seek(0)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
