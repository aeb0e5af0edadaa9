"""NCSN++: the backbone of SGMSE, in all of its published forms.

Song et al. 2021 (arXiv 2011.13456, appendix H) for images; Richter et al. 2023 (arXiv 2208.05830) for speech at
16 kHz; without its progressive paths, Richter et al. 2024 (EARS, arXiv 2406.06185) for 48 kHz. Pure PyTorch: the FIR
resampling is a depthwise convolution, attention is the fused kernel of the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


class NCSNpp(nn.Module):
    """Noise-conditional U-Net on real and imaginary parts of state and noisy coefficients.

    ============================  ==========================================================================
    form
    ============================  ==========================================================================
    SGMSE+ 16 kHz ("v1")          ``divide_by_t=True, negate=True``: the score is minus the network
    "v2", of the later objectives the defaults
    48 kHz (EARS)                 ``attention_bins=(), progressive=False, divide_by_t=True, divide_last=True,
                                  negate=True``
    ============================  ==========================================================================

    Args:
        bins: frequency bins, a multiple of two to the number of resamplings.
        channels: width of the first level (``nf``).
        multipliers: of the width, one for each level (``ch_mult``).
        blocks: residual blocks for each level on the way down; one more on the way up.
        attention_bins: levels with so many bins have self-attention; the bottleneck has it always.
        progressive: feed the resampled input to every level and sum up outputs of every level.
        divide_by_t: divide by the process's time, ahead of the last 1x1 convolution.
        divide_last: divide after that convolution instead, its bias too.
        negate: give minus the output.
        fourier_scale: standard deviation of the random frequencies of the time embedding.
    """

    def __init__(
        self,
        bins: int = 256,
        channels: int = 128,
        multipliers: Sequence[int] = (1, 1, 2, 2, 2, 2, 2),
        blocks: int = 2,
        attention_bins: Sequence[int] = (16,),
        progressive: bool = True,
        divide_by_t: bool = False,
        negate: bool = False,
        fourier_scale: float = 16.0,
        divide_last: bool = False,
    ):
        super().__init__()
        levels = len(multipliers)
        #: Frames must be a multiple of this.
        self.time_multiple = 2 ** (levels - 1)
        if bins % self.time_multiple:
            raise ValueError(f"bins must be a multiple of {self.time_multiple}, not {bins}")
        self.divide_by_t = divide_by_t
        self.divide_last = divide_last
        self.negate = negate
        embedding = 4 * channels
        self.embedding = TimeEmbedding(channels, embedding, fourier_scale)
        self.input_conv = _conv3(IMAGE_CHANNELS, channels)

        widths = [channels * multiplier for multiplier in multipliers]
        attention = [bins >> i in attention_bins for i in range(levels)]
        skips = [channels]
        width = channels
        self.down = nn.ModuleList()
        for i in range(levels):
            last = i == levels - 1
            self.down.append(
                DownLevel(
                    width, widths[i], embedding, blocks, attention[i], not last, progressive and not last
                )
            )
            width = widths[i]
            skips += [width] * (blocks if last else blocks + 1)

        self.middle_in = ResidualBlock(width, width, embedding)
        self.middle_attention = Attention(width)
        self.middle_out = ResidualBlock(width, width, embedding)

        self.up = nn.ModuleList()
        for i in reversed(range(levels)):
            taken = [skips.pop() for _ in range(blocks + 1)]
            self.up.append(UpLevel(width, widths[i], taken, embedding, attention[i], progressive, i > 0))
            width = widths[i]
        self.progressive = progressive
        if not progressive:
            self.output_norm = _norm(width)
            self.output_conv = _conv3(width, IMAGE_CHANNELS, scale=0.0)
        self.output_layer = nn.Conv2d(IMAGE_CHANNELS, 2, 1)
        self.compiled = False

    def compile_training(self) -> None:
        """Train by compiled code from now on; evaluation and state dict stay as they are.

        Every size of input is compiled for itself, which takes minutes, and after eight of them PyTorch runs further
        ones without compiling. Its backward pass of convolutions is made for one size in any case, and a size left
        open ends in ``cannot determine truth value of Relational``.
        """
        self.compiled = True

    def forward(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """The network's answer.

        Args:
            x_t, y: state and noisy coefficients, complex ``(batch, 1, bins, frames)``.
            t: times ``(batch,)``, above 0.

        Returns:
            Complex ``(batch, 1, bins, frames)``.
        """
        image = torch.cat([x_t.real, x_t.imag, y.real, y.imag], dim=1)
        image = image.contiguous(memory_format=torch.channels_last)
        compiled = self.compiled and self.training
        out = (_compiled_body()(self, image, t) if compiled else self.body(image, t)).float()
        # Complex numbers in autocast or compiled code are slow at best: they stay out of the body.
        out = torch.complex(out[:, 0], out[:, 1])[:, None]
        return -out if self.negate else out

    def body(self, image: Tensor, t: Tensor) -> Tensor:
        """``(batch, 4, bins, frames)`` to ``(batch, 2, bins, frames)``, all real: what ``torch.compile`` is for."""
        embedding = self.embedding(t)
        x = self.input_conv(image)
        skips = [x]
        pyramid: Tensor | None = image
        for level in self.down:
            x, pyramid = level(x, pyramid, embedding, skips)
        x = self.middle_out(self.middle_attention(self.middle_in(x, embedding)), embedding)
        output: Tensor | None = None
        for level in self.up:
            x, output = level(x, output, embedding, skips)
        if output is None:
            output = self.output_conv(F.silu(self.output_norm(x)))
        time = t[:, None, None, None].to(output.dtype)
        if self.divide_by_t and not self.divide_last:
            output = output / time
        output = self.output_layer(output)
        return output / time if self.divide_by_t and self.divide_last else output

    def in_reference_order(self) -> Iterator[nn.Module]:
        """Its modules in the order in which the published checkpoints number them (``all_modules``)."""
        yield from (self.embedding, self.embedding.hidden, self.embedding.output, self.input_conv)
        for level in self.down:
            assert isinstance(level, DownLevel)
            yield from level.in_reference_order()
        yield from (self.middle_in, self.middle_attention, self.middle_out)
        for level in self.up:
            assert isinstance(level, UpLevel)
            yield from level.in_reference_order()
        if not self.progressive:
            yield from (self.output_norm, self.output_conv)


@cache
def _compiled_body() -> Callable[[NCSNpp, Tensor, Tensor], Tensor]:
    """:meth:`NCSNpp.body`, told which network it is of: copies of a network run on their own weights."""
    return torch.compile(NCSNpp.body, dynamic=False)


#: Real and imaginary parts of state and noisy coefficients.
IMAGE_CHANNELS = 4


class TimeEmbedding(nn.Module):
    """Random Fourier features of the logarithm of time (Tancik et al. 2020), through two layers."""

    def __init__(self, features: int, width: int, scale: float):
        super().__init__()
        # A constant, but counted as a parameter in the published sizes and checkpoints.
        self.frequencies = nn.Parameter(torch.randn(features) * scale, requires_grad=False)
        self.hidden = _linear(2 * features, width)
        self.output = _linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """``(batch,)`` to ``(batch, width)``, activated: every block begins with that."""
        phase = 2 * math.pi * t.log()[:, None] * self.frequencies
        features = torch.cat([phase.sin(), phase.cos()], dim=1)
        return F.silu(self.output(F.silu(self.hidden(features))))


class ResidualBlock(nn.Module):
    """Residual block of BigGAN with resampling inside (Brock et al. 2019, arXiv 1809.11096).

    Args:
        resample: "up" or "down" by two in both axes, or None.
    """

    def __init__(self, in_channels: int, out_channels: int, embedding: int, resample: str | None = None):
        super().__init__()
        self.norm_in = _norm(in_channels)
        self.conv_in = _conv3(in_channels, out_channels)
        self.from_time = _linear(embedding, out_channels)
        self.norm_out = _norm(out_channels)
        self.conv_out = _conv3(out_channels, out_channels, scale=0.0)
        self.skip = _conv1(in_channels, out_channels) if resample or in_channels != out_channels else None
        self.resample = {"up": upsample, "down": downsample, None: None}[resample]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = F.silu(self.norm_in(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.conv_in(h) + self.from_time(embedding)[:, :, None, None]
        h = self.conv_out(F.silu(self.norm_out(h)))
        if self.skip is not None:
            x = self.skip(x)
        # In place: no gradient needs what the convolution gave.
        return h.add_(x).mul_(math.sqrt(0.5))


class Attention(nn.Module):
    """Self-attention, one head, over all bins and frames."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = _norm(channels)
        self.query = _linear(channels, channels, scale=0.1)
        self.key = _linear(channels, channels, scale=0.1)
        self.value = _linear(channels, channels, scale=0.1)
        self.output = _linear(channels, channels, scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        # (batch, heads, places, channels): the fused kernels never hold the square matrix of places.
        places = self.norm(x).flatten(2).transpose(1, 2)[:, None]
        h = F.scaled_dot_product_attention(self.query(places), self.key(places), self.value(places))
        h = self.output(h)[:, 0].transpose(1, 2).unflatten(2, x.shape[2:])
        return (x + h) * math.sqrt(0.5)


class DownLevel(nn.Module):
    """Residual blocks of one resolution, then half of it.

    Args:
        in_channels, out_channels: channels.
        embedding: features of the time embedding.
        blocks: number of residual blocks.
        attention: whether attention follows each of them.
        resample: whether to halve the resolution.
        progressive: whether to add the input, resampled.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int,
        blocks: int,
        attention: bool,
        resample: bool,
        progressive: bool,
    ):
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(in_channels if i == 0 else out_channels, out_channels, embedding)
            for i in range(blocks)
        )
        self.attentions = nn.ModuleList(Attention(out_channels) for _ in range(blocks if attention else 0))
        self.resample = ResidualBlock(out_channels, out_channels, embedding, "down") if resample else None
        self.combine = _conv1(IMAGE_CHANNELS, out_channels) if progressive else None

    def forward(
        self, x: Tensor, pyramid: Tensor | None, embedding: Tensor, skips: list[Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        for i, block in enumerate(self.blocks):
            x = block(x, embedding)
            if self.attentions:
                x = self.attentions[i](x)
            skips.append(x)
        if self.resample is not None:
            x = self.resample(x, embedding)
            if self.combine is not None and pyramid is not None:
                pyramid = downsample(pyramid)
                x = x + self.combine(pyramid)
            skips.append(x)
        return x, pyramid

    def in_reference_order(self) -> Iterator[nn.Module]:
        for i, block in enumerate(self.blocks):
            yield block
            if self.attentions:
                yield self.attentions[i]
        yield from (module for module in (self.resample, self.combine) if module is not None)


class UpLevel(nn.Module):
    """Residual blocks of one resolution, which take in what the way down left there, then twice of it.

    Args:
        in_channels, out_channels: channels.
        skips: channels of what each block takes in.
        embedding: features of the time embedding.
        attention: whether attention follows the last block.
        progressive: whether to add to the sum of outputs.
        resample: whether to double the resolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        skips: Sequence[int],
        embedding: int,
        attention: bool,
        progressive: bool,
        resample: bool,
    ):
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock((in_channels if i == 0 else out_channels) + skip, out_channels, embedding)
            for i, skip in enumerate(skips)
        )
        self.attention = Attention(out_channels) if attention else None
        self.output_norm = _norm(out_channels) if progressive else None
        self.output_conv = _conv3(out_channels, IMAGE_CHANNELS, scale=0.0) if progressive else None
        self.resample = ResidualBlock(out_channels, out_channels, embedding, "up") if resample else None

    def forward(
        self, x: Tensor, output: Tensor | None, embedding: Tensor, skips: list[Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        for block in self.blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), embedding)
        if self.attention is not None:
            x = self.attention(x)
        if self.output_norm is not None and self.output_conv is not None:
            own = self.output_conv(F.silu(self.output_norm(x)))
            output = own if output is None else upsample(output) + own
        if self.resample is not None:
            x = self.resample(x, embedding)
        return x, output

    def in_reference_order(self) -> Iterator[nn.Module]:
        yield from self.blocks
        rest = (self.attention, self.output_norm, self.output_conv, self.resample)
        yield from (module for module in rest if module is not None)


def downsample(x: Tensor) -> Tensor:
    """Half the resolution in both axes, after the binomial low-pass filter [1, 3, 3, 1] / 8."""
    return F.conv2d(x, _binomial(x, 1.0), stride=2, padding=1, groups=x.shape[1])


def upsample(x: Tensor) -> Tensor:
    """Twice the resolution in both axes, interpolated by the same filter."""
    return F.conv_transpose2d(x, _binomial(x, 4.0), stride=2, padding=1, groups=x.shape[1])


def _binomial(x: Tensor, gain: float) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=x.dtype) / 8
    return (gain * taps[:, None] * taps).expand(x.shape[1], 1, 4, 4)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


def _conv3(in_channels: int, out_channels: int, scale: float = 1.0) -> nn.Conv2d:
    return _initialised(nn.Conv2d(in_channels, out_channels, 3, padding=1), scale)


def _conv1(in_channels: int, out_channels: int) -> nn.Conv2d:
    return _initialised(nn.Conv2d(in_channels, out_channels, 1), 1.0)


def _linear(in_features: int, out_features: int, scale: float = 1.0) -> nn.Linear:
    return _initialised(nn.Linear(in_features, out_features), scale)


def _initialised(layer: Layer, scale: float) -> Layer:
    """Uniform weights of variance ``scale`` over the mean of fan-in and fan-out; 0 is nearly 0."""
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(max(scale, 1e-10)))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
