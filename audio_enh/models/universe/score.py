"""The score network of UNIVERSE: the gradient of the noisy state's log density, given the conditions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from audio_enh.models.universe.blocks import (
    HALF_POWER,
    ConvBlock,
    DownBlock,
    PReLU,
    PReLUConv,
    UpBlock,
    check_frames,
    convolve_by,
    laid_out_as,
    lay_out,
    normalised,
)
from audio_enh.models.universe.gru import BidirectionalGRU

EmbeddingKind = Literal["fourier", "sinusoid"]


class LinearPReLU(nn.Module):
    """A linear layer, then PReLU."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.lin = nn.Linear(in_features, out_features)
        self.prelu = PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.lin(x))


class FourierEmbedding(nn.Module):
    """Random Fourier features of the noise level through three layers, as in UNIVERSE.

    Args:
        features: number of frequencies.
        dimensions: of the embedding.
        scale: standard deviation of the frequencies.
    """

    freq: Tensor

    def __init__(self, features: int, dimensions: int, scale: float = 16.0):
        super().__init__()
        self.register_buffer("freq", scale * torch.randn(features))
        self.layer1 = LinearPReLU(2 * features, 4 * features)
        self.layer2 = LinearPReLU(4 * features, 8 * features)
        self.layer3 = LinearPReLU(8 * features, dimensions)

    def forward(self, log10_sigma: Tensor) -> Tensor:
        """``(batch,)`` to ``(batch, dimensions)``."""
        phase = 2 * math.pi * self.freq * log10_sigma[:, None]
        return self.layer3(self.layer2(self.layer1(torch.cat([phase.sin(), phase.cos()], dim=1))))


class SinusoidEmbedding(nn.Module):
    """One sinusoid whose frequency goes with the noise level, as in UNIVERSE++.

    Args:
        dimensions: of the embedding.
    """

    index: Tensor

    def __init__(self, dimensions: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1))
        self.register_buffer("index", torch.arange(dimensions // 2, dtype=torch.float32), persistent=False)

    def forward(self, log10_sigma: Tensor) -> Tensor:
        """``(batch,)`` to ``(batch, dimensions)``."""
        frequency = 0.5 * torch.sigmoid(self.weight * log10_sigma + self.bias)
        phase = 2 * math.pi * frequency[:, None] * self.index
        return torch.cat([phase.sin(), phase.cos()], dim=1)


class ScoreEncoder(nn.Module):
    """Down to the latent rate, where a recurrent layer looks at all of time.

    Args:
        channels: at the highest rate; they double at each change of rate.
        rates: of the changes.
        embedding: dimensions of the noise level's embedding.
        weight_normalised: see :func:`normalised`.
        antialiasing: see :class:`BinomialFilter`.
    """

    def __init__(
        self,
        channels: int,
        rates: Sequence[int],
        embedding: int,
        weight_normalised: bool,
        antialiasing: bool,
    ):
        super().__init__()
        widths = [channels * 2**i for i in range(len(rates) + 1)]
        blocks = [
            DownBlock(width, rate, weight_normalised, antialiasing)
            for width, rate in zip(widths[:-1], rates, strict=True)
        ]
        self.ds_modules = nn.ModuleList([*blocks, ConvBlock(widths[-1], weight_normalised)])
        self.cond_proj = nn.ModuleList(
            normalised(nn.Linear(embedding, 2 * width), weight_normalised) for width in widths
        )
        self.gru = BidirectionalGRU(widths[-1], widths[-1] // 2)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(batch, channels, samples)`` and the embedding to the latent ``(batch, latent, frames)`` and what each
        block gave, highest rate first."""
        skips = []
        for block, projection in zip(self.ds_modules, self.cond_proj, strict=True):
            if isinstance(block, DownBlock):
                x, skip = block.descend(x, projection(noise))
            else:
                x, _ = block(x, projection(noise))
                skip = x
            skips.append(skip)
        return laid_out_as(x, self.gru.read(x.transpose(1, 2)).transpose(1, 2)), skips


class ScoreDecoder(nn.Module):
    """Up again, with the conditions and the encoder's blocks at each rate.

    Args:
        channels, rates, embedding, weight_normalised, antialiasing: see :class:`ScoreEncoder`.
    """

    def __init__(
        self,
        channels: int,
        rates: Sequence[int],
        embedding: int,
        weight_normalised: bool,
        antialiasing: bool,
    ):
        super().__init__()
        widths = [channels * 2**i for i in reversed(range(len(rates) + 1))]
        blocks = [
            UpBlock(width, rate, weight_normalised, antialiasing)
            for width, rate in zip(widths[1:], reversed(rates), strict=True)
        ]
        self.up_modules = nn.ModuleList([ConvBlock(widths[0], weight_normalised), *blocks])
        self.noise_cond_proj = nn.ModuleList(
            normalised(nn.Linear(embedding, 2 * width), weight_normalised) for width in widths
        )
        self.signal_cond_proj = nn.ModuleList(
            normalised(nn.Conv1d(width, width, 1), weight_normalised) for width in widths
        )

    def forward(
        self, x: Tensor, noise: Tensor, conditions: Sequence[Tensor], skips: Sequence[Tensor]
    ) -> Tensor:
        """The latent to ``(batch, channels, samples)``; ``conditions`` lowest rate first, ``skips`` last."""
        levels = zip(
            self.up_modules,
            self.noise_cond_proj,
            self.signal_cond_proj,
            conditions,
            reversed(skips),
            strict=True,
        )
        for block, of_noise, of_signal, condition, skip in levels:
            if isinstance(block, UpBlock):
                x = block.rate_change_conv(x)
            x, _ = block((x + skip) * HALF_POWER, of_noise(noise), convolve_by(of_signal, condition))
        return x


class ScoreNetwork(nn.Module):
    """The whole: 13.08 M parameters with the paper's arguments, which are the defaults.

    Args:
        channels: at the highest rate.
        rates: by which the rate falls from level to level.
        embedding: kind of the noise level's embedding, "fourier" or "sinusoid".
        embedding_features: frequencies of the former.
        embedding_dimensions: of either.
        weight_normalised: see :func:`normalised`.
        antialiasing: see :class:`BinomialFilter`.
    """

    def __init__(
        self,
        channels: int = 32,
        rates: Sequence[int] = (2, 4, 4, 5),
        embedding: EmbeddingKind = "fourier",
        embedding_features: int = 32,
        embedding_dimensions: int = 512,
        weight_normalised: bool = False,
        antialiasing: bool = False,
    ):
        super().__init__()
        self.channels = channels
        self.rate = math.prod(rates)
        self.sigma_block: nn.Module
        if embedding == "fourier":
            self.sigma_block = FourierEmbedding(embedding_features, embedding_dimensions)
        elif embedding == "sinusoid":
            self.sigma_block = SinusoidEmbedding(embedding_dimensions)
        else:
            raise ValueError(f"embedding must be fourier or sinusoid, not {embedding!r}")
        self.input_conv = nn.Conv1d(1, channels, 3, padding="same")
        size = (channels, rates, embedding_dimensions, weight_normalised, antialiasing)
        self.encoder = ScoreEncoder(*size)
        self.decoder = ScoreDecoder(*size)
        self.prelu = PReLU()
        self.output_conv = PReLUConv(channels, 1, 3, weight_normalised)

    def forward(self, x: Tensor, sigma: Tensor, conditions: Sequence[Tensor]) -> Tensor:
        """The network's answer, ``(batch, 1, samples)``.

        Args:
            x: the state, ``(batch, 1, samples)``, samples a multiple of the product of ``rates``.
            sigma: its noise level, ``(batch,)``.
            conditions: of the condition network.
        """
        check_frames(x.shape[2], self.rate)
        noise = self.sigma_block(sigma.log10())
        latent, skips = self.encoder(lay_out(self.input_conv(x), self.channels), noise)
        features = self.decoder(latent, noise, conditions, skips)
        return self.output_conv(self.prelu(features))
