"""The real-time model: a causal U-Net between a trained analysis and synthesis filter bank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from audio_enh.dsp.filterbank import fourier_filters
from audio_enh.models.base import State
from audio_enh.models.blocks import CausalConv2d, FrameAnalysis, OverlapAdd, run_lstm
from audio_enh.models.dual_path import DualPathBlock
from audio_enh.models.masked_filterbank import MaskedFilterBank, apply_bounded_mask


class Insight(NamedTuple):
    """What :class:`CausalUNet` knows about each frame, for a network that builds on it.

    Attributes:
        power: the tracked level of the input, ``(batch, frames)``.
        features: what enters the U-Net, ``(batch, 3, frames, bands)``; see :meth:`MaskedFilterBank.features`.
        memory: the output of the LSTM at the bottom and its input, added, ``(batch, frames, units)``.
        mask: the complex mask before its magnitude is bounded, ``(batch, 2, frames, bands)``.
    """

    power: Tensor
    features: Tensor
    memory: Tensor
    mask: Tensor


class CausalUNet(MaskedFilterBank):
    """Causal waveform U-Net with a mask on the coefficients of a learned filter bank.

    The first, strided level of a waveform U-Net is wide enough here to be a filter bank and starts as a
    windowed Fourier basis; the following levels halve the frequency axis, an LSTM joins past and present at the
    bottom, and the way up ends in a complex mask of magnitude below one for each band, applied to the
    coefficients before the learned synthesis. Everything is trained end to end on waveforms.

    The mask on encoder coefficients is Conv-TasNet's (Luo and Mesgarani 2019, arXiv 1809.07454), its bounded
    complex form DCCRN's (Hu et al. 2020, arXiv 2008.00264), the convolutional-recurrent body follows CRUSE
    (Braun et al. 2021, arXiv 2101.09249); the skip-connected causal encoder-decoder on the waveform is Defossez
    et al. 2020 (arXiv 2006.12847), whose own model is :class:`audio_enh.models.demucs.Demucs`.

    Args:
        sample_rate: in Hz.
        hop_length: samples per step; the synthesis window has twice as many.
        window_length: samples of the analysis window, all in the past; half as many bands.
        channels: channels of each level of the U-Net; every level halves the bands.
        rnn_hidden: units of each LSTM layer.
        rnn_layers: number of LSTM layers.
        compression: exponent of the coefficients' magnitude at the network's input.
        level_time_constant: of the level tracker, in seconds.
        trainable_filters: whether the filter bank is trained with the rest.
        dual_path: hidden units of a :class:`DualPathBlock` on each level of the way up, in the order of
            ``channels``; 0 for none. Empty: none at all.
        high_pass: cut-off in Hz of a high-pass filter before all else, so that rumble and offsets reach neither the
            level tracker nor the network; 0 for none.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        hop_length: int = 160,
        window_length: int = 512,
        channels: Sequence[int] = (16, 32, 48, 64),
        rnn_hidden: int = 256,
        rnn_layers: int = 2,
        compression: float = 0.3,
        level_time_constant: float = 1.0,
        trainable_filters: bool = True,
        dual_path: Sequence[int] = (),
        high_pass: float = 0.0,
    ):
        if (window_length // 2) % 2 ** len(channels):
            raise ValueError(
                f"window_length {window_length} must be a multiple of {2 ** (len(channels) + 1)}"
            )
        if dual_path and len(dual_path) != len(channels):
            raise ValueError(f"dual_path has {len(dual_path)} values, but there are {len(channels)} levels")
        super().__init__(sample_rate, hop_length, window_length, compression, level_time_constant, high_pass)
        analysis, synthesis = fourier_filters(window_length, 2 * hop_length)
        self.analysis = FrameAnalysis(analysis, hop_length, trainable_filters)
        self.synthesis = OverlapAdd(synthesis, trainable_filters)

        widths = [3, *channels]
        self.encoder = nn.ModuleList(
            EncoderLevel(widths[i], widths[i + 1], (2, 5 if i == 0 else 3)) for i in range(len(channels))
        )
        bottom = channels[-1] * (self.n_bands >> len(channels))
        self.bottleneck = Bottleneck(bottom, rnn_hidden, rnn_layers)
        outputs = [channels[0], *channels[:-1]]
        self.decoder = nn.ModuleList(
            DecoderLevel(channels[i], outputs[i]) for i in reversed(range(len(channels)))
        )
        levels = [i for i, hidden in enumerate(dual_path) if hidden]
        self.dual_path = nn.ModuleDict(
            {
                str(i): DualPathBlock(channels[i], self.n_bands >> (i + 1), dual_path[i])
                for i in reversed(levels)
            }
        )
        self.input_skip = nn.Conv2d(3, channels[0], 1)
        self.to_mask = nn.Conv2d(channels[0], 2, 1)
        assert self.to_mask.bias is not None
        with torch.no_grad():
            self.to_mask.weight.mul_(0.1)
            self.to_mask.bias.copy_(torch.tensor([1.0, 0.0]))  # the untrained model nearly passes its input

    def init_hearing(self, batch: int) -> State:
        """See :meth:`SkipsSilence.init_hearing`: high-pass if there is one, past samples, level, one frame per
        encoder level, LSTM, dual-path blocks from the bottom up, overlap.
        """
        convs = [
            level.conv.init_state(batch, self.n_bands >> i)
            for i, level in enumerate(self.encoder)
            if isinstance(level, EncoderLevel)
        ]
        return (
            *([self.high_pass.init_state(batch)] if self.high_pass is not None else []),
            self.analysis.init_state(batch),
            self.level.init_state(self.analysis.weight, batch),
            *convs,
            *self.bottleneck.init_state(batch),
            *(
                block.init_state(batch)
                for block in self.dual_path.values()
                if isinstance(block, DualPathBlock)
            ),
            self.synthesis.init_state(batch),
        )

    def hear(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        """See :meth:`SkipsSilence.hear`."""
        output, state, _ = self.hear_with_insight(audio, state)
        return output, state

    def hear_with_insight(self, audio: Tensor, state: State) -> tuple[Tensor, State, Insight]:
        """:meth:`hear`, and what the network found out on the way."""
        n = len(self.encoder)
        audio, filtered, state = self.without_rumble(audio, state)
        past, level, *convs = state[: 2 + n]
        hidden, cell, *rest = state[2 + n : -1]
        paths = dict(zip(self.dual_path, rest, strict=True))
        overlap = state[-1]
        power, level = self.level(audio, level)
        coefficients, past = self.analysis(audio, past)
        # (batch, frames, real and imaginary, bands)
        spectrum = self.in_phase(coefficients.unflatten(2, (2, self.n_bands)))
        x = features = self.features(spectrum, power).transpose(1, 2)

        skips = []
        for i, layer in enumerate(self.encoder):
            x, convs[i] = layer(x, convs[i])
            skips.append(x)
        x, memory, hidden, cell = self.bottleneck(x, hidden, cell)
        for i, layer in zip(reversed(range(n)), self.decoder, strict=True):
            assert isinstance(layer, DecoderLevel)
            x = layer.add(x, skips[i])
            if (key := str(i)) in paths:
                x, paths[key] = self.dual_path[key](x, paths[key])
            x = layer(x)
        mask = self.to_mask(x + self.input_skip(features))

        enhanced = apply_bounded_mask(spectrum, mask.transpose(1, 2))
        output, overlap = self.synthesis(enhanced.flatten(2), overlap)
        state = (*filtered, past, level, *convs, hidden, cell, *paths.values(), overlap)
        return output, state, Insight(power, features, memory, mask)


class EncoderLevel(nn.Module):
    """Causal convolution that halves the bands, normalisation, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, int]):
        super().__init__()
        self.conv = CausalConv2d(in_channels, out_channels, kernel, stride=2)
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = nn.LeakyReLU(0.1)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        x, state = self.conv(x, state)
        return self.activation(self.norm(x)), state


class DecoderLevel(nn.Module):
    """Adds the encoder's output through a 1x1 convolution, then doubles the bands."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.skip = nn.Conv2d(in_channels, in_channels, 1)
        self.conv = nn.ConvTranspose2d(
            in_channels, out_channels, (1, 4), stride=(1, 2), padding=(0, 1), bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = nn.LeakyReLU(0.1)

    def add(self, x: Tensor, skip: Tensor) -> Tensor:
        """The level's input: what comes from below and the encoder's output."""
        return x + self.skip(skip)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))


class Bottleneck(nn.Module):
    """All channels and bands of a frame through a narrow LSTM, added to themselves."""

    def __init__(self, features: int, hidden: int, layers: int):
        super().__init__()
        self.down = nn.Sequential(nn.Linear(features, hidden), nn.LeakyReLU(0.1))
        self.rnn = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.up = nn.Sequential(nn.Linear(hidden, features), nn.LeakyReLU(0.1))

    def init_state(self, batch: int) -> tuple[Tensor, Tensor]:
        like = next(self.rnn.parameters())
        zeros = like.new_zeros(batch, self.rnn.num_layers, self.rnn.hidden_size)
        return zeros, zeros.clone()

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(batch, channels, frames, bands)`` to the same and the LSTM's input and output added, ``(batch, frames,
        hidden)``; ``hidden`` and ``cell`` are ``(batch, layers, hidden)``."""
        batch, channels, frames, bands = x.shape
        flat = x.transpose(1, 2).reshape(batch, frames, channels * bands)
        narrow = self.down(flat)
        out, hidden, cell = run_lstm(self.rnn, narrow, hidden, cell)
        memory = narrow + out
        flat = self.up(memory)
        x = x + flat.view(batch, frames, channels, bands).transpose(1, 2)
        return x, memory, hidden, cell
