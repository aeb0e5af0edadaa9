"""The learned filter bank of the causal U-Nets at a fraction of its cost: two sparse matrices for a dense one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audio_enh.dsp.filterbank import fourier_factors


class FastFilterBank(nn.Module):
    """Analysis and synthesis by products of two block-diagonal matrices each, a windowed Fourier basis at first.

    Products of two block-diagonal matrices with a permutation between them hold the fast Fourier transform and many
    transforms near it, and can be trained (Monarch matrices: Dao et al. 2022, arXiv 2204.00595).

    Args:
        window_length: samples of the analysis window, all in the past; half as many bands.
        hop_length: samples between frames; the synthesis window has twice as many.
        radix: see :func:`audio_enh.dsp.filterbank.fourier_factors`.
        trainable: whether the matrices are parameters.
    """

    def __init__(self, window_length: int, hop_length: int, radix: int = 16, trainable: bool = True):
        super().__init__()
        self.hop_length = hop_length
        self.window_length = window_length
        self.radix = radix
        self.bands = window_length // 2
        factors = fourier_factors(window_length, 2 * hop_length, radix)
        names = ("first", "second", "back_second", "back_first")
        for name, factor in zip(names, factors, strict=True):
            setattr(self, name, nn.Parameter(factor, requires_grad=trainable))

    first: nn.Parameter
    second: nn.Parameter
    back_second: nn.Parameter
    back_first: nn.Parameter

    def init_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """Past samples ``(batch, window_length - hop_length)`` and overlap ``(batch, hop_length)``."""
        past = self.first.new_zeros(batch, self.window_length - self.hop_length)
        return past, self.first.new_zeros(batch, self.hop_length)

    def analyse(self, audio: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, frames * hop_length)`` to ``(batch, frames, 2, bands)``, real and imaginary parts."""
        audio = torch.cat([past, audio], dim=1)
        frames = audio.unfold(1, self.window_length, self.hop_length)
        batch, count = frames.shape[:2]
        # (radix, rows, Q) @ (radix, Q, Q)
        x = frames.reshape(batch * count, -1, self.radix).permute(2, 0, 1) @ self.first
        half = x.shape[2] // 2
        # (Q / 2, rows, real and imaginary parts of all sub-sequences)
        x = x.unflatten(2, (2, half)).permute(3, 1, 2, 0).flatten(2) @ self.second
        x = x.unflatten(2, (2, 2, self.radix // 2))
        x = torch.cat([x[:, :, 0], x[:, :, 1].flip(0)], dim=0)  # (Q, rows, 2, radix / 2)
        spectrum = x.permute(1, 2, 3, 0).reshape(batch, count, 2, self.bands)
        return spectrum, audio[:, audio.shape[1] - past.shape[1] :]

    def synthesise(self, spectrum: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, frames, 2, bands)`` to ``(batch, frames * hop_length)``, which lags by ``hop_length``."""
        batch, count = spectrum.shape[:2]
        x = spectrum.reshape(batch * count, 2, self.radix // 2, -1).permute(3, 0, 1, 2)
        half = x.shape[0] // 2
        x = torch.stack([x[:half], x[half:].flip(0)], dim=2)  # (Q / 2, rows, 2, 2, radix / 2)
        x = x.flatten(2) @ self.back_second
        # (radix, rows, Q)
        x = x.unflatten(2, (2, self.radix)).permute(3, 1, 2, 0).flatten(2) @ self.back_first
        frames = x.permute(1, 2, 0).reshape(batch, count, -1)
        older, newer = frames[..., : self.hop_length], frames[..., self.hop_length :]
        tails = torch.cat([overlap[:, None], newer], dim=1)
        return (older + tails[:, :-1]).flatten(1), tails[:, -1]
