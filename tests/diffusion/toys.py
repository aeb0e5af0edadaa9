"""Two small processes by the papers' formulas, and models whose answers are known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import Tensor, nn


def _over(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.dim() - 1)).to(like.real.dtype)


class OU:
    """Richter et al. 2023: mean drifts from clean to noisy, variance explodes."""

    T, theta, smin, smax = 1.0, 1.5, 0.05, 0.5

    def mean(self, x0, y, t):
        decay = _over(torch.exp(-self.theta * t), x0)
        return decay * x0 + (1 - decay) * y

    def std(self, t):
        log = math.log(self.smax / self.smin)
        growth = torch.exp(-2 * self.theta * t) * torch.expm1(2 * (self.theta + log) * t)
        return (self.smin**2 * growth * log / (self.theta + log)).sqrt()


class Bridge:
    """Jukic et al. 2024, variance exploding: no noise at either end."""

    T, k, c = 1.0, 2.6, 0.4

    def sigmas(self, t):
        def square(t):
            return self.c * (self.k ** (2 * t) - 1) / (2 * math.log(self.k))

        total = square(torch.ones_like(t))
        return square(t).sqrt(), (total - square(t)).clamp(min=0).sqrt(), total.sqrt()

    def mean(self, x0, y, t):
        s, sb, total = (_over(v, x0) for v in self.sigmas(t))
        return (sb**2 * x0 + s**2 * y) / total**2

    def std(self, t):
        s, sb, total = self.sigmas(t)
        return s * sb / total


class Straight:
    """Heitz et al. 2023: blends clean into noisy, no noise."""

    T = 1.0

    def mean(self, x0, y, t):
        return x0 + _over(t, x0) * (y - x0)

    def std(self, t):
        return torch.zeros_like(t)


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
        return (mean - x_t) / _over(self.process.std(t), x_t) ** 2

    def velocity(self, x_t, y, t):
        return (x_t - self.denoise(x_t, y, t)) / _over(t, x_t)


def batch(first: int = 0, size: int = 4, samples: int = 50):
    generator = torch.Generator().manual_seed(3)
    clean = torch.randn(100, samples, generator=generator)
    noisy = clean + torch.randn(100, samples, generator=generator)
    item = torch.arange(first, first + size)
    return SimpleNamespace(noisy=noisy[item], clean=clean[item], item=item)
