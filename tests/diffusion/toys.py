"""A model whose answers are known."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from audio_enh.diffusion.sdes import over_items


class Oracle(nn.Module):
    """Knows the clean coefficients, and answers with them or with ``error`` added.

    Coefficients are the signals themselves, made complex.
    """

    def __init__(self, process, error: float = 0.0):
        super().__init__()
        self.process = process
        self.error = nn.Parameter(torch.tensor(error))
        self.clean = {}

    def analyse(self, noisy, clean):
        y, x0 = (x[:, None].to(torch.complex64) for x in (noisy, clean))
        self.clean = {tuple(row.flatten().tolist()): x for row, x in zip(y, x0, strict=True)}
        return y, x0, torch.ones(len(y), 1)

    def synthesise(self, coefficients, length, level):
        return coefficients.real[:, 0, :length] * level

    def denoise(self, x_t, y, t):
        return torch.stack([self.clean[tuple(row.flatten().tolist())] for row in y]) + self.error

    def score(self, x_t, y, t):
        mean = self.process.mean(self.denoise(x_t, y, t), y, t)
        return (mean - x_t) / over_items(self.process.std(t), x_t) ** 2

    def velocity(self, x_t, y, t):
        return (x_t - self.denoise(x_t, y, t)) / over_items(t, x_t)


def batch(first: int = 0, size: int = 4, samples: int = 50):
    generator = torch.Generator().manual_seed(3)
    clean = torch.randn(100, samples, generator=generator)
    noisy = clean + torch.randn(100, samples, generator=generator)
    item = torch.arange(first, first + size)
    return SimpleNamespace(noisy=noisy[item], clean=clean[item], item=item)
