"""How errors and speeds are told."""

from __future__ import annotations

import os

from audio_enh.errors import UserError

#: Environment variable that, when set, makes errors show their traceback.
DEBUG = "AUDIO_ENH_DEBUG"


def debugging() -> bool:
    """Whether the user asked for tracebacks."""
    return bool(os.environ.get(DEBUG))


def describe(error: Exception) -> str:
    """An error in one line; one that is not the user's says so."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text
    return f"{type(error).__name__}: {text} (a defect of this program; set {DEBUG}=1 for the traceback)"


def describe_speed(speed: float) -> str:
    """Seconds of audio per second."""
    return f"{speed:.0f}x real time" if speed >= 10 else f"{speed:.1f}x real time"
