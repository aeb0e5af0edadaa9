"""Ctrl-C and the like end a training between two steps, with its state saved."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType

log = logging.getLogger(__name__)


class RunStopped(BaseException):
    """A run that was told to stop has saved its state; ``name`` is the signal's."""

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name


class StopRequest:
    """While entered, the first Ctrl-C, SIGTERM or SIGHUP is noted if training is between two validations.

    At other times, and the second time, they raise KeyboardInterrupt with the signal's name. Signals can be handled
    in the main thread only; elsewhere this does nothing.

    Attributes:
        name: of the signal that was noted, None if there was none.
        stepping: whether a state can be saved soon.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.stepping = False
        self._process = os.getpid()
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
                if hasattr(signal, name):
                    number = getattr(signal, name)
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *args: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that reads data: it ends when the training does
        name = signal.Signals(number).name
        if not self.stepping or self.name is not None:
            raise KeyboardInterrupt(name)
        self.name = name
        log.warning("%s: stopping after this step; once more to stop at once", name)
