"""The condition network of UNIVERSE: what it hears in the damaged signal, at every rate of the score network."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from audio_enh.models.universe.blocks import (
    HALF_POWER,
    ConvBlock,
    DownBlock,
    Downsampling,
    UpBlock,
    check_frames,
    laid_out_as,
    lay_out,
    normalised,
)
from audio_enh.models.universe.gru import BidirectionalGRU
from audio_enh.models.universe.mel import MelSpectrogram


class MelAdapter(nn.Module):
    """From the mel spectrogram to the latent space.

    Args:
        mel: the spectrogram.
        bands: of it.
        channels: of the latent space.
        weight_normalised: see :func:`normalised`.
    """

    def __init__(self, mel: MelSpectrogram, bands: int, channels: int, weight_normalised: bool):
        super().__init__()
        self.mel_spec = mel
        self.conv = normalised(nn.Conv1d(bands, channels, 3, padding="same"), weight_normalised)
        self.conv_block = ConvBlock(channels, weight_normalised)

    def forward(self, audio: Tensor) -> Tensor:
        """``(batch, 1, samples)`` to ``(batch, channels, frames)``."""
        latent, _ = self.conv_block(self.conv(self.mel_spec(audio[:, 0])))
        return latent


class ConditionEncoder(nn.Module):
    """From waveform features and mel features to the latent space, where two recurrent layers look at all of time.

    Args:
        channels: of the waveform features; they double at each change of rate.
        rates: of the changes.
        weight_normalised: see :func:`normalised`.
    """

    def __init__(self, channels: int, rates: Sequence[int], weight_normalised: bool):
        super().__init__()
        levels = len(rates)
        latent = channels * 2**levels
        blocks = [DownBlock(channels * 2**i, rate, weight_normalised) for i, rate in enumerate(rates)]
        self.ds_modules = nn.ModuleList([*blocks, ConvBlock(latent, weight_normalised)])
        # Every level but the last is also brought to the latent rate in one stride.
        self.st_convs = nn.ModuleList(
            Downsampling(channels * 2**i, latent, math.prod(rates[i:]), weight_normalised)
            for i in range(levels - 1)
        )
        self.gru = BidirectionalGRU(latent, latent // 2, layers=2)
        self.conv_block1 = ConvBlock(latent, weight_normalised)
        self.conv_block2 = ConvBlock(latent, weight_normalised)

    def forward(self, x: Tensor, mel: Tensor) -> Tensor:
        """``(batch, channels, samples)`` and ``(batch, latent, frames)`` to ``(batch, latent, frames)``."""
        parts = [mel]
        for i, block in enumerate(self.ds_modules):
            if isinstance(block, DownBlock):
                x, skip = block.descend(x)
                if i < len(self.st_convs):
                    parts.append(self.st_convs[i](skip))
            else:
                x, _ = block(x)
        parts.append(x)
        latent = sum(parts[1:], start=parts[0]) / math.sqrt(len(parts))
        latent, _ = self.conv_block1(latent)
        recurrent = laid_out_as(latent, self.gru.read(latent.transpose(1, 2)).transpose(1, 2))
        latent, _ = self.conv_block2((recurrent + latent) * HALF_POWER)
        return latent


class ConditionDecoder(nn.Module):
    """From the latent space up again, leaving a condition at each rate.

    Args:
        channels, rates, weight_normalised: see :class:`ConditionEncoder`.
    """

    def __init__(self, channels: int, rates: Sequence[int], weight_normalised: bool):
        super().__init__()
        levels = len(rates)
        latent = channels * 2**levels
        self.input_conv_block = ConvBlock(latent, weight_normalised)
        blocks = [UpBlock(channels * 2**i, rates[i], weight_normalised) for i in reversed(range(levels))]
        self.up_modules = nn.ModuleList([ConvBlock(latent, weight_normalised), *blocks])

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(batch, latent, frames)`` to ``(batch, channels, samples)`` and the conditions, lowest rate first."""
        x, _ = self.input_conv_block(x)
        conditions = []
        for block in self.up_modules:
            if isinstance(block, UpBlock):
                x = block.rate_change_conv(x)
            x, condition = block(x)
            conditions.append(condition)
        return x, conditions


class ConditionNetwork(nn.Module):
    """The whole: 29.92 M parameters with the paper's arguments, which are the defaults.

    Args:
        sample_rate: in Hz.
        channels: at the highest rate.
        rates: by which the rate falls from level to level.
        mel_bands: number of bands of the mel spectrogram.
        mel_sample_rate: at which its bands are laid out, if not at ``sample_rate``.
        weight_normalised: see :func:`normalised`.
        mel_exponent: of the power in it, see :class:`MelSpectrogram`.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        channels: int = 32,
        rates: Sequence[int] = (2, 4, 4, 5),
        mel_bands: int = 80,
        mel_sample_rate: int | None = None,
        weight_normalised: bool = False,
        mel_exponent: float = 1.0,
    ):
        super().__init__()
        self.channels = channels
        self.rate = math.prod(rates)
        self.latent_channels = channels * 2 ** len(rates)
        mel = MelSpectrogram(mel_sample_rate or sample_rate, self.rate, mel_bands, exponent=mel_exponent)
        self.input_conv = normalised(nn.Conv1d(1, channels, 3, padding="same"), weight_normalised)
        self.input_mel = MelAdapter(mel, mel_bands, self.latent_channels, weight_normalised)
        self.encoder = ConditionEncoder(channels, rates, weight_normalised)
        self.decoder = ConditionDecoder(channels, rates, weight_normalised)

    def forward(self, audio: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Listen to the damaged signal.

        Args:
            audio: ``(batch, 1, samples)``, samples a multiple of the product of ``rates``.

        Returns:
            The conditions, lowest rate first; features of the clean signal, ``(batch, channels, samples)``; the
            latent representation, ``(batch, latent_channels, frames)``.
        """
        check_frames(audio.shape[2], self.rate)
        features, mel = (lay_out(x, self.channels) for x in (self.input_conv(audio), self.input_mel(audio)))
        latent = self.encoder(features, mel)
        features, conditions = self.decoder(latent)
        return conditions, features, latent
