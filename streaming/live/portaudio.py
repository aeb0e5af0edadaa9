"""PortAudio, loaded when it is needed, quiet, and with errors that say what to do."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from audio_enh.errors import DependencyError

_INSTALL = {
    "linux": "apt install libportaudio2 (or dnf install portaudio, pacman -S portaudio)",
    "darwin": "pip install --force-reinstall sounddevice (or brew install portaudio)",
    "win32": "pip install --force-reinstall sounddevice",
}

# In which a thread that does nothing else certainly prints a message.
_MESSAGE_SECONDS = 0.5


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


def end_cancelled_threads() -> None:
    """Let threads that PortAudio waits for end at last; on glibc, where PortAudio is that of ALSA.

    Up to version 19.7 PortAudio's thread may go round for ever in an error of a device that is gone, one message
    after another (PortAudio issue 1037). Whoever closes the stream cancels that thread and waits for it, in vain,
    because cancellation was switched off where the error happened. For a moment the C library's standard error
    becomes a stream that does nothing but switch it on in whoever prints: ``write(cookie, text, size)`` is
    ``pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old)``. The next message to the real one is a cancellation
    point, which ends a thread that has been cancelled and no other.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return

    class Functions(ctypes.Structure):
        _fields_ = [(name, ctypes.c_void_p) for name in ("read", "write", "seek", "close")]

    enable = ctypes.cast(libc.pthread_setcancelstate, ctypes.c_void_p).value
    libc.fopencookie.restype = ctypes.c_void_p
    libc.fopencookie.argtypes = [ctypes.c_void_p, ctypes.c_char_p, Functions]
    # Never closed: the thread may still be inside. It happens once per sound server that dies.
    stream = libc.fopencookie(None, b"w", Functions(None, enable, None, None))
    if stream:
        libc.setbuf(ctypes.c_void_p(stream), None)
        stderr = ctypes.c_void_p.in_dll(libc, "stderr")
        before, stderr.value = stderr.value, stream
        time.sleep(_MESSAGE_SECONDS)
        stderr.value = before


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
