"""Windows that wait to be enhanced together, whichever signals they are of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from audio_enh.diffusion.times import OnStep


class WindowFunction(Protocol):
    """Enhances windows, each by itself; equal functions may be given each other's windows.

    ``audio`` is ``(rows, samples)``, a row being a channel of a window; what comes back is ``(kinds, rows, samples)``
    and aligned, the output first, what is told about it after. ``starts`` are the absolute positions of the rows'
    first samples, from which a generative model takes its noise, so that windows that overlap share it. ``on_step``
    is told the number of steps done and that of all, if the function has steps.
    """

    def __call__(self, audio: Tensor, starts: Sequence[int], on_step: OnStep) -> Tensor: ...


@dataclass(eq=False)
class Window:
    """A piece of a signal.

    Attributes:
        function: what is to be done with it.
        audio: ``(channels, samples)``.
        start: absolute position of its first sample.
        on_step: told after every step the number of steps done and that of all.
        seconds: of computing that it took, of a call with others its part.
    """

    function: WindowFunction
    audio: Tensor
    start: int
    on_step: OnStep | None = None
    seconds: float = 0.0
    _number: int = 0
    _outcome: Tensor | Exception | None = None

    @property
    def done(self) -> bool:
        return self._outcome is not None

    def result(self) -> Tensor:
        """``(kinds * channels, samples)``; the function's error, if there was one."""
        assert self._outcome is not None
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class WindowPool:
    """Gathers windows of one length for one function, and runs them as soon as there are enough.

    No window waits for more than :attr:`patience` others, so memory does not grow with the number of signals. What
    a window becomes does not depend on its company, but for rounding.

    Args:
        rows: channels of windows that a function is given at a time; a window of more is run alone.

    Attributes:
        seconds: spent in functions so far.
        calls: of functions so far.
    """

    def __init__(self, rows: int = 1):
        if rows < 1:
            raise ValueError(f"a call takes at least 1 window, not {rows}")
        self.rows = rows
        self.patience = 4 * rows
        self.seconds = 0.0
        self.calls = 0
        self._added = 0
        # The group whose first window is the oldest comes first.
        self._groups: dict[tuple[WindowFunction, int], list[Window]] = {}

    def add(self, window: Window) -> None:
        """Take a window in; it may be done when this returns."""
        window._number = self._added
        self._added += 1
        key = _key(window)
        if _rows(self._groups.get(key, [])) + len(window.audio) > self.rows:
            self._run_group(key)
        group = self._groups.setdefault(key, [])
        group.append(window)
        if _rows(group) >= self.rows:
            self._run_group(key)
        for key, (oldest, *_) in list(self._groups.items()):
            if self._added - oldest._number <= self.patience:
                break
            self._run_group(key)

    def finish(self, window: Window | None = None) -> None:
        """See that ``window`` is done, or all of them."""
        if window is None:
            for key in list(self._groups):
                self._run_group(key)
        elif not window.done:
            self._run_group(_key(window))

    def finish_oldest(self) -> None:
        """See that the window that has waited longest is done."""
        for key in list(self._groups)[:1]:
            self._run_group(key)

    def _run_group(self, key: tuple[WindowFunction, int]) -> None:
        if windows := self._groups.pop(key, []):
            self._run(windows)

    @torch.inference_mode()
    def _run(self, windows: list[Window]) -> None:
        began = time.perf_counter()
        try:
            outcomes: Sequence[Tensor | Exception] = self._call(windows)
        except Exception as error:
            if len(windows) > 1:  # each by itself, so that only that fails which has to
                for window in windows:
                    self._run([window])
                return
            outcomes = [error]
        took = time.perf_counter() - began
        self.seconds += took
        self.calls += 1
        for window, outcome in zip(windows, outcomes, strict=True):
            window._outcome = outcome
            window.seconds = took * len(window.audio) / _rows(windows)

    def _call(self, windows: list[Window]) -> list[Tensor]:
        def on_step(done: int, steps: int) -> None:
            for window in windows:
                if window.on_step is not None:
                    window.on_step(done, steps)

        audio = torch.cat([window.audio for window in windows])
        starts = [window.start for window in windows for _ in window.audio]
        output = windows[0].function(audio, starts, on_step)
        if output.dim() != 3 or output.shape[1:] != audio.shape:
            raise RuntimeError(f"the model made {tuple(output.shape)} of {tuple(audio.shape)}")
        on_step(1, 1)
        pieces = output.split([len(window.audio) for window in windows], dim=1)
        return [piece.flatten(0, 1) for piece in pieces]


def _key(window: Window) -> tuple[WindowFunction, int]:
    return window.function, window.audio.shape[1]


def _rows(windows: Sequence[Window]) -> int:
    return sum(len(window.audio) for window in windows)
