"""A high-pass filter that turns no phase, for models that may look ahead: against rumble, thumps and offsets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class ZeroPhaseHighPass:
    """Linear-phase filter whose delay is taken out; it runs on blocks of any size.

    At the cut-off 6 dB are lost; a quarter of it further down 50 dB, as much further up nothing.

    The output is the same, to the bit, for every way of cutting the input: it is computed in blocks of one size.

    Args:
        cutoff: in Hz.
        sample_rate: in Hz.
        batch: signals side by side.
    """

    block_seconds = 0.5

    def __init__(self, cutoff: float, sample_rate: int, batch: int):
        if not 0 < cutoff < sample_rate / 2:
            raise ValueError(f"the cut-off must be between 0 and {sample_rate / 2} Hz, got {cutoff}")
        # A Hamming window has its first zero 4 / length away from the middle.
        self.reach = round(4 * sample_rate / cutoff)
        self.block = round(self.block_seconds * sample_rate)
        low = np.sinc(2 * cutoff / sample_rate * np.arange(-self.reach, self.reach + 1))
        low *= np.hamming(2 * self.reach + 1)
        taps = -low / low.sum()
        taps[self.reach] += 1
        self._size = 1 << (self.block + 2 * self.reach - 1).bit_length()
        self._response = torch.fft.rfft(torch.from_numpy(taps), self._size).to(torch.complex64)
        self._waiting = torch.zeros(batch, self.reach)

    def process(self, audio: Tensor) -> Tensor:
        """Take ``(batch, n)``: what is filtered by now, ``(batch, m)``."""
        self._waiting = torch.cat([self._waiting.to(audio), audio], dim=1)
        needed = self.block + 2 * self.reach
        pieces = []
        while self._waiting.shape[1] >= needed:
            spectrum = torch.fft.rfft(self._waiting[:, :needed], self._size)
            filtered = torch.fft.irfft(spectrum * self._response.to(spectrum.device), self._size)
            pieces.append(filtered[:, 2 * self.reach : needed])
            self._waiting = self._waiting[:, self.block :].clone()
        return torch.cat([audio[:, :0], *pieces], dim=1)

    def flush(self) -> Tensor:
        """End the signal: the rest, so that as many samples came out as went in."""
        rest = self._waiting.shape[1] - self.reach
        padding = -rest % self.block + self.reach
        out = self.process(self._waiting.new_zeros(len(self._waiting), padding))
        return out[:, :rest]


def zero_phase_high_pass(audio: Tensor, cutoff: float, sample_rate: int) -> Tensor:
    """:class:`ZeroPhaseHighPass` of whole signals, ``(batch, samples)`` to the same."""
    high_pass = ZeroPhaseHighPass(cutoff, sample_rate, len(audio))
    return torch.cat([high_pass.process(audio), high_pass.flush()], dim=1)
