"""Whose a virtual microphone is, as its properties at the sound server tell."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

from audio_enh.streaming.live.pulse import OWNER

#: The property; its value is `me`.
PROPERTY = OWNER


def me() -> str:
    """This process: its number and when it was started, as numbers are used again."""
    return f"{os.getpid()}-{_started(os.getpid()) or 0}"


def find(text: str) -> str | None:
    """The owner named in a module's arguments."""
    found = re.search(rf"{re.escape(PROPERTY)}='?(\d+-\d+)", text)
    return found[1] if found else None


def is_alive(owner: str) -> bool:
    """Whether that very process still runs."""
    number, _, started = owner.partition("-")
    now = _started(int(number))
    return now is not None and str(now) == started


def process(owner: str) -> int:
    """Its number."""
    return int(owner.partition("-")[0])


def _started(process: int) -> int | None:
    """In ticks since the system's start; None if there is no such process, or it is a zombie."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets, which may hold anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def slug(name: str) -> str:
    """A name for the server: letters, digits, dots and dashes. Different names give different ones."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")[:48] or "audio_enh"
    if plain.replace("_", " ") == name:
        return plain
    # Something was left out that may be all by which it differs from another name.
    return f"{plain}-{zlib.crc32(name.encode(errors='surrogateescape')):08x}"
