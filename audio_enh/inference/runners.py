"""How a model meets a signal of any length: by explicit state, or by overlapping windows.

A runner takes blocks of any size and gives back, all in all, as many samples as went in, aligned with them.
Its memory does not grow with the signal, and its output does not depend on how the signal was cut, to the
bit: models are always run on pieces of the same sizes at the same places.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from audio_enh.diffusion.times import OnStep
from audio_enh.inference.pool import Window, WindowFunction, WindowPool
from audio_enh.inference.uncertainty import UncertaintyCurve
from audio_enh.models.base import CausalModel
from audio_enh.models.stream_runner import StreamRunner

#: Told how many seconds of a signal are done.
Progress = Callable[[float], None]


class ModelRunner(Protocol):
    """Feeds blocks ``(batch, n)`` at the model's rate and device; all methods return ``(batch, m)``.

    Attributes:
        complete: after ``end``, whether ``flush`` has nothing left to compute.
        shared_seconds: time spent in calls that it shares with other runners, divided among them by their channels.
        linked: after ``flush``, whether the channels were enhanced together.
        uncertainty: after ``flush``, how far the draws of a generative model were apart; None where it made one.
    """

    @property
    def complete(self) -> bool: ...

    @property
    def shared_seconds(self) -> float: ...

    @property
    def linked(self) -> bool: ...

    @property
    def uncertainty(self) -> UncertaintyCurve | None: ...

    def process(self, audio: Tensor) -> Tensor:
        """Take input: the output that is final by now."""

    def end(self) -> Tensor:
        """No more input comes; the rest of the output need not be there yet."""

    def flush(self) -> Tensor:
        """The rest of the output, after ``end`` or instead of it."""


class CausalRunner:
    """A causal model, in steps of one fixed length.

    Args:
        model: the model.
        batch: signals side by side.
        block_length: samples per step, rounded to whole hops.
        progress: told after each step how many seconds of the signal are done.
    """

    complete = True
    shared_seconds = 0.0
    linked = False
    uncertainty = None

    def __init__(self, model: CausalModel, batch: int, block_length: int, progress: Progress | None = None):
        self._rate = model.sample_rate
        self._progress = progress
        self._done = 0  # samples
        self.block_length = max(1, round(block_length / model.hop_length)) * model.hop_length
        self._runner = StreamRunner(model, batch)
        self._pending: list[Tensor] = []
        self._pending_length = 0

    def process(self, audio: Tensor) -> Tensor:
        """See the module."""
        self._pending.append(audio)
        self._pending_length += audio.shape[1]
        if self._pending_length < self.block_length:
            return audio[:, :0]
        pending = self._take_pending()
        ready = pending.shape[1] // self.block_length * self.block_length
        outputs = [self._step(block) for block in pending[:, :ready].split(self.block_length, dim=1)]
        # A copy, for a view would keep the whole block alive.
        self._pending, self._pending_length = [pending[:, ready:].clone()], pending.shape[1] - ready
        return torch.cat(outputs, dim=1)

    def end(self) -> Tensor:
        """See :class:`ModelRunner`: nothing is shared with others, so all that is left to do is for ``flush``."""
        return torch.zeros(self._runner.batch, 0)

    def flush(self) -> Tensor:
        """See the module."""
        if not self._pending:
            return self._runner.flush()
        return torch.cat([self._step(self._take_pending()), self._runner.flush()], dim=1)

    def _step(self, audio: Tensor) -> Tensor:
        output = self._runner.process(audio)
        self._done += audio.shape[1]
        if self._progress is not None:
            self._progress(self._done / self._rate)
        return output

    def _take_pending(self) -> Tensor:
        pending = torch.cat(self._pending, dim=1)
        self._pending, self._pending_length = [], 0
        return pending


@dataclass
class _Piece:
    """What a window is for: its output is used from sample ``begin`` to ``end``, and the first ``fresh`` samples of
    that are final then; the next window overlaps the others."""

    window: Window
    begin: int
    end: int
    fresh: int


class WindowRunner:
    """A model that needs the future, in overlapping windows with raised-cosine cross-fades.

    All windows are ``window_length`` long, except for one window of a signal that is shorter. The last one is moved
    back so that the signal fills it, as far as the grid allows; the rest is the signal mirrored. Short windows are
    filled up like this to a few lengths, so that those of several signals can be enhanced together. They always are,
    so that the output is the same whether others are there or not.

    Args:
        enhance_windows: the model.
        batch: signals side by side.
        window_length: samples per window; memory is proportional to it.
        overlap: samples that neighbouring windows share, less than a window.
        margin: of these, so many at either end are not used: the cross-fade lies between them.
        grid: windows begin at multiples of so many samples.
        unit: the window of a short signal lacks a multiple of so many samples to a whole one; a multiple of ``grid``.
        pool: where windows are enhanced; by default each at once.
        sample_rate: of the signals, in Hz.
        progress: told how many seconds of the signal are done, after each window and, where the model works in steps,
            after each step, which counts for its share of the window.
    """

    linked = False
    uncertainty: UncertaintyCurve | None = None

    def __init__(
        self,
        enhance_windows: WindowFunction,
        batch: int,
        window_length: int,
        overlap: int,
        *,
        margin: int = 0,
        grid: int = 1,
        unit: int | None = None,
        pool: WindowPool | None = None,
        sample_rate: int = 1,
        progress: Progress | None = None,
    ):
        if not 0 < overlap < window_length:
            raise ValueError(
                f"overlap must lie between 0 and window_length {window_length}, not be {overlap}"
            )
        if not 0 <= 2 * margin < overlap:
            raise ValueError(f"margin must be less than half of overlap {overlap}, not {margin}")
        self._hop = window_length - overlap
        self.unit = grid if unit is None else unit
        if self._hop % grid or self.unit % grid:
            raise ValueError(
                f"window_length less overlap {self._hop} and unit {self.unit} must be multiples of grid {grid}"
            )
        self.enhance_windows = enhance_windows
        self.window_length = window_length
        self.overlap = overlap
        self.grid = grid
        self.pool = WindowPool() if pool is None else pool
        self.shared_seconds = 0.0
        self._rate = sample_rate
        self._progress = progress
        self._done = 0.0  # samples
        ramp = overlap - 2 * margin
        phase = (torch.arange(ramp) + 0.5) * (math.pi / 2 / ramp)
        self._fade_in = torch.cat([torch.zeros(margin), phase.sin().square(), torch.ones(margin)])
        self._input = torch.zeros(batch, 0)  # from one hop before the next window on
        self._input_start = 0
        self._start = 0  # of the next window
        self._pieces: deque[_Piece] = deque()  # whose output is still to come
        self._previous: Tensor | None = None  # the last window's output where the next one overlaps it

    @property
    def complete(self) -> bool:
        """See :class:`ModelRunner`."""
        return all(piece.window.done for piece in self._pieces)

    def process(self, audio: Tensor) -> Tensor:
        """See the module."""
        self._input = torch.cat([self._input.to(audio), audio], dim=1)
        # More than a window must be there: where the signal ends with it, it is the last one.
        while self._end() > self._start + self.window_length:
            self._add(self._start, self._start + self.window_length, self._hop)
            self._start += self._hop
        keep_from = max(0, self._start - self._hop)
        self._input = self._input[:, keep_from - self._input_start :].clone()
        self._input_start = keep_from
        return self._collect()

    def end(self) -> Tensor:
        """See :class:`ModelRunner`."""
        self._add_last()
        return self._collect()

    def flush(self) -> Tensor:
        """See the module."""
        self._add_last()
        for piece in self._pieces:
            self.pool.finish(piece.window)
        output = self._collect()
        self._previous = None
        return output

    def _end(self) -> int:
        """Number of samples that came so far."""
        return self._input_start + self._input.shape[1]

    def _add_last(self) -> None:
        """The window up to the end, once."""
        if end := self._end():
            first = max(0, -((self.window_length - end) // self.grid) * self.grid)
            self._add(first, end, end - self._start)
        self._input = self._input[:, :0]
        self._input_start = self._start = 0

    def _add(self, first: int, end: int, fresh: int) -> None:
        """The next window, of samples ``first`` to ``end``, ``fresh`` of which no other window gives."""
        audio = self._input[:, first - self._input_start : end - self._input_start]
        lacking = (self.window_length - audio.shape[1]) % self.unit
        # Mirrored: speech that stops where the recording does would seem to end there.
        mode = "reflect" if lacking < audio.shape[1] else "constant"
        audio = nn.functional.pad(audio, (0, lacking), mode) if lacking else audio.clone()

        window = Window(self.enhance_windows, audio, first, self._counter(fresh))
        self._pieces.append(_Piece(window, self._start - first, end - first, fresh))
        self.pool.add(window)

    def _counter(self, fresh: int) -> OnStep:
        """Counts the steps of a window, whose output makes so many samples of the signal final."""
        share = 0.0

        def on_step(done: int, steps: int) -> None:
            nonlocal share
            if done / steps > share:  # where a call is repeated, its first steps have been counted
                self._done += (done / steps - share) * fresh
                share = done / steps
                if self._progress is not None:
                    self._progress(self._done / self._rate)

        return on_step

    def _collect(self) -> Tensor:
        """The output that is final by now."""
        outputs = []
        while self._pieces and self._pieces[0].window.done:
            piece = self._pieces.popleft()
            output = self._cross_fade(piece.window.result()[:, piece.begin : piece.end])
            outputs.append(output[:, : piece.fresh])
            self._previous = output[:, piece.fresh :].clone()
            self.shared_seconds += piece.window.seconds
        return torch.cat(outputs, dim=1) if outputs else self._input[:, :0]

    def _cross_fade(self, output: Tensor) -> Tensor:
        if self._previous is None:
            return output
        fade_in = self._fade_in.to(output)
        old, new = self._previous, output[:, : self.overlap]
        # lerp leaves windows that agree as they are, and takes either alone where the fade is 0 or 1, to the bit.
        return torch.cat([torch.lerp(old, new, fade_in), output[:, self.overlap :]], dim=1)
