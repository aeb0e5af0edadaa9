"""Losses on samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WaveformL1Loss(nn.Module):
    """Mean absolute difference."""

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        return (estimate - clean).abs().mean()


class SISDRLoss(nn.Module):
    """Negative scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, arXiv 1811.02508).

    Items whose target is silent have no ratio and count as zero. Above ``ceiling`` the loss saturates softly,
    so that items that are nearly clean already do not govern the gradient.

    Args:
        ceiling: in dB.
    """

    def __init__(self, ceiling: float = 30.0):
        super().__init__()
        self.floor = 10 ** (-ceiling / 10)

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        energy = clean.square().sum(dim=-1)
        scale = (estimate * clean).sum(dim=-1) / (energy + 1e-8)
        target = scale[:, None] * clean
        signal = target.square().sum(dim=-1)
        error = (estimate - target).square().sum(dim=-1)
        loss = 10 * torch.log10((error + self.floor * signal + 1e-8) / (signal + 1e-8))
        audible = energy > 1e-4
        return torch.where(audible, loss, 0.0).mean()
