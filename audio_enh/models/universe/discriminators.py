"""Discriminators of UNIVERSE++: they tell recorded speech from made speech, for training only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_enh.models.universe.blocks import normalised

_SLOPE = 0.1


class Judgement(NamedTuple):
    """A discriminator's answers, ``(batch, n)``, 1 for real and 0 for made, and the features that led to them."""

    answers: Tensor
    features: list[Tensor]


class _Convolutions(nn.Module):
    """Convolutions with leaky ReLUs between them, in two dimensions, all weight-normalised."""

    def __init__(self, layers: Sequence[nn.Conv2d]):
        super().__init__()
        self.layers = nn.ModuleList(normalised(layer, True) for layer in layers)

    def forward(self, x: Tensor) -> Judgement:
        features = []
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        x = self.layers[-1](x)
        return Judgement(x.flatten(1), [*features, x])


class PeriodDiscriminator(nn.Module):
    """Looks at every ``period``-th sample: Kong et al. 2020 (HiFi-GAN, arXiv 2010.05646).

    Args:
        period: in samples.
        width: factor of the paper's channels.
    """

    def __init__(self, period: int, width: float = 1.0):
        super().__init__()
        self.period = period
        channels = [1, *(round(width * n) for n in (32, 128, 512, 1024, 1024))]
        layers = [
            nn.Conv2d(before, after, (5, 1), (1 if i == 4 else 3, 1), padding=(2, 0))
            for i, (before, after) in enumerate(pairwise(channels))
        ]
        self.convolutions = _Convolutions([*layers, nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0))])

    def forward(self, audio: Tensor) -> Judgement:
        """``(batch, samples)``, at least ``period`` of them."""
        audio = F.pad(audio[:, None], (0, -audio.shape[1] % self.period), mode="reflect")
        return self.convolutions(audio.unflatten(2, (-1, self.period)))


class ResolutionDiscriminator(nn.Module):
    """Looks at magnitudes of a spectrogram: Jang et al. 2021 (UnivNet, arXiv 2106.07889).

    Args:
        n_fft, hop_length, win_length: in samples; the window is rectangular.
        width: factor of the paper's channels.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, win_length: int, width: float = 1.0):
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.register_buffer("window", torch.ones(win_length), persistent=False)
        n = round(32 * width)
        strided = [nn.Conv2d(n, n, (3, 9), (1, 2), padding=(1, 4)) for _ in range(3)]
        self.convolutions = _Convolutions(
            [
                nn.Conv2d(1, n, (3, 9), padding=(1, 4)),
                *strided,
                nn.Conv2d(n, n, (3, 3), padding=(1, 1)),
                nn.Conv2d(n, 1, (3, 3), padding=(1, 1)),
            ]
        )

    def forward(self, audio: Tensor) -> Judgement:
        """``(batch, samples)``, more than half of ``n_fft``."""
        with torch.autocast(audio.device.type, enabled=False):
            around = (self.n_fft - self.hop_length) // 2
            padded = F.pad(audio.float()[:, None], (around, around), mode="reflect")[:, 0]
            spectrum = torch.stft(
                padded,
                self.n_fft,
                self.hop_length,
                win_length=len(self.window),
                window=self.window,
                center=False,
                return_complex=True,
            )
            magnitude = spectrum.abs()
        return self.convolutions(magnitude[:, None])


class Discriminators(nn.Module):
    """All of them. The defaults are those of UNIVERSE++ (Scheibler et al. 2024, arXiv 2406.12194).

    Args:
        periods: see :class:`PeriodDiscriminator`.
        resolutions: see :class:`ResolutionDiscriminator`.
        width: factor of the papers' channels.
    """

    def __init__(
        self,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        resolutions: Sequence[tuple[int, int, int]] = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)),
        width: float = 1.0,
    ):
        super().__init__()
        self.of_periods = nn.ModuleList(PeriodDiscriminator(period, width) for period in periods)
        self.of_resolutions = nn.ModuleList(
            ResolutionDiscriminator(n_fft, hop_length, win_length, width)
            for n_fft, hop_length, win_length in resolutions
        )

    def forward(self, audio: Tensor) -> list[Judgement]:
        """``(batch, samples)``; one judgement for each discriminator."""
        return [judge(audio) for judge in (*self.of_periods, *self.of_resolutions)]
