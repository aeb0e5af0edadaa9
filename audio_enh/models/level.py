"""Running level of a signal, to normalise what comes in live."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_enh.models.blocks import LevelTracker


class RunningLevel(nn.Module):
    """Root mean square of the signal so far, with exponential forgetting.

    `LevelTracker`'s power over the sum of its weights so far, without which a stream would begin as far below
    its level as after a silence: the level of the first hop is that hop's own, for the first seconds it is
    about that of the signal so far, later that of the last ``time_constant`` seconds. So a long silence
    leaves no lasting mark on the speech after it, as it does in a cumulative mean. A hop counts towards its
    own level, which bounds what dividing by it makes of an onset.

    Args:
        hop_length: samples per hop; the level is constant within one.
        sample_rate: in Hz.
        time_constant: in seconds.
    """

    def __init__(self, hop_length: int, sample_rate: int, time_constant: float) -> None:
        super().__init__()
        if not (time_constant > 0 and math.isfinite(time_constant)):
            raise ValueError(f"the time constant must be a positive number of seconds, not {time_constant}")
        self.hop_length = hop_length
        self.tracker = LevelTracker(hop_length, sample_rate, time_constant)

    def forward(self, audio: Tensor) -> Tensor:
        """The level at every sample, ``(batch, samples)`` for ``(batch, samples)`` of any length."""
        samples = audio.shape[-1]
        audio = F.pad(audio, (0, -samples % self.hop_length))
        levels, _ = self.step(audio, audio.new_zeros(audio.shape[0], 2))
        return hold(levels, self.hop_length)[:, :samples]

    def step(self, audio: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The levels of the next hops of a stream.

        Args:
            audio: ``(batch, n * hop_length)``, ``n >= 1``; the last hop is filled up with zeros.
            state: ``(batch, 2)``, power and sum of weights so far, both 0 at the start.

        Returns:
            ``(batch, n)`` levels and the new state.
        """
        # Powers of quiet signals are outside the range of half precision.
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio.to(state.dtype)
            power, last_power = self.tracker(audio, state[:, :1])
            weight, last_weight = self.tracker(torch.ones_like(audio), state[:, 1:])
            mean = power / weight
            # The slope of the square root at 0 is infinite: silence would send NaN back to the input.
            level = torch.where(mean > 0, mean, 1.0).sqrt() * (mean > 0)
        return level, torch.cat([last_power, last_weight], dim=-1)


def hold(values: Tensor, hop_length: int) -> Tensor:
    """``(batch, n)`` values per hop to ``(batch, n * hop_length)`` values per sample."""
    return values.unsqueeze(-1).expand(-1, -1, hop_length).flatten(1)
