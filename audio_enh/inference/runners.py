"""How a model meets a signal of any length: by explicit state, or by overlapping windows.

A runner takes blocks of any size and gives back, all in all, as many samples as went in, aligned with them.
Its memory does not grow with the signal, and its output does not depend on how the signal was cut, to the
bit: models are always run on pieces of the same sizes at the same places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from audio_enh.models.base import CausalModel
from audio_enh.models.stream_runner import StreamRunner


class ModelRunner(Protocol):
    """Feeds blocks ``(batch, n)`` at the model's rate and device; both methods return ``(batch, m)``."""

    def process(self, audio: Tensor) -> Tensor: ...

    def flush(self) -> Tensor: ...


class WindowFunction(Protocol):
    """Enhances windows, each by itself.

    ``audio`` is ``(windows, batch, samples)``, what comes back ``(windows, rows, samples)`` and aligned; ``starts``
    are the absolute positions of the windows' first samples, from which a generative model takes its noise, so that
    windows that overlap share it.
    """

    def __call__(self, audio: Tensor, starts: Sequence[int]) -> Tensor: ...


class CausalRunner:
    """A causal model, in steps of one fixed length.

    Args:
        model: the model.
        batch: signals side by side.
        block_length: samples per step, rounded to whole hops.
    """

    def __init__(self, model: CausalModel, batch: int, block_length: int):
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
        outputs = [
            self._runner.process(block) for block in pending[:, :ready].split(self.block_length, dim=1)
        ]
        # A copy, for a view would keep the whole block alive.
        self._pending, self._pending_length = [pending[:, ready:].clone()], pending.shape[1] - ready
        return torch.cat(outputs, dim=1)

    def flush(self) -> Tensor:
        """See the module."""
        if not self._pending:
            return self._runner.flush()
        return torch.cat([self._runner.process(self._take_pending()), self._runner.flush()], dim=1)

    def _take_pending(self) -> Tensor:
        pending = torch.cat(self._pending, dim=1)
        self._pending, self._pending_length = [], 0
        return pending


class WindowRunner:
    """A model that needs the future, in overlapping windows with raised-cosine cross-fades.

    All windows are ``window_length`` long (the last one is moved back to be so, and up to ``grid - 1`` samples
    longer), except for one window of a signal that is shorter than that.

    Args:
        enhance_windows: the model.
        batch: signals side by side.
        window_length: samples per window; memory is proportional to it.
        overlap: samples that neighbouring windows share, less than a window.
        margin: of these, so many at either end are not used: the cross-fade lies between them.
        grid: windows begin at multiples of so many samples.
        windows_per_call: windows that ``enhance_windows`` is given at a time. Memory is proportional to that too.
    """

    def __init__(
        self,
        enhance_windows: WindowFunction,
        batch: int,
        window_length: int,
        overlap: int,
        *,
        margin: int = 0,
        grid: int = 1,
        windows_per_call: int = 1,
    ):
        if not 0 < overlap < window_length:
            raise ValueError(
                f"overlap must lie between 0 and window_length {window_length}, not be {overlap}"
            )
        if not 0 <= 2 * margin < overlap:
            raise ValueError(f"margin must be less than half of overlap {overlap}, not {margin}")
        self._hop = window_length - overlap
        if self._hop % grid:
            raise ValueError(f"window_length less overlap must be a multiple of {grid}, not {self._hop}")
        self.enhance_windows = enhance_windows
        self.window_length = window_length
        self.overlap = overlap
        self.grid = grid
        self.windows_per_call = windows_per_call
        ramp = overlap - 2 * margin
        phase = (torch.arange(ramp) + 0.5) * (math.pi / 2 / ramp)
        self._fade_in = torch.cat([torch.zeros(margin), phase.sin().square(), torch.ones(margin)])
        self._input = torch.zeros(batch, 0)  # from one hop before the next window on
        self._input_start = 0
        self._start = 0  # of the next window
        self._previous: Tensor | None = None  # the last window's output where the next one overlaps it

    def process(self, audio: Tensor) -> Tensor:
        """See the module."""
        self._input = torch.cat([self._input.to(audio), audio], dim=1)
        outputs = []
        while self._ready() >= self.windows_per_call:
            outputs.append(self._run(self.windows_per_call))
        return torch.cat(outputs, dim=1) if outputs else audio[:, :0]

    def flush(self) -> Tensor:
        """See the module."""
        end = self._input_start + self._input.shape[1]
        output = self._input
        if end:
            outputs = [self._run(ready)] if (ready := self._ready()) else []
            first = max(0, end - self.window_length) // self.grid * self.grid
            last = self._enhance([first], end - first)[0]
            outputs.append(self._cross_fade(last[:, self._start - first :]))
            output = torch.cat(outputs, dim=1)
        self._input, self._previous = self._input[:, :0], None
        self._input_start = self._start = 0
        return output

    def _ready(self) -> int:
        """Number of windows that can be done now.

        More than a window must be there: where the signal ends with it, it is the last one, for flush.
        """
        beyond = self._input_start + self._input.shape[1] - self._start - self.window_length
        return max(0, -(-beyond // self._hop))

    def _run(self, windows: int) -> Tensor:
        """Does the next windows: the output that is final then."""
        starts = [self._start + i * self._hop for i in range(windows)]
        outputs = []
        for enhanced in self._enhance(starts, self.window_length):
            output = self._cross_fade(enhanced)
            outputs.append(output[:, : self._hop])
            self._previous = output[:, self._hop :].clone()
        self._start += windows * self._hop
        keep_from = starts[-1]
        self._input = self._input[:, keep_from - self._input_start :].clone()
        self._input_start = keep_from
        return torch.cat(outputs, dim=1)

    def _enhance(self, starts: list[int], length: int) -> Tensor:
        offsets = [start - self._input_start for start in starts]
        windows = torch.stack([self._input[:, offset : offset + length] for offset in offsets])
        output = self.enhance_windows(windows, starts)
        if output.dim() != 3 or output.shape[::2] != windows.shape[::2]:
            raise RuntimeError(f"the model made {tuple(output.shape)} of {tuple(windows.shape)}")
        return output

    def _cross_fade(self, output: Tensor) -> Tensor:
        if self._previous is None:
            return output
        fade_in = self._fade_in.to(output)
        old, new = self._previous, output[:, : self.overlap]
        # lerp leaves windows that agree as they are, and takes either alone where the fade is 0 or 1, to the bit.
        return torch.cat([torch.lerp(old, new, fade_in), output[:, self.overlap :]], dim=1)
