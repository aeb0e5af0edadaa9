"""What every enhancement model promises to the code that runs it."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

State = tuple[Tensor, ...]

# Outside of this, a number is no sample rate in Hz but a mistake (kHz, or a length).
MIN_RATE, MAX_RATE = 1000, 1_000_000


def with_defaults(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a function, those not given by their defaults where they have one."""
    parameters = inspect.signature(function).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    return {**defaults, **arguments}


class EnhancementModel(nn.Module, ABC):
    """A network that maps noisy mono waveforms to clean ones.

    Channels of a file are items of a batch. Constructor arguments are plain values, so that a checkpoint is a
    state dict and those arguments.

    Attributes:
        sample_rate: rate the model works at, in Hz.
    """

    sample_rate: int

    @abstractmethod
    def forward(self, audio: Tensor) -> Tensor:
        """Enhance whole signals, offline.

        Args:
            audio: ``(batch, samples)`` at ``sample_rate``, full scale is 1; any length from 0 samples on.

        Returns:
            ``(batch, samples)``, aligned with the input (0 samples of delay).
        """

    def for_rate(self, sample_rate: int) -> EnhancementModel:
        """The model for signals of a sample rate in Hz: this one, or a part of it that does all there is to do."""
        return self

    @classmethod
    def complete_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor's arguments with the defaults of those not given: what a checkpoint keeps, so that it
        outlives a change of theirs."""
        return with_defaults(cls, arguments)


class CausalModel(EnhancementModel):
    """A model that can also run on a live signal, by explicit state.

    For every way of cutting the input into blocks, ``init_state``, ``step`` on each block and ``flush`` give
    the output of ``forward``, to float tolerance.

    Attributes:
        hop_length: ``step`` takes whole multiples of this many samples.
        delay: samples by which what ``step`` returns lags its input (algorithmic delay, buffering of the
            first hop not counted): the first ``delay`` samples of a stream are warm-up and to be dropped.
        latency: algorithmic latency in samples by the DNS-challenge definition: frame + stride + look-ahead.
    """

    hop_length: int
    delay: int
    latency: int

    @abstractmethod
    def init_state(self, batch: int = 1) -> State:
        """The state before the first sample, on the model's device: a flat tuple of float tensors whose
        first dimension is ``batch``."""

    @abstractmethod
    def step(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        """Advance by ``audio``, ``(batch, n * hop_length)``.

        Returns:
            ``(batch, n * hop_length)``, the output for the input ``delay`` samples earlier, and the new
            state; ``state`` itself is left as it was.
        """

    @abstractmethod
    def flush(self, tail: Tensor, state: State) -> Tensor:
        """End a stream.

        Args:
            tail: ``(batch, r)``, the samples that have not filled a hop, ``0 <= r < hop_length``.

        Returns:
            ``(batch, r + delay)``: with what ``step`` gave, minus the first ``delay`` samples, exactly as
            many samples as went in.
        """
