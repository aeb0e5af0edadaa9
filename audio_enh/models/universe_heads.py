"""What turns the condition network's features into its own estimate of the clean signal."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_enh.models.universe_blocks import PReLUConv


class Mixture(NamedTuple):
    """Normal mixtures, one for each of ``channels * frames`` values.

    Attributes:
        mean, sigma: ``(batch, components, channels, frames)``.
        logits: of the components' weights, ``(batch, components, 1, frames)`` or ``(batch, components, 1, 1)``.
    """

    mean: Tensor
    sigma: Tensor
    logits: Tensor

    def expectation(self) -> Tensor:
        """``(batch, channels, frames)``."""
        return (self.logits.softmax(dim=1) * self.mean).sum(dim=1)


class MixtureHead(nn.Module):
    """Mixture density network (Bishop 1994) on features, as in UNIVERSE.

    Features are normalised by mean and variance over channels and frames together, so that no length is built in.

    Args:
        in_channels: of the features.
        channels: of what is described.
        components: of the mixtures.
        weights_by_frame: each frame has weights of its own; otherwise a signal has one set.
    """

    def __init__(self, in_channels: int, channels: int, components: int = 3, weights_by_frame: bool = True):
        super().__init__()
        self.channels = channels
        self.components = components
        self.weights_by_frame = weights_by_frame
        self.norm = nn.GroupNorm(1, in_channels)
        self.conv = PReLUConv(in_channels, 3 * components * channels, 3, weight_normalised=False)

    def forward(self, features: Tensor) -> Mixture:
        """``(batch, in_channels, frames)`` to mixtures."""
        out = self.conv(self.norm(features)).unflatten(1, (3, self.components, self.channels))
        mean, raw_sigma, raw_logits = out.float().unbind(dim=1)
        logits = raw_logits.mean(dim=2 if self.weights_by_frame else (2, 3), keepdim=True)
        # No component may get so unlikely that it learns nothing any more.
        return Mixture(mean, F.elu(raw_sigma) + (1 + 1e-5), logits.clamp(min=-10))


class DecouplingHead(nn.Module):
    """Snake without aliasing, then a convolution to one channel: the signal decoupling of UNIVERSE++.

    Args:
        in_channels: of the features.
    """

    def __init__(self, in_channels: int):
        super().__init__()
        self.snake = AliasFreeSnake(in_channels)
        self.conv = nn.Conv1d(in_channels, 1, 3, padding="same")

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, in_channels, samples)`` to ``(batch, 1, samples)``."""
        return self.conv(self.snake(features))


class AliasFreeSnake(nn.Module):
    r"""The periodic activation ``x + sin^2(a x) / a`` of Ziyin et al. 2020 (arXiv 2006.08195) at twice the rate.

    At twice the rate the harmonics that it makes find room up to the old rate, and are filtered out on the way back
    (Lee et al. 2022, BigVGAN, arXiv 2206.04658). Both filters are windowed sincs.

    Args:
        channels: each has its ``a``, learnt by its logarithm.
    """

    up: Tensor
    down: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.log_alpha = nn.Parameter(torch.zeros(channels))
        # Even output samples of the interpolation lie on input samples, odd ones between two.
        reach = torch.arange(-7, 9, dtype=torch.float64)
        self.register_buffer(
            "up", torch.stack([_low_pass(reach - k / 2, 1) for k in (0, 1)]), persistent=False
        )
        reach = torch.arange(-13, 14, dtype=torch.float64)
        self.register_buffer("down", _low_pass(reach, 2)[None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, samples)`` to the same."""
        batch, channels, samples = x.shape
        alone = x.reshape(batch * channels, 1, samples)
        doubled = F.conv1d(F.pad(alone, (7, 8)), self.up[:, None].to(x.dtype))
        doubled = doubled.transpose(1, 2).reshape(batch, channels, 2 * samples)
        alpha = self.log_alpha.exp()[:, None]
        doubled = doubled + (alpha * doubled).sin().square() / alpha
        alone = F.pad(doubled.reshape(batch * channels, 1, -1), (13, 13))
        return F.conv1d(alone, self.down[:, None].to(x.dtype), stride=2).reshape(batch, channels, -1)[
            :, :, :samples
        ]


def _low_pass(time: Tensor, factor: int) -> Tensor:
    """Windowed sinc at ``time`` (in samples), cut-off at 0.99 of the Nyquist frequency divided by ``factor``."""
    cut_off = 0.99 / factor
    place = (time * cut_off).clamp(-6, 6)
    return (cut_off * torch.sinc(place) * torch.cos(place * (math.pi / 12)).square()).float()
