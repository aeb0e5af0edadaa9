"""A causal model whose every output sample is known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from audio_enh.models.base import CausalModel, EnhancementModel, State


class FirModel(CausalModel):
    """``y[n] = sum_k taps[k] * x[n - k] + hum``, ``delay`` samples late, in hops of ``hop_length``."""

    def __init__(
        self,
        taps: Sequence[float] = (1.0,),
        delay: int = 37,
        hop_length: int = 48,
        sample_rate: int = 16000,
        hum: float = 0.0,
    ):
        super().__init__()
        self.register_buffer("taps", torch.tensor(taps, dtype=torch.float32))
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.delay = delay
        self.latency = delay + 2 * hop_length
        self.hum = hum
        self.steps: list[int] = []  # lengths of the blocks that step was given

    def forward(self, audio: Tensor) -> Tensor:
        return self._filter(torch.nn.functional.pad(audio, (len(self.taps) - 1, 0)))

    def _filter(self, audio: Tensor) -> Tensor:
        frames = audio.unfold(1, len(self.taps), 1)
        return (frames * self.taps.flip(0)).sum(dim=2) + self.hum

    def init_state(self, batch: int = 1) -> State:
        return torch.zeros(batch, len(self.taps) - 1), torch.zeros(batch, self.delay)

    def step(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        assert audio.shape[1] > 0
        assert audio.shape[1] % self.hop_length == 0
        self.steps.append(audio.shape[1])
        return self._advance(audio, state)

    def flush(self, tail: Tensor, state: State) -> Tensor:
        assert tail.shape[1] < self.hop_length
        output, (_, line) = self._advance(tail, state)
        return torch.cat([output, line], dim=1)

    def _advance(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        past, line = state
        signal = torch.cat([past, audio], dim=1)
        output = self._filter(signal) if audio.shape[1] else audio
        line = torch.cat([line, output], dim=1)
        keep = signal.shape[1] - past.shape[1]
        return line[:, : audio.shape[1]], (signal[:, keep:], line[:, audio.shape[1] :])


class MirrorFreeSmoother(EnhancementModel):
    """A model that needs the future: the mean of a sample and its ``reach`` neighbours on both sides."""

    sample_rate = 16000

    def __init__(self, reach: int = 8):
        super().__init__()
        self.reach = reach
        self.windows: list[int] = []

    def forward(self, audio: Tensor) -> Tensor:
        self.windows.append(audio.shape[1])
        padded = torch.nn.functional.pad(audio, (self.reach, self.reach))
        return padded.unfold(1, 2 * self.reach + 1, 1).mean(dim=2)


@pytest.fixture
def fir() -> Callable[..., FirModel]:
    return FirModel


@pytest.fixture
def smoother() -> Callable[..., MirrorFreeSmoother]:
    return MirrorFreeSmoother
