"""How much of a recording lies above the band of a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Speech at 48 kHz has some -25 to -40 dB of its power above 8 kHz; noise of 16-bit rounding lies below -60 dB.
AUDIBLE_DB = -50.0


class UpperBand:
    """Measures, block by block, the power of a recording above a frequency.

    Args:
        sample_rate: of the recording, in Hz.
        edge: the frequency, in Hz.
    """

    def __init__(self, sample_rate: int, edge: float):
        self.sample_rate = sample_rate
        self.edge = edge
        self._upper = self._total = 0.0

    def add(self, block: NDArray[np.floating]) -> None:
        """Take in a block ``(channels, samples)``."""
        if self.sample_rate <= 2 * self.edge or not block.shape[-1]:
            return
        # The window keeps the lower band from leaking over the edge.
        power = np.abs(np.fft.rfft(block * np.hanning(block.shape[-1]))) ** 2
        first = int(np.ceil(1.05 * self.edge * block.shape[-1] / self.sample_rate))
        self._upper += float(power[..., first:].sum())
        self._total += float(power.sum())

    @property
    def audible(self) -> bool:
        """Whether it is more than -50 dB of the whole."""
        return self._upper > 10 ** (AUDIBLE_DB / 10) * self._total > 0
