"""A cheap real-time model: a causal U-Net whose convolutions run along frequency, and recurrences along time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_enh.models.base import State
from audio_enh.models.fast_filterbank import FastFilterBank
from audio_enh.models.light_recurrence import LightRecurrence
from audio_enh.models.masked_filterbank import MaskedFilterBank, apply_bounded_mask


class FrequencyUNet(MaskedFilterBank):
    """Causal waveform U-Net for few operations a hop and many items a second in training on a CPU.

    As in :class:`audio_enh.models.causal_unet.CausalUNet`, whose ends it shares (filter bank, level, bounded complex
    mask), the first strided level is a learned filter bank and the mask is applied to its coefficients. Everything
    between is made of matrix products over channels that lie last in memory:

    - convolutions along frequency only, the way down strided, the way up their mirror with skips;
    - at the bottom a trained matrix from the last level's bands to fewer, wider ones, initially on a scale like the
      ear's, blocks of a recurrence along time that the bands share and a full matrix across the bands, and a trained
      matrix back.

    No convolution extends in time: the recurrences are all that remembers. Normalisation is by batch only, so that it
    is part of the matrix beside it when the model runs. The outline is FastEnhancer's (Ahn et al. 2025, arXiv
    2509.21867), with a full matrix across bands for its attention.

    A high-pass filter comes first: rumble and offsets reach neither the level tracker nor the network.

    Args:
        sample_rate: in Hz.
        hop_length: samples per step; the synthesis window has twice as many.
        window_length: samples of the analysis window, all in the past; half as many bands.
        channels: of each level on the way down.
        strides: of each level, in bands.
        bands: number of bands at the bottom.
        hidden: channels at the bottom.
        blocks: number of :class:`BottomBlock` there.
        mixed: channels between which these mix the bands.
        recurrence: ``light`` (:class:`LightRecurrence`) or ``gru``.
        compression: exponent of the coefficients' magnitude at the network's input.
        level_time_constant: of the level tracker, in seconds.
        high_pass: cut-off of the high-pass filter, in Hz; 0 for none.
        trainable_filters: whether the filter bank is trained with the rest.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        hop_length: int = 160,
        window_length: int = 512,
        channels: Sequence[int] = (24, 40),
        strides: Sequence[int] = (4, 2),
        bands: int = 16,
        hidden: int = 48,
        blocks: int = 3,
        mixed: int = 12,
        recurrence: str = "light",
        compression: float = 0.3,
        level_time_constant: float = 1.0,
        high_pass: float = 70.0,
        trainable_filters: bool = True,
    ):
        if len(channels) != len(strides) or not channels:
            raise ValueError(f"channels and strides must be as many, got {len(channels)} and {len(strides)}")
        if any(stride != 1 and stride % 2 for stride in strides) or (window_length // 2) % math.prod(strides):
            raise ValueError(
                f"strides {tuple(strides)} must be 1 or even and divide {window_length // 2} bands"
            )
        super().__init__(sample_rate, hop_length, window_length, compression, level_time_constant, high_pass)
        self.filters = FastFilterBank(window_length, hop_length, trainable=trainable_filters)

        widths = [3, *channels]
        self.encoder = nn.ModuleList(
            DownLevel(widths[i], widths[i + 1], strides[i]) for i in range(len(channels))
        )
        inner = self.n_bands // math.prod(strides)
        self.narrow = BandMatrix(channels[-1], hidden, _ear_matrix(inner, bands))
        self.place = nn.Parameter(torch.zeros(bands, hidden))
        self.blocks = nn.ModuleList(BottomBlock(hidden, bands, mixed, recurrence) for _ in range(blocks))
        self.widen = BandMatrix(hidden, channels[-1], _ear_matrix(inner, bands).T)
        self.decoder = nn.ModuleList(
            UpLevel(channels[i], channels[i - 1] if i else 2, strides[i], last=not i)
            for i in reversed(range(len(channels)))
        )
        # Channels lie last in memory, and kernels must do so too for the fast convolutions.
        self.to(memory_format=torch.channels_last)
        ending = self.decoder[-1].conv
        assert isinstance(ending, nn.ConvTranspose2d)
        assert ending.bias is not None
        with torch.no_grad():
            ending.weight.mul_(0.1)
            ending.bias.copy_(torch.tensor([1.0, 0.0]))  # the untrained model nearly passes its input

    def init_hearing(self, batch: int) -> State:
        """See :meth:`SkipsSilence.init_hearing`: high-pass, past samples, overlap, level, recurrences."""
        like = self.filters.first
        return (
            *([self.high_pass.init_state(batch)] if self.high_pass is not None else []),
            *self.filters.init_state(batch),
            self.level.init_state(like, batch),
            *(block.init_state(batch) for block in self.blocks if isinstance(block, BottomBlock)),
        )

    def hear(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        """See :meth:`SkipsSilence.hear`."""
        audio, filtered, state = self.without_rumble(audio, state)
        past, overlap, level, *memories = state
        power, level = self.level(audio, level)
        spectrum, past = self.filters.analyse(audio, past)
        spectrum = self.in_phase(spectrum)

        x = self.features(spectrum, power).transpose(2, 3)  # (batch, frames, bands, channels)
        skips = []
        for layer in self.encoder:
            x = layer(x)
            skips.append(x)
        x = self.narrow(x) + self.place
        for i, block in enumerate(self.blocks):
            x, memories[i] = block(x, memories[i])
        x = self.widen(x)
        for layer in self.decoder:
            x = layer(x, skips.pop())
        enhanced = apply_bounded_mask(spectrum, x.permute(0, 1, 3, 2))
        output, overlap = self.filters.synthesise(enhanced, overlap)
        return output, (*filtered, past, overlap, level, *memories)


class DownLevel(nn.Module):
    """Strided convolution along frequency, normalisation, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        kernel, padding = (3, 1) if stride == 1 else (2 * stride, stride // 2)
        self.conv = nn.Conv2d(
            inputs, outputs, (1, kernel), stride=(1, stride), padding=(0, padding), bias=False
        )
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, frames, bands, channels)`` to the same with ``bands / stride``."""
        x = self.conv(x.permute(0, 3, 1, 2))
        return F.leaky_relu(self.norm(x), 0.1).permute(0, 2, 3, 1)


class UpLevel(nn.Module):
    """The encoder's output is added through a matrix, then the mirror of :class:`DownLevel`."""

    def __init__(self, inputs: int, outputs: int, stride: int, last: bool = False):
        super().__init__()
        kernel, padding = (3, 1) if stride == 1 else (2 * stride, stride // 2)
        self.skip = nn.Linear(inputs, inputs)
        self.conv = nn.ConvTranspose2d(
            inputs, outputs, (1, kernel), stride=(1, stride), padding=(0, padding), bias=last
        )
        self.norm = nn.Identity() if last else nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``(batch, frames, bands, channels)`` to the same with ``bands * stride``."""
        x = F.leaky_relu(x + self.skip(skip), 0.1)
        return self.norm(self.conv(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)


class NormedMatrix(nn.Module):
    """Matrix product over the last dimension and batch normalisation."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Linear(inputs, outputs, bias=False)
        self.norm: nn.Module = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if isinstance(self.norm, nn.Identity):  # folded into the matrix
            return x
        return self.norm(x.flatten(0, -2)).view(x.shape)


class BandMatrix(nn.Module):
    """Other channels, and a trained matrix from bands to other bands; ``(..., bands, channels)``."""

    def __init__(self, inputs: int, outputs: int, matrix: Tensor):
        super().__init__()
        self.channels = NormedMatrix(inputs, outputs)
        self.matrix = nn.Parameter(matrix.clone())

    def forward(self, x: Tensor) -> Tensor:
        if self.matrix.shape[0] < self.matrix.shape[1]:
            return self.channels(torch.matmul(self.matrix, x))
        return torch.matmul(self.matrix, self.channels(x))


class BottomBlock(nn.Module):
    """A recurrence along time, shared by the bands, and a full matrix across the bands for a few squeezed channels.

    The second is the full-band linear layer of SpatialNet (Quan and Li 2024, arXiv 2307.16516), as in
    :class:`audio_enh.models.dual_path.DualPathBlock`; both are residual.
    """

    def __init__(self, channels: int, bands: int, mixed: int, recurrence: str):
        super().__init__()
        self.bands = bands
        self.along: LightRecurrence | SharedGRU
        if recurrence == "light":
            self.along = LightRecurrence(channels)
        elif recurrence == "gru":
            self.along = SharedGRU(channels)
        else:
            raise ValueError(f"recurrence must be 'light' or 'gru', got {recurrence!r}")
        self.project = NormedMatrix(channels, channels)
        self.squeeze = NormedMatrix(channels, mixed)
        self.mix = nn.Parameter(torch.randn(mixed, bands, bands) / bands**0.5)
        self.mix_bias = nn.Parameter(torch.zeros(mixed, 1, bands))
        self.expand = NormedMatrix(mixed, channels)

    def init_state(self, batch: int) -> Tensor:
        return self.along.init_state(batch, self.bands)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, frames, bands, channels)`` and the recurrence's state to the same."""
        along, state = self.along(x, state)
        x = x + self.project(along)
        narrow = (
            F.leaky_relu(self.squeeze(x), 0.1).flatten(0, 1).permute(2, 0, 1)
        )  # (mixed, batch * frames, bands)
        across = F.leaky_relu(narrow @ self.mix + self.mix_bias, 0.1)
        return x + self.expand(across.permute(1, 2, 0)).unflatten(0, x.shape[:2]), state


class SharedGRU(nn.Module):
    """A GRU along time, the same for every band."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size
        self.rnn = nn.GRU(size, size, batch_first=True)

    def init_state(self, batch: int, rows: int) -> Tensor:
        return next(self.rnn.parameters()).new_zeros(batch, rows, self.size)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`LightRecurrence.forward`."""
        batch, frames, rows, size = x.shape
        if frames == 1 and not self.training:
            state = torch.gru_cell(x.reshape(-1, size), state.reshape(-1, size), *self.rnn.all_weights[0])
            return state.view(x.shape), state.view(batch, rows, size)
        each = x.transpose(1, 2).reshape(batch * rows, frames, size)
        out, last = self.rnn(each, state.reshape(1, batch * rows, size).contiguous())
        return out.view(batch, rows, frames, size).transpose(1, 2), last.view(batch, rows, size)


def _ear_matrix(inner: int, bands: int) -> Tensor:
    """``(bands, inner)``: triangles, evenly spaced on a scale that is linear below an eighth of the range and
    logarithmic above, as the ear's nearly is; each sums to one."""
    place = (torch.arange(inner, dtype=torch.float64) + 0.5) / inner
    scale = torch.asinh(8 * place) / math.asinh(8)
    centre = (torch.arange(bands, dtype=torch.float64) + 0.5) / bands
    # At least as wide as the inner bands are apart, so that none is left out.
    width = torch.maximum(
        torch.tensor(1 / bands, dtype=torch.float64),
        8 / torch.sqrt(1 + (8 * place) ** 2) / (math.asinh(8) * inner),
    )
    triangles = (1 - (scale[None] - centre[:, None]).abs() / width[None]).clamp(min=0)
    return (triangles / triangles.sum(dim=1, keepdim=True).clamp(min=1e-9)).float()
