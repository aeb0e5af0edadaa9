"""Stopping in the middle: every signal that ends a program unwinds it, so that ``with`` blocks clean up."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

import soundfile


class Interruptible:
    """While entered, Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt with the signal's name.

    An exception cannot cross C code: raised in a callback of libsndfile it would be printed and lost, with
    the file left in an unknown state. There the signal is kept until :meth:`check` is called or the block
    ends.

    Signals can be handled in the main thread only; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self._pending: str | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruptible:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
                if hasattr(signal, name):
                    number = getattr(signal, name)
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raise what was kept back; to be called between blocks."""
        if self._pending is not None:
            raise KeyboardInterrupt(self._pending)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if _in_callback(frame):
            self._pending = name
        else:
            raise KeyboardInterrupt(name)


def _in_callback(frame: FrameType | None) -> bool:
    """Whether libsndfile is on the stack: it reads and writes through soundfile's ``vio_*`` functions."""
    while frame is not None:
        code = frame.f_code
        if code.co_name.startswith("vio_") and code.co_filename == soundfile.__file__:
            return True
        frame = frame.f_back
    return False
