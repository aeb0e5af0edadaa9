"""Causal building blocks with explicit state.

Each maps ``(input, state) -> (output, state)``. Run over a whole signal from ``init_state`` or over pieces of
it, the concatenated output is the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FrameAnalysis(nn.Module):
    """Causal filter bank: frame ``t`` ends with hop ``t`` and reaches ``window_length`` samples back.

    Args:
        filters: ``(channels, window_length)``, the initial filters.
        hop_length: samples between frames.
        trainable: whether the filters are parameters.
    """

    def __init__(self, filters: Tensor, hop_length: int, trainable: bool = True):
        super().__init__()
        self.hop_length = hop_length
        self.history = filters.shape[1] - hop_length
        self.weight = nn.Parameter(filters.clone(), requires_grad=trainable)

    def init_state(self, batch: int) -> Tensor:
        return self.weight.new_zeros(batch, self.history)

    def forward(self, audio: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, frames * hop_length)`` and state ``(batch, history)`` to ``(batch, frames, channels)``."""
        audio = torch.cat([state, audio], dim=1)
        frames = audio.unfold(1, self.weight.shape[1], self.hop_length)
        return F.linear(frames, self.weight), audio[:, audio.shape[1] - self.history :]


class OverlapAdd(nn.Module):
    """The filter bank's inverse: synthesis filters and overlap-add of neighbouring frames.

    Args:
        filters: ``(channels, 2 * hop_length)``, the initial filters.
        trainable: whether the filters are parameters.
    """

    def __init__(self, filters: Tensor, trainable: bool = True):
        super().__init__()
        self.hop_length = filters.shape[1] // 2
        self.weight = nn.Parameter(filters.clone(), requires_grad=trainable)

    def init_state(self, batch: int) -> Tensor:
        return self.weight.new_zeros(batch, self.hop_length)

    def forward(self, coefficients: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, frames, channels)`` and state ``(batch, hop_length)`` to ``(batch, frames * hop_length)``.

        The output lags by ``hop_length``: only there has every sample met both of its frames.
        """
        frames = coefficients @ self.weight
        older, newer = frames[..., : self.hop_length], frames[..., self.hop_length :]
        tails = torch.cat([state[:, None], newer], dim=1)
        return (older + tails[:, :-1]).flatten(1), tails[:, -1]


class LevelTracker(nn.Module):
    """Running mean of the signal's power that forgets with a time constant.

    Args:
        hop_length: samples per frame.
        sample_rate: in Hz.
        time_constant: in seconds: a sound this old counts 1/e.
    """

    # Longer signals are averaged in blocks of this many frames, to bound the triangular matrix.
    block_frames = 256

    def __init__(self, hop_length: int, sample_rate: int, time_constant: float):
        super().__init__()
        self.hop_length = hop_length
        self.decay = math.exp(-hop_length / (sample_rate * time_constant))

    def init_state(self, like: Tensor, batch: int) -> Tensor:
        return like.new_zeros(batch, 1)

    def forward(self, audio: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, frames * hop_length)`` to the power up to and with each frame, ``(batch, frames)``."""
        power = audio.unflatten(1, (-1, self.hop_length)).square().mean(dim=2)
        if power.shape[1] == 1:
            state = self.decay * state + (1 - self.decay) * power
            return state, state
        averages = []
        for block in power.split(self.block_frames, dim=1):
            # y_t = decay^(t+1) y_{-1} + (1 - decay) sum_{s <= t} decay^(t-s) p_s, as one product per block.
            n = block.shape[1]
            age = torch.arange(n, device=audio.device)
            lag = (age[:, None] - age[None, :]).to(power.dtype)
            kernel = torch.where(lag >= 0, (1 - self.decay) * self.decay**lag, 0.0)
            carried = state * self.decay ** (age + 1).to(power.dtype)
            average = block @ kernel.T + carried
            averages.append(average)
            state = average[:, -1:]
        return torch.cat(averages, dim=1), state


def run_lstm(rnn: nn.LSTM, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """An LSTM with ``batch_first`` and its states: ``(batch, frames, features)``, states ``(batch, layers, units)``.

    One frame is done cell by cell: on the CPU ``nn.LSTM`` rearranges all its weights in every call.
    """
    if x.shape[1] == 1 and not rnn.training:
        out, hiddens, cells = x[:, 0], [], []
        for layer, weights in enumerate(rnn.all_weights):
            out, c = torch.lstm_cell(out, [hidden[:, layer], cell[:, layer]], *weights)
            hiddens.append(out)
            cells.append(c)
        return out[:, None], torch.stack(hiddens, dim=1), torch.stack(cells, dim=1)
    past = (hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous())
    out, (hidden, cell) = rnn(x, past)
    return out, hidden.transpose(0, 1), cell.transpose(0, 1)


class CausalConv2d(nn.Module):
    """Convolution over (time, frequency): causal in time, "same" over ``stride`` in frequency.

    Args:
        in_channels, out_channels: channels.
        kernel: (time, frequency), the latter odd.
        stride: in frequency.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, int], stride: int = 1):
        super().__init__()
        self.history = kernel[0] - 1
        self.in_channels = in_channels
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride=(1, stride), padding=(0, kernel[1] // 2), bias=False
        )

    def init_state(self, batch: int, bands: int) -> Tensor:
        return self.conv.weight.new_zeros(batch, self.in_channels, self.history, bands)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, channels, frames, bands)``, state ``(batch, channels, kernel[0] - 1, bands)``."""
        x = torch.cat([state, x], dim=2)
        return self.conv(x), x[:, :, x.shape[2] - self.history :]
