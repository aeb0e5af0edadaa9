"""The real-time model: a causal U-Net between a trained analysis and synthesis filter bank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audio_enh.dsp.filterbank import fourier_filters
from audio_enh.models.base import CausalModel, State
from audio_enh.models.blocks import CausalConv2d, FrameAnalysis, LevelTracker, OverlapAdd, run_lstm
from audio_enh.models.dual_path import DualPathBlock


class CausalUNet(CausalModel):
    """Causal waveform U-Net with a mask on the coefficients of a learned filter bank.

    The first, strided level of a waveform U-Net is wide enough here to be a filter bank and starts as a
    windowed Fourier basis; the following levels halve the frequency axis, an LSTM joins past and present at the
    bottom, and the way up ends in a complex mask of magnitude below one for each band, applied to the
    coefficients before the learned synthesis. Everything is trained end to end on waveforms.

    The mask on encoder coefficients is Conv-TasNet's (Luo and Mesgarani 2019, arXiv 1809.07454), its bounded
    complex form DCCRN's (Hu et al. 2020, arXiv 2008.00264), the convolutional-recurrent body follows CRUSE
    (Braun et al. 2021, arXiv 2101.09249); the skip-connected causal encoder-decoder on the waveform is Defossez
    et al. 2020 (arXiv 2006.12847), whose own model is :class:`audio_enh.models.demucs.Demucs`.

    The input level is divided out by a tracker that forgets (:class:`LevelTracker`), so that the mask does
    not depend on the recording's gain. A mask below one never makes a band louder; silence stays silence.

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
    """

    # Power added to the tracked one: -80 dB of full scale, below which sound is not amplified further.
    power_floor = 1e-8
    # Amplitude of what the network hears in digital silence, relative to that floor.
    faint = 0.3

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
    ):
        super().__init__()
        if (window_length // 2) % 2 ** len(channels):
            raise ValueError(
                f"window_length {window_length} must be a multiple of {2 ** (len(channels) + 1)}"
            )
        if dual_path and len(dual_path) != len(channels):
            raise ValueError(f"dual_path has {len(dual_path)} values, but there are {len(channels)} levels")
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.delay = hop_length
        self.latency = 3 * hop_length
        self.n_bands = window_length // 2
        self.compression = compression

        analysis, synthesis = fourier_filters(window_length, 2 * hop_length)
        self.analysis = FrameAnalysis(analysis, hop_length, trainable_filters)
        self.synthesis = OverlapAdd(synthesis, trainable_filters)
        self.level = LevelTracker(hop_length, sample_rate, level_time_constant)
        # As good as random, and always the same.
        phase = 2 * torch.pi * (torch.arange(self.n_bands) * 5**0.5 / 2 % 1)
        self.silence: Tensor
        self.register_buffer("silence", torch.stack([phase.cos(), phase.sin()]), persistent=False)

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

    def init_state(self, batch: int = 1) -> State:
        """See :meth:`CausalModel.init_state`: past samples, level, one frame per encoder level, LSTM, dual-path
        blocks from the bottom up, overlap.
        """
        convs = [
            level.conv.init_state(batch, self.n_bands >> i)
            for i, level in enumerate(self.encoder)
            if isinstance(level, EncoderLevel)
        ]
        return (
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

    def step(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        """See :meth:`CausalModel.step`."""
        n = len(self.encoder)
        past, level, *convs = state[: 2 + n]
        hidden, cell, *rest = state[2 + n : -1]
        paths = dict(zip(self.dual_path, rest, strict=True))
        overlap = state[-1]
        power, level = self.level(audio, level)
        coefficients, past = self.analysis(audio, past)
        # (batch, frames, real and imaginary, bands)
        spectrum = coefficients.unflatten(2, (2, self.n_bands))
        x = features = self._features(spectrum, power)

        skips = []
        for i, layer in enumerate(self.encoder):
            x, convs[i] = layer(x, convs[i])
            skips.append(x)
        x, hidden, cell = self.bottleneck(x, hidden, cell)
        for i, layer in zip(reversed(range(n)), self.decoder, strict=True):
            assert isinstance(layer, DecoderLevel)
            x = layer.add(x, skips[i])
            if (key := str(i)) in paths:
                x, paths[key] = self.dual_path[key](x, paths[key])
            x = layer(x)
        mask = self.to_mask(x + self.input_skip(features))

        enhanced = apply_bounded_mask(spectrum, mask.transpose(1, 2))
        output, overlap = self.synthesis(enhanced.flatten(2), overlap)
        return output, (past, level, *convs, hidden, cell, *paths.values(), overlap)

    def flush(self, tail: Tensor, state: State) -> Tensor:
        """See :meth:`CausalModel.flush`: the stream goes on with zeros until every sample is out."""
        wanted = tail.shape[1] + self.delay
        hops = -(-wanted // self.hop_length)
        padding = hops * self.hop_length - tail.shape[1]
        output, _ = self.step(nn.functional.pad(tail, (0, padding)), state)
        return output[:, :wanted]

    def forward(self, audio: Tensor) -> Tensor:
        """See :meth:`EnhancementModel.forward`."""
        return self.flush(audio, self.init_state(audio.shape[0]))[:, self.delay :]

    def _features(self, spectrum: Tensor, power: Tensor) -> Tensor:
        """Level-free compressed real part, imaginary part and magnitude: ``(batch, 3, frames, bands)``."""
        gain = (power + self.power_floor).rsqrt()
        spectrum = spectrum * gain[:, :, None, None]
        # Digital silence was heard in training before clean speech only, which is to pass: the network would let
        # noise pass that comes after it. Faint tones instead, where the level is at the floor, are like a quiet room.
        silent = self.power_floor / (power + self.power_floor)
        spectrum = spectrum + self.faint * silent[:, :, None, None] * self.silence
        # The floor keeps the gradient of the root finite; it is 40 dB below the signal's mean.
        real, imag = spectrum.unbind(dim=2)
        bin_power = real.square() + imag.square() + 1e-4
        magnitude = bin_power ** (self.compression / 2)
        scale = magnitude * bin_power.rsqrt()
        return torch.stack([real * scale, imag * scale, magnitude], dim=1)


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

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(batch, channels, frames, bands)``; ``hidden`` and ``cell`` are ``(batch, layers, hidden)``."""
        batch, channels, frames, bands = x.shape
        flat = x.transpose(1, 2).reshape(batch, frames, channels * bands)
        narrow = self.down(flat)
        out, hidden, cell = run_lstm(self.rnn, narrow, hidden, cell)
        flat = self.up(narrow + out)
        x = x + flat.view(batch, frames, channels, bands).transpose(1, 2)
        return x, hidden, cell


def apply_bounded_mask(spectrum: Tensor, mask: Tensor) -> Tensor:
    """Complex product of ``spectrum`` and ``mask`` after the mask's magnitude ``r`` went through ``tanh(r)``.

    Args:
        spectrum, mask: ``(batch, frames, 2, bands)``, real and imaginary part in the third dimension.
    """
    mask_real, mask_imag = mask.unbind(dim=2)
    magnitude = (mask_real.square() + mask_imag.square() + 1e-8).sqrt()
    bound = torch.tanh(magnitude) / magnitude
    mask_real, mask_imag = mask_real * bound, mask_imag * bound
    real, imag = spectrum.unbind(dim=2)
    return torch.stack([real * mask_real - imag * mask_imag, real * mask_imag + imag * mask_real], dim=2)
