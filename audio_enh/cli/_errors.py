"""How errors and speeds are told."""

from __future__ import annotations

import errno
import os

from audio_enh.cli._terminal import printable
from audio_enh.errors import UserError
from audio_enh.registry import users_frame

#: Environment variable that, when set, makes errors show their traceback.
DEBUG = "AUDIO_ENH_DEBUG"

#: Errors of the system that say something of the machine or its files, and nothing of this program.
_OUTSIDE_NAMES = (
    "EACCES EPERM EROFS ENOSPC EDQUOT EFBIG EIO ELOOP ENAMETOOLONG EMFILE ENFILE ENOMEM ESTALE ETIMEDOUT EBUSY "
    "ENOTCONN ENODEV ETXTBSY EAGAIN"
)
_OUTSIDE = {getattr(errno, name) for name in _OUTSIDE_NAMES.split() if hasattr(errno, name)}
#: What libraries say where the system gives no more memory.
_NO_MEMORY = (
    "cannot allocate memory",
    "can't allocate memory",
    "failed to map segment",
    "out of memory",
    "not enough memory",
    "can't start new thread",
    "unable to allocate",
)


def debugging() -> bool:
    """Whether the user asked for tracebacks."""
    return bool(os.environ.get(DEBUG))


def outside_cause(error: BaseException) -> str | None:
    """What an error says of the machine that this program runs on; None if the program itself may be to blame."""
    text = " ".join(str(error).split())
    lowered = text.lower()
    if isinstance(error, MemoryError) or any(words in lowered for words in _NO_MEMORY):
        return (
            "there is not enough memory, or a limit on it (ulimit -v) is too low: torch takes gigabytes of it"
        )
    if isinstance(error, OSError) and "No usable temporary directory" in text:
        return "no folder for temporary files can be written: set the environment variable TMPDIR to one that can"
    if isinstance(error, OSError) and error.errno in _OUTSIDE:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror or error}"
    return None


def describe(error: Exception) -> str:
    """An error in one line that can be printed; one that is not the user's says so."""
    text = " ".join(str(error).split())
    if (place := users_frame(error)) is not None and not isinstance(error, UserError):
        text = f"{type(error).__name__}: {text} (in {place.filename}, line {place.lineno})"
    elif not isinstance(error, UserError):
        outside = outside_cause(error)
        text = outside or (
            f"{type(error).__name__}: {text} (a defect of this program; set {DEBUG}=1 for the traceback)"
        )
    return printable(text)


def describe_speed(speed: float) -> str:
    """Seconds of audio per second."""
    return f"{speed:.0f}x real time" if speed >= 10 else f"{speed:.1f}x real time"
