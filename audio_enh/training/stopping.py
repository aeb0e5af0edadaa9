"""Ctrl-C and the like end a training between two steps, with its state saved."""

from __future__ import annotations

import logging
import os
import signal
from types import FrameType

from audio_enh.io.atomic import handled_signals

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

    def __enter__(self) -> StopRequest:
        self._signals = handled_signals(self._handle, "SIGINT", "SIGTERM", "SIGHUP")
        self._signals.__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        self._signals.__exit__(None, None, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that reads data: it ends when the training does
        name = signal.Signals(number).name
        if not self.stepping or self.name is not None:
            raise KeyboardInterrupt(name)
        self.name = name
        log.warning("%s: stopping after this step; once more to stop at once", name)
