"""The mel spectrogram that the condition network of UNIVERSE sees."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mel_filters(bands: int, n_fft: int, sample_rate: int) -> Tensor:
    """Triangular filters with peaks of 1, equally wide in mel from 0 Hz to half the rate, ``(bins, bands)``.

    The mel scale is O'Shaughnessy's (1987), ``2595 log10(1 + f / 700)``.
    """
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    mels = torch.linspace(0, top, bands + 2, dtype=torch.float64)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequency = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequency - low) / (centre - low)
    falling = (high - frequency) / (high - centre)
    return torch.minimum(rising, falling).clamp(min=0).float()


class MelSpectrogram(nn.Module):
    """Power in mel bands to some power, one frame per step of the networks' lowest rate, of mean square 1.

    Args:
        sample_rate: in Hz.
        hop_length: samples per frame.
        bands: number of bands.
        oversampling: length of the window in hops.
        exponent: of the power; 1 in UNIVERSE. Below 1, quiet bands are heard beside loud ones.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self, sample_rate: int, hop_length: int, bands: int = 80, oversampling: int = 4, exponent: float = 1.0
    ):
        super().__init__()
        self.exponent = exponent
        self.hop_length = hop_length
        self.n_fft = oversampling * hop_length
        self.register_buffer("window", torch.hann_window(self.n_fft), persistent=False)
        self.register_buffer("filters", mel_filters(bands, self.n_fft, sample_rate), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """``(batch, frames * hop_length)`` to ``(batch, bands, frames)``."""
        # The powers of quiet signals are outside the range of half precision, and FFTs want single.
        with torch.autocast(audio.device.type, enabled=False):
            around = self.n_fft - self.hop_length
            padded = F.pad(audio.float(), (around // 2, around - around // 2))
            frames = padded.unfold(1, self.n_fft, self.hop_length)
            spectrum = torch.fft.rfft(frames * self.window)
            power = spectrum.real.square() + spectrum.imag.square()
            mel = (power @ self.filters).transpose(1, 2)
            if self.exponent != 1:
                mel = mel.clamp(min=1e-10) ** self.exponent
            norm = mel.square().sum(dim=1, keepdim=True).mean(dim=2, keepdim=True)
            # The slope of the square root at 0 is infinite: silence would send NaN back.
            return mel / norm.clamp(min=1e-10).sqrt()
