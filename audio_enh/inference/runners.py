"""How a model meets a signal of any length: by explicit state, or by overlapping windows.

A runner takes blocks of any size and gives back, all in all, as many samples as went in, aligned with them.
Its memory does not grow with the signal, and its output does not depend on how the signal was cut, to the
bit: models are always run on pieces of the same sizes at the same places.
"""

from __future__ import annotations

import math
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
    """Enhances one window by itself.

    ``audio`` is ``(batch, samples)``, what comes back has that shape and is aligned; ``start`` is the
    absolute position of the window's first sample, from which a diffusion model takes its noise, so that
    windows that overlap share it.
    """

    def __call__(self, audio: Tensor, start: int) -> Tensor: ...


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

    All windows are ``window_length`` long (the last one is moved back to be so), except for one window of a
    signal that is shorter than that.

    Args:
        enhance_window: the model.
        batch: signals side by side.
        window_length: samples per window; memory is proportional to it.
        overlap: samples that neighbouring windows share, less than a window.
    """

    def __init__(self, enhance_window: WindowFunction, batch: int, window_length: int, overlap: int):
        if not 0 < overlap < window_length:
            raise ValueError(
                f"overlap must lie between 0 and window_length {window_length}, not be {overlap}"
            )
        self.enhance_window = enhance_window
        self.window_length = window_length
        self.overlap = overlap
        phase = (torch.arange(overlap) + 0.5) * (math.pi / 2 / overlap)
        self._fade_in = phase.sin().square()
        self._input = torch.zeros(batch, 0)  # from one hop before the next window on
        self._input_start = 0
        self._start = 0  # of the next window
        self._previous: Tensor | None = None  # the last window's output where the next one overlaps it

    def process(self, audio: Tensor) -> Tensor:
        """See the module."""
        self._input = torch.cat([self._input.to(audio), audio], dim=1)
        hop = self.window_length - self.overlap
        outputs = [audio[:, :0]]
        # "More than a window": the signal may end here, and then this window is the last one, for flush.
        while self._input_start + self._input.shape[1] - self._start > self.window_length:
            output = self._cross_fade(self._window(self._input, self._start, self.window_length))
            outputs.append(output[:, :hop])
            self._previous = output[:, hop:].clone()
            keep_from = self._start
            self._start += hop
            self._input = self._input[:, keep_from - self._input_start :].clone()
            self._input_start = keep_from
        return torch.cat(outputs, dim=1)

    def flush(self) -> Tensor:
        """See the module."""
        end = self._input_start + self._input.shape[1]
        first = max(0, end - self.window_length)
        output = self._input
        if end:
            output = self._window(self._input, first, end - first)
            output = self._cross_fade(output[:, self._start - first :])
        self._input, self._previous = self._input[:, :0], None
        self._input_start = self._start = 0
        return output

    def _window(self, audio: Tensor, start: int, length: int) -> Tensor:
        offset = start - self._input_start
        window = audio[:, offset : offset + length]
        output = self.enhance_window(window, start)
        if output.shape != window.shape:
            raise RuntimeError(f"the model made {tuple(output.shape)} of {tuple(window.shape)}")
        return output

    def _cross_fade(self, output: Tensor) -> Tensor:
        if self._previous is None:
            return output
        fade_in = self._fade_in.to(output)
        old, new = self._previous, output[:, : self.overlap]
        # old + fade * (new - old) leaves windows that agree as they are, to the bit.
        return torch.cat([old + fade_in * (new - old), output[:, self.overlap :]], dim=1)
