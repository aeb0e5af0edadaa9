"""Blocks that the two networks of UNIVERSE are made of: Serra et al. 2022 (arXiv 2206.03065), appendix D.

Signals are ``(batch, channels, frames)``, in memory either channel after channel or frame after frame; what goes
through a block keeps its layout (:func:`by_frames`). Modules are named as in the public checkpoints.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

# Keeps the power of a sum of two.
HALF_POWER = math.sqrt(0.5)


# With fewer channels, convolutions on a CPU are twice as fast frame after frame; with more, up to a third slower.
_NARROW = 32


def lay_out(x: Tensor, channels: int) -> Tensor:
    """The signal in the layout that is fastest for a network with so many channels at its highest rate."""
    by_frame = channels < _NARROW and x.device.type == "cpu"
    return x.transpose(1, 2).contiguous().transpose(1, 2) if by_frame else x


def by_frames(x: Tensor) -> bool:
    """Whether the channels of a frame lie side by side in memory."""
    return x.stride(1) == 1


def laid_out_as(other: Tensor, x: Tensor) -> Tensor:
    """``x``, which is laid out by frames, as ``other`` is."""
    return x if by_frames(other) else x.contiguous()


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
    """Convolution with an odd number of taps that keeps length and layout."""
    if not by_frames(x):
        return F.conv1d(x, weight, bias, padding="same", groups=groups)
    # One-dimensional convolutions go over to the other layout by themselves.
    padding = (0, weight.shape[2] // 2)
    return F.conv2d(x.unsqueeze(2), weight.unsqueeze(2), bias, padding=padding, groups=groups).squeeze(2)


def convolve_by(layer: nn.Module, x: Tensor) -> Tensor:
    """What a convolution's layer makes of ``x``, in the same layout."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    return convolve(x, weight, bias)


class PReLU(nn.PReLU):
    """With one slope for all channels, whose gradient on the CPU takes half of PyTorch's time."""

    def forward(self, x: Tensor) -> Tensor:
        trained = torch.is_grad_enabled() and x.dtype == self.weight.dtype
        if trained and x.device.type == "cpu" and not torch.compiler.is_compiling():
            return _Leaky.apply(x, self.weight)
        return super().forward(x)


class _Leaky(torch.autograd.Function):
    """PyTorch's writes the slope's gradient of every sample to memory before it adds them up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope.item()
        return F.leaky_relu(x, ctx.slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        (x,) = ctx.saved_tensors
        below, above = x.clamp(max=0), grad
        if x.ndim == 3 and by_frames(x):  # in the order in memory
            below, above = below.transpose(1, 2), above.transpose(1, 2)
        of_slope = torch.dot(below.reshape(-1), above.reshape(-1)).reshape(1)
        return torch.ops.aten.leaky_relu_backward(grad, x, ctx.slope, False), of_slope


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
        return convolve(x, self.taps.expand(channels, 1, -1), groups=channels)


class PReLUConv(nn.Module):
    """PReLU, then a convolution that keeps the length.

    Args:
        in_channels, out_channels, kernel_size: of the convolution.
        weight_normalised: see :func:`normalised`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, weight_normalised: bool):
        super().__init__()
        self.prelu = PReLU()
        conv = nn.Conv1d(in_channels, out_channels, kernel_size, padding="same")
        self.conv = normalised(conv, weight_normalised)

    def forward(self, x: Tensor) -> Tensor:
        return convolve_by(self.conv, self.prelu(x))


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
        self.prelu = PReLU()
        self.low_pass = BinomialFilter(rate) if antialiasing else nn.Identity()
        conv = nn.Conv1d(in_channels, out_channels, rate, stride=rate)
        self.rate = rate
        self.conv = normalised(conv, weight_normalised)

    def forward(self, x: Tensor) -> Tensor:
        x = self.low_pass(self.prelu(x))
        # As a matrix product: PyTorch 2.12 gives nonsense for this convolution in bfloat16 on processors with AMX.
        weight, bias = self.conv.weight, self.conv.bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        if by_frames(x):
            weight = weight.transpose(1, 2)
            frames = x.transpose(1, 2).unflatten(1, (-1, self.rate))
        else:
            frames = x.unflatten(2, (-1, self.rate)).transpose(1, 2)
        return laid_out_as(x, F.linear(frames.flatten(2), weight.flatten(1), bias).transpose(1, 2))


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
        self.prelu = PReLU()
        self.low_pass = BinomialFilter(rate) if antialiasing else nn.Identity()
        self.rate = rate
        conv = nn.ConvTranspose1d(in_channels, out_channels, rate, stride=rate, bias=not antialiasing)
        self.conv = normalised(conv, weight_normalised)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if antialiasing else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.low_pass(self._rise(self.prelu(x)))
        return x if self.bias is None else x + self.bias[:, None]

    def _rise(self, x: Tensor) -> Tensor:
        if not by_frames(x):
            return self.conv(x)
        weight, bias = self.conv.weight, self.conv.bias
        assert isinstance(weight, Tensor)
        repeated = bias.repeat(self.rate) if isinstance(bias, Tensor) else None
        frames = F.linear(x.transpose(1, 2), weight.permute(2, 1, 0).flatten(0, 1), repeated)
        return frames.unflatten(2, (self.rate, -1)).flatten(1, 2).transpose(1, 2)


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
