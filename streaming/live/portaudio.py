"""PortAudio, loaded when it is needed, quiet, and with errors that say what to do."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from audio_enh.errors import DependencyError

_INSTALL = {
    "linux": "apt install libportaudio2 (or dnf install portaudio, pacman -S portaudio)",
    "darwin": "pip install --force-reinstall sounddevice (or brew install portaudio)",
    "win32": "pip install --force-reinstall sounddevice",
}


def load_sounddevice() -> Any:
    """The module `sounddevice`, with PortAudio running.

    Raises:
        DependencyError: it or its library is missing, or does not start.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise DependencyError.missing("live audio", "sounddevice", "live") from error
    except OSError as error:
        how = _INSTALL.get(sys.platform, "install PortAudio")
        raise DependencyError(f"the library PortAudio is missing: {how}") from error
    except Exception as error:
        if type(error).__name__ != "PortAudioError":
            raise
        raise DependencyError(f"PortAudio does not start: {error}") from error
    return sounddevice


def rescan(sounddevice: Any) -> None:
    """Let PortAudio look for devices again; no stream may be open."""
    # PortAudio looks once, when it starts, and sounddevice has no public way of starting it anew.
    sounddevice._terminate()
    sounddevice._initialize()


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what PortAudio, ALSA and the like print to stderr, from any thread, off the terminal.

    They report from their own threads, in many lines, what reaches us as an error or a stall anyway. Python's own
    ``sys.stderr`` goes on to where it went. Programs started meanwhile must be given their stderr.
    """
    previous = sys.stderr
    try:
        ours = previous.fileno() == 2
        kept = os.dup(2)
    except (OSError, AttributeError):  # there is none, or it was replaced by something that is no file
        yield
        return
    previous.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    with os.fdopen(kept, "w", buffering=1, encoding=previous.encoding, errors="backslashreplace") as stderr:
        if ours:
            sys.stderr = stderr
        try:
            yield
        finally:
            stderr.flush()
            os.dup2(kept, 2)
            sys.stderr = previous


def routed(variable: str, value: str | None) -> contextlib.AbstractContextManager[None]:
    """Set an environment variable for a while, where C libraries see it; None leaves it as it is."""
    return _routed(variable, value) if value is not None else contextlib.nullcontext()


@contextlib.contextmanager
def _routed(variable: str, value: str) -> Iterator[None]:
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
