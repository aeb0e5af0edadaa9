"""Blocks that the two networks of UNIVERSE are made of: Serra et al. 2022 (arXiv 2206.03065), appendix D.

Signals are ``(batch, channels, frames)``. Modules are named as in the public checkpoints.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

# Keeps the power of a sum of two.
HALF_POWER = math.sqrt(0.5)


def normalised(layer: nn.Module, use: bool) -> nn.Module:
    """The layer under weight normalisation (Salimans and Kingma 2016), or as it is."""
    return weight_norm(layer) if use else layer


class BinomialFilter(nn.Module):
    """Low-pass filter against aliasing at a change of rate, by UNIVERSE++ (Scheibler et al. 2024, arXiv 2406.12194).

    A row of Pascal's triangle, ``2 * rate + 1`` long, scaled to a root mean square of 1.
    """

    taps: Tensor

    def __init__(self, rate: int):
        super().__init__()
        order = 2 * rate
        row = torch.tensor([math.comb(order, k) for k in range(order + 1)], dtype=torch.float64)
        self.register_buffer("taps", (row / row.square().mean().sqrt()).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        channels = x.shape[1]
        return F.conv1d(x, self.taps.expand(channels, 1, -1), padding="same", groups=channels)


class PReLUConv(nn.Module):
    """PReLU, then a convolution that keeps the length.

    Args:
        in_channels, out_channels, kernel_size: of the convolution.
        weight_normalised: see :func:`normalised`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, weight_normalised: bool):
        super().__init__()
        self.prelu = nn.PReLU()
        conv = nn.Conv1d(in_channels, out_channels, kernel_size, padding="same")
        self.conv = normalised(conv, weight_normalised)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.prelu(x))


class Downsampling(nn.Module):
    """PReLU, then a convolution whose kernel is its stride: ``frames`` must be a multiple of the rate.

    Args:
        in_channels, out_channels: of the convolution.
        rate: by which frames become fewer.
        weight_normalised: see :func:`normalised`.
        antialiasing: filter before.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rate: int,
        weight_normalised: bool,
        antialiasing: bool = False,
    ):
        super().__init__()
        self.prelu = nn.PReLU()
        self.low_pass = BinomialFilter(rate) if antialiasing else nn.Identity()
        conv = nn.Conv1d(in_channels, out_channels, rate, stride=rate)
        self.rate = rate
        self.conv = normalised(conv, weight_normalised)

    def forward(self, x: Tensor) -> Tensor:
        x = self.low_pass(self.prelu(x))
        # As a matrix product: PyTorch 2.12 gives nonsense for this convolution in bfloat16 on processors with AMX.
        frames = x.unflatten(2, (-1, self.rate)).transpose(1, 2).flatten(2)
        weight, bias = self.conv.weight, self.conv.bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        return F.linear(frames, weight.flatten(1), bias).transpose(1, 2)


class Upsampling(nn.Module):
    """PReLU, then a transposed convolution whose kernel is its stride.

    Args:
        in_channels, out_channels: of the convolution.
        rate: by which frames become more.
        weight_normalised: see :func:`normalised`.
        antialiasing: filter after. The bias comes after the filter, which would bend it at the ends.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rate: int,
        weight_normalised: bool,
        antialiasing: bool = False,
    ):
        super().__init__()
        self.prelu = nn.PReLU()
        self.low_pass = BinomialFilter(rate) if antialiasing else nn.Identity()
        conv = nn.ConvTranspose1d(in_channels, out_channels, rate, stride=rate, bias=not antialiasing)
        self.conv = normalised(conv, weight_normalised)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if antialiasing else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.low_pass(self.conv(self.prelu(x)))
        return x if self.bias is None else x + self.bias[:, None]


class ConvBlock(nn.Module):
    """Three convolutions of 5, 3 and 3 frames and a residual; conditions enter after the first.

    Args:
        channels: in and out.
        weight_normalised: see :func:`normalised`.
    """

    def __init__(self, channels: int, weight_normalised: bool):
        super().__init__()
        self.conv1 = PReLUConv(channels, channels, 5, weight_normalised)
        self.conv2 = PReLUConv(channels, channels, 3, weight_normalised)
        self.conv3 = PReLUConv(channels, channels, 3, weight_normalised)

    def forward(
        self, x: Tensor, noise: Tensor | None = None, signal: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``(batch, channels, frames)`` to the same, and what the first convolution gave.

        Args:
            noise: scales and shifts ``(batch, 2 * channels)`` from the noise level (FiLM).
            signal: condition, shape of ``x``.
        """
        first = self.conv1(x)
        inner = first if signal is None else (first + signal) * HALF_POWER
        if noise is not None:
            scale, shift = noise[:, :, None].chunk(2, dim=1)
            inner = scale * inner + shift
        inner = self.conv3(self.conv2(inner))
        return (x + inner) * HALF_POWER, first


class DownBlock(ConvBlock):
    """A block, then twice the channels at a lower rate.

    Args:
        channels: in; twice as many go out.
        rate: by which frames become fewer.
        weight_normalised, antialiasing: see :class:`Downsampling`.
    """

    def __init__(self, channels: int, rate: int, weight_normalised: bool, antialiasing: bool = False):
        super().__init__(channels, weight_normalised)
        self.rate_change_conv = Downsampling(channels, 2 * channels, rate, weight_normalised, antialiasing)

    def descend(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``(batch, channels, frames)`` to ``(batch, 2 * channels, frames / rate)``, and the block before that."""
        skip, _ = self(x, noise)
        return self.rate_change_conv(skip), skip


class UpBlock(ConvBlock):
    """Half the channels at a higher rate, then a block there.

    Args:
        channels: out; twice as many come in.
        rate: by which frames become more.
        weight_normalised, antialiasing: see :class:`Upsampling`.
    """

    def __init__(self, channels: int, rate: int, weight_normalised: bool, antialiasing: bool = False):
        super().__init__(channels, weight_normalised)
        self.rate_change_conv = Upsampling(2 * channels, channels, rate, weight_normalised, antialiasing)


def check_frames(samples: int, rate: int) -> None:
    """Raise a ValueError where a signal is not whole frames of the lowest rate."""
    if samples == 0 or samples % rate:
        raise ValueError(f"the networks take multiples of {rate} samples, at least one, not {samples}")
