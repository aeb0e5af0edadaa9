"""The lite backbone of diffusion on spectrograms: for CPUs and short trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LiteUNet(nn.Module):
    r"""Convolutional-recurrent U-Net that answers with complex masks on what it is given.

    Every level halves the frequency axis, the first one right at the input, so that convolutions run at reduced
    resolution; time is kept. A bidirectional LSTM over time at the bottom sees the whole window: the long context
    by which speech is told from noise. The time of the diffusion process scales and shifts the features of
    each level (FiLM, Perez et al. 2018, arXiv 1709.07871). The answer is

    .. math:: m_y y + m_x x_t + r

    with complex masks and a residual from the network. That form fits the prediction of clean coefficients:
    near time 0 they are ``x_t``, elsewhere mostly ``y`` with the noise taken out, and ``r`` is what neither holds.
    At first the answer is ``y``.

    Normalisation is by batch statistics, fixed in evaluation: the answer then does not depend on what else is in
    the batch, nor, apart from the LSTM, on sound that is far away.

    Args:
        bins: frequency bins, a multiple of two to the number of levels.
        channels: channels of each level.
        rnn_hidden: units of each LSTM layer and direction.
        rnn_layers: number of LSTM layers.
        time_features: features of the time embedding.
    """

    #: Frames that the network takes at a time: any number.
    time_multiple = 1

    def __init__(
        self,
        bins: int = 256,
        channels: Sequence[int] = (32, 64, 96, 128, 128),
        rnn_hidden: int = 256,
        rnn_layers: int = 2,
        time_features: int = 128,
    ):
        super().__init__()
        levels = len(channels)
        if bins % 2**levels:
            raise ValueError(f"bins must be a multiple of {2**levels} for {levels} levels, not {bins}")
        self.embedding = TimeEmbedding(time_features)
        widths = [INPUTS, *channels]
        self.encoder = nn.ModuleList(
            EncoderLevel(widths[i], widths[i + 1], 5 if i == 0 else 3, time_features) for i in range(levels)
        )
        self.bottleneck = Recurrent(channels[-1] * (bins >> levels), rnn_hidden, rnn_layers)
        outputs = [max(16, channels[0] // 2), *channels[:-1]]
        self.decoder = nn.ModuleList(
            DecoderLevel(channels[i], outputs[i], time_features) for i in reversed(range(levels))
        )
        self.input_skip = nn.Conv2d(INPUTS, outputs[0], 1)
        self.head = nn.Conv2d(outputs[0], 6, 3, padding=1)
        assert self.head.bias is not None
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0]))

    def forward(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """Clean coefficients, or whatever it is trained for.

        Args:
            x_t, y: state and noisy coefficients, complex ``(batch, 1, bins, frames)``.
            t: times ``(batch,)``.

        Returns:
            Complex ``(batch, 1, bins, frames)``.
        """
        embedding = self.embedding(t)
        x = features = _features(x_t, y)
        skips = []
        for layer in self.encoder:
            x = layer(x, embedding)
            skips.append(x)
        x = self.bottleneck(x)
        for layer, skip in zip(self.decoder, reversed(skips), strict=True):
            x = layer(x, skip, embedding)
        out = self.head(x + self.input_skip(features)).float()
        of_y, of_x, rest = (torch.complex(out[:, i], out[:, i + 1])[:, None] for i in (0, 2, 4))
        return of_y * y + of_x * x_t + rest


INPUTS = 6


def _features(x_t: Tensor, y: Tensor) -> Tensor:
    """Real and imaginary parts and magnitudes, ``(batch, INPUTS, bins, frames)``, of about unit size for speech."""
    scale = 4.0  # compressed coefficients of speech are around 0.1 to 0.5 in their stronger parts
    parts = []
    for coefficients in (x_t, y):
        real, imag = scale * coefficients.real, scale * coefficients.imag
        parts += [real, imag, (real.square() + imag.square() + 1e-6).sqrt()]
    return torch.cat(parts, dim=1)


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time through a small perceptron."""

    def __init__(self, features: int):
        super().__init__()
        # Periods from a quarter of the process to eight times its length: time is told smoothly.
        self.frequencies: Tensor
        frequencies = 2 * math.pi * torch.logspace(math.log10(1 / 8), math.log10(4), 16)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(32, features), nn.SiLU(), nn.Linear(features, features), nn.SiLU()
        )

    def forward(self, t: Tensor) -> Tensor:
        """``(batch,)`` to ``(batch, features)``."""
        phase = t.to(self.frequencies)[:, None] * self.frequencies
        return self.layers(torch.cat([phase.sin(), phase.cos()], dim=1))


class Film(nn.Module):
    """Normalisation, then scale and shift by the time embedding, then leaky ReLU."""

    def __init__(self, channels: int, time_features: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.to_scale_shift = nn.Linear(time_features, 2 * channels)
        with torch.no_grad():
            self.to_scale_shift.weight.mul_(0.1)
            self.to_scale_shift.bias.zero_()
        self.activation = nn.LeakyReLU(0.1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.to_scale_shift(embedding)[:, :, None, None].chunk(2, dim=1)
        return self.activation(torch.addcmul(shift, self.norm(x), 1 + scale))


class EncoderLevel(nn.Module):
    """Convolution that halves the bins."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, time_features: int):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, (kernel, 3), stride=(2, 1), padding=(kernel // 2, 1), bias=False
        )
        self.film = Film(out_channels, time_features)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.film(self.conv(x), embedding)


class DecoderLevel(nn.Module):
    """Adds the encoder's output through a 1x1 convolution, then doubles the bins."""

    def __init__(self, in_channels: int, out_channels: int, time_features: int):
        super().__init__()
        self.skip = nn.Conv2d(in_channels, in_channels, 1)
        # Twice the channels at half the resolution, dealt out to neighbouring bins.
        self.conv = nn.Conv2d(in_channels, 2 * out_channels, 3, padding=1, bias=False)
        self.film = Film(out_channels, time_features)

    def forward(self, x: Tensor, skip: Tensor, embedding: Tensor) -> Tensor:
        x = self.conv(x + self.skip(skip))
        low, high = x.chunk(2, dim=1)
        return self.film(torch.stack([low, high], dim=3).flatten(2, 3), embedding)


class Recurrent(nn.Module):
    """All channels and bins of a frame through a bidirectional LSTM over time, added to themselves."""

    def __init__(self, features: int, hidden: int, layers: int):
        super().__init__()
        self.down = nn.Sequential(nn.Linear(features, hidden), nn.LeakyReLU(0.1))
        self.rnn = nn.LSTM(hidden, hidden, layers, batch_first=True, bidirectional=True)
        self.up = nn.Linear(2 * hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, bins, frames)``."""
        flat = x.flatten(1, 2).transpose(1, 2)
        out, _ = self.rnn(self.down(flat))
        return x + self.up(out).transpose(1, 2).unflatten(1, x.shape[1:3])
