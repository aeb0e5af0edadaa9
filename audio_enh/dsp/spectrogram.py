"""Compressed complex spectrograms: what diffusion on speech works on."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CompressedSpectrogram(nn.Module):
    r"""Short-time Fourier transform with compressed magnitudes, and its inverse: Richter et al. 2023, section III-A.

    .. math:: \tilde c = \beta |c|^\alpha e^{i \angle c}

    Compression brings out the quiet parts of speech, which otherwise weigh nothing in a squared error.
    The window is a periodic Hann one, frames are centred on multiples of the hop.

    Args:
        n_fft: samples per frame, even; there are ``n_fft // 2 + 1`` bins.
        hop_length: samples between frames.
        exponent: alpha.
        factor: beta.
    """

    def __init__(self, n_fft: int = 510, hop_length: int = 128, exponent: float = 0.5, factor: float = 0.15):
        super().__init__()
        if n_fft % 2 or not 0 < hop_length <= n_fft // 2 + 1:
            raise ValueError(
                f"n_fft must be even and hop_length about half of it at most, not {n_fft} and {hop_length}"
            )
        if not (0 < exponent <= 1 and factor > 0):
            raise ValueError(f"exponent (up to 1) and factor must be above 0, not {exponent}, {factor}")
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.bins = n_fft // 2 + 1
        self.exponent = exponent
        self.factor = factor
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def frames(self, samples: int) -> int:
        """Number of frames of a signal: one on either side of every sample."""
        return -(-samples // self.hop_length) + 1

    def forward(self, audio: Tensor) -> Tensor:
        """``(batch, samples)`` to complex ``(batch, 1, bins, frames(samples))``.

        Beyond its ends the signal is taken to be mirrored, or to be zero where it is too short for that.
        """
        samples = audio.shape[1]
        left = self.n_fft // 2
        right = left + -samples % self.hop_length
        mode = "reflect" if samples > right else "constant"
        padded = nn.functional.pad(audio[:, None], (left, right), mode=mode)[:, 0]
        spectrum = torch.stft(
            padded, self.n_fft, self.hop_length, window=self.window, center=False, return_complex=True
        )
        return self.compress(spectrum)[:, None]

    def inverse(self, coefficients: Tensor, length: int) -> Tensor:
        """``(batch, 1, bins, frames)`` to ``(batch, length)``; frames beyond the length are not used."""
        spectrum = self.expand(coefficients[:, 0, :, : self.frames(length)])
        return torch.istft(spectrum, self.n_fft, self.hop_length, window=self.window, length=length)

    def compress(self, spectrum: Tensor) -> Tensor:
        """``beta |c|^alpha e^(i angle)``, in the shape of ``spectrum``."""
        return _scale_magnitude(spectrum, self.exponent - 1) * self.factor

    def expand(self, coefficients: Tensor) -> Tensor:
        """The inverse of :meth:`compress`."""
        return _scale_magnitude(coefficients / self.factor, 1 / self.exponent - 1)


def _scale_magnitude(values: Tensor, exponent: float) -> Tensor:
    """``values * |values| ** exponent``, zero where they are zero; gradients are finite everywhere."""
    power = values.real.square() + values.imag.square()
    zero = power == 0
    gain = torch.where(zero, 1.0, power) ** (exponent / 2)
    return values * torch.where(zero, 0.0, gain)
