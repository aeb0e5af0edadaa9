"""Dual-path processing of a causal spectrogram: across the bands of each frame, then along time in each band."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_enh.models.blocks import run_lstm


class DualPathBlock(nn.Module):
    """All bands of a frame are mixed, then one LSTM, the same for every band, runs along time; both are residual.

    A convolution sees neighbouring bands only and the bottleneck's LSTM sees them all but coarsely. Here the
    bands are joined by one full matrix for each of a few squeezed channels (the full-band linear layer of
    SpatialNet: Quan and Li 2024, arXiv 2307.16516), and time by a recurrence that the bands share (the
    dual-path recurrent network: Luo et al. 2020, arXiv 1910.06379; causal along time as in DPCRN: Le et al.
    2021, arXiv 2107.05429).

    Untrained it adds nothing, so that it can be put into a trained model.

    Args:
        channels: of input and output.
        bands: of input and output.
        hidden: units of the LSTM.
        squeezed: channels between which the bands are mixed.
    """

    def __init__(self, channels: int, bands: int, hidden: int, squeezed: int = 16):
        super().__init__()
        self.bands = bands
        self.hidden = hidden
        self.across_norm = nn.LayerNorm(channels)
        self.squeeze = nn.Linear(channels, squeezed)
        self.mix = nn.Parameter(torch.randn(squeezed, bands, bands) / bands**0.5)
        self.mix_bias = nn.Parameter(torch.zeros(squeezed, 1, bands))
        self.expand = nn.Linear(squeezed, channels)
        self.along_norm = nn.LayerNorm(channels)
        self.rnn = nn.LSTM(channels, hidden, batch_first=True)
        self.project = nn.Linear(hidden, channels)
        for layer in (self.expand, self.project):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def init_state(self, batch: int) -> Tensor:
        """Hidden and cell state, ``(batch, 2, bands, hidden)``."""
        return self.mix.new_zeros(batch, 2, self.bands, self.hidden)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, channels, frames, bands)`` and state ``(batch, 2, bands, hidden)`` to the same."""
        x = x.permute(0, 2, 3, 1)  # (batch, frames, bands, channels)
        x = x + self._across(self.across_norm(x))
        along, state = self._along(self.along_norm(x), state)
        x = x + along
        return x.permute(0, 3, 1, 2), state

    def _across(self, x: Tensor) -> Tensor:
        batch, frames = x.shape[:2]
        narrow = F.silu(self.squeeze(x)).flatten(0, 1).permute(2, 0, 1)  # (squeezed, batch * frames, bands)
        mixed = F.silu(narrow @ self.mix + self.mix_bias)
        return self.expand(mixed.permute(1, 2, 0)).unflatten(0, (batch, frames))

    def _along(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        batch, frames, bands, channels = x.shape
        rows = x.transpose(1, 2).reshape(batch * bands, frames, channels)
        hidden, cell = (s.reshape(batch * bands, 1, self.hidden) for s in state.unbind(1))
        out, hidden, cell = run_lstm(self.rnn, rows, hidden, cell)
        out = out.reshape(batch, bands, frames, self.hidden).transpose(1, 2)
        state = torch.stack([s.reshape(batch, bands, self.hidden) for s in (hidden, cell)], dim=1)
        return self.project(out), state
