"""Stopping in the middle: every signal that ends a program unwinds it, so that ``with`` blocks clean up."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType, TracebackType

import soundfile

from audio_enh.io.atomic import handled_signals

#: After so many signals the user is told how to end a program that takes long to end.
PATIENCE = 3


class Interruptible:
    """While entered, Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt with the signal's name, once.

    What is finished and cleaned up after the first signal runs to its end, whatever signals follow; the third says
    how to kill the program. An exception cannot cross C code either: raised in a callback of libsndfile it would be
    printed and lost, with the file left in an unknown state. There, and while `held`, the signal is kept until
    :meth:`check` is called or the block ends.

    A terminal that is closed makes every further output fail, also where no signal tells of it: that leaves the
    block as SIGHUP, not as a failure to write.

    Signals can be handled in the main thread only; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self._pending: str | None = None
        self._ending: str | None = None
        self._holding = 0
        self._received = 0
        self._terminals: list[int] = []

    def __enter__(self) -> Interruptible:
        self._terminals = [number for number in (0, 1, 2) if os.isatty(number)]
        self._signals = handled_signals(self._handle, "SIGINT", "SIGTERM", "SIGHUP")
        self._signals.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holding += 1  # none may come between two of the lines below
        self._signals.__exit__(None, None, None)
        self._holding = 0
        if isinstance(error, OSError) and error.errno == errno.EIO and self._terminal_has_gone():
            raise KeyboardInterrupt("SIGHUP") from error
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raise what was kept back; to be called between blocks."""
        if self._pending is not None and not self._holding:
            self._ending = self._pending
            raise KeyboardInterrupt(self._pending)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep signals back until the end of this block: what is made here must not be lost sight of."""
        self._holding += 1
        try:
            yield
        finally:
            self._holding -= 1
        self.check()

    def finish(self) -> None:
        """From here on nothing interrupts: what is left is finishing. A signal is told when the block has ended."""
        self._holding += 1

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        self._received += 1
        if self._ending or self._holding or _in_callback(frame):
            self._pending = self._pending or name
            if self._received >= PATIENCE:
                _tell_how_to_kill()
            return
        self._ending = name
        raise KeyboardInterrupt(name)

    def _terminal_has_gone(self) -> bool:
        return any(not os.isatty(number) for number in self._terminals)


def _tell_how_to_kill() -> None:
    text = f"still finishing what was begun; kill -9 {os.getpid()} ends it at once, unfinished\n"
    with contextlib.suppress(OSError, ValueError):
        # Past its buffer: the signal may have come while that was written to.
        os.write(sys.stderr.fileno(), text.encode())


def _in_callback(frame: FrameType | None) -> bool:
    """Whether libsndfile is on the stack: it reads and writes through soundfile's ``vio_*`` functions."""
    while frame is not None:
        code = frame.f_code
        if code.co_name.startswith("vio_") and code.co_filename == soundfile.__file__:
            return True
        frame = frame.f_back
    return False
