r"""Which times of the process training sees how often.

A density over the noise level, ``log std(t)``, becomes one over time by the change of variables
``p(t) = p(log std(t)) |d log std(t) / dt|``, tabulated and inverted, so that it serves every process: also
bridges, whose noise rises and falls. Variates come from outside, one per item, so that items do not depend on
how a batch is made up.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Fraction of the golden ratio: its multiples fill the unit interval most evenly.
GOLDEN = (math.sqrt(5) - 1) / 2


def even_variates(item: Tensor, seed: int) -> Tensor:
    """Uniform variates ``(batch,)`` in float64 for item numbers ``(batch,)``: evenly spread in any run of items.

    An additive recurrence, shifted by the seed. Spread like this the loss of a batch varies less than with
    independent times (Kingma et al. 2021, arXiv 2107.00630, appendix I.1, spread them within the batch).
    """
    return ((item.double() * GOLDEN) + (seed * math.sqrt(2)) % 1).remainder(1)


class TrainingTimes(nn.Module, ABC):
    """Distribution of the training time over ``[t_min, t_max]``."""

    @abstractmethod
    def forward(
        self, variates: Tensor, std: Callable[[Tensor], Tensor], t_min: float, t_max: float
    ) -> Tensor:
        """Times ``(batch,)`` for uniform variates ``(batch,)`` in float64.

        Args:
            variates: in [0, 1).
            std: the process's standard deviation at times ``(n,)``.
            t_min, t_max: range.
        """

    def weight(self, t: Tensor, t_min: float, t_max: float) -> Tensor:
        """What the loss at ``t``, ``(batch,)``, counts; 1 where seeing a time more often means to weigh it more."""
        return torch.ones_like(t)

    def observe(self, t: Tensor, loss: Tensor, t_min: float, t_max: float) -> None:
        """Told the loss of each item, for those who adapt."""


class UniformTimes(TrainingTimes):
    """Every time as often."""

    def forward(
        self, variates: Tensor, std: Callable[[Tensor], Tensor], t_min: float, t_max: float
    ) -> Tensor:
        return (t_min + variates * (t_max - t_min)).float()


class NoiseLevelTimes(TrainingTimes):
    """Times by a density over the noise level.

    Args:
        points: of the table.
    """

    def __init__(self, points: int = 8192):
        super().__init__()
        self.points = points

    @abstractmethod
    def density(self, log_std: Tensor) -> Tensor:
        """Density over the natural logarithm of the standard deviation, up to a constant."""

    def forward(
        self, variates: Tensor, std: Callable[[Tensor], Tensor], t_min: float, t_max: float
    ) -> Tensor:
        t = torch.linspace(t_min, t_max, self.points, dtype=torch.float64, device=variates.device)
        # The noise of a bridge vanishes at both ends, and its logarithm is not finite there.
        level = std(t).double().clamp(min=1e-8).log()
        middle = (level[1:] + level[:-1]) / 2
        mass = self.density(middle) * level.diff().abs()
        cumulative = torch.cat([mass.new_zeros(1), mass.cumsum(0)])
        if not cumulative[-1] > 0:
            raise ValueError(
                f"{type(self).__name__} has no weight on the noise levels of this process,"
                f" {float(level.min().exp()):.3g} to {float(level.max().exp()):.3g}"
            )
        return _interpolate(variates, cumulative / cumulative[-1], t).float()


class LogNormalTimes(NoiseLevelTimes):
    """A normal density over ``log std``: Karras et al. 2022 (arXiv 2206.00364), who train so with -1.2, 1.2 for
    data of standard deviation 0.5. What is nearly clean and what is nearly noise teaches little.

    Args:
        mean, deviation: of ``log std``.
    """

    def __init__(self, mean: float = -2.0, deviation: float = 1.2, points: int = 8192):
        super().__init__(points)
        self.mean = mean
        self.deviation = deviation

    def density(self, log_std: Tensor) -> Tensor:
        return torch.exp(-0.5 * ((log_std - self.mean) / self.deviation) ** 2)


class LaplaceTimes(NoiseLevelTimes):
    r"""A Laplace density over ``log SNR``: Hang et al. 2024 (arXiv 2407.03297).

    .. math:: p(\lambda) \propto e^{-|\lambda - \mu| / b}, \quad \lambda = \log (\sigma_{data}^2 / std^2)

    with mu = 0 and b = 0.5 in the paper: most where signal and noise are equally strong. Coefficients of
    speech after the square-root compression have a standard deviation of about 0.1.

    Args:
        location: mu.
        scale: b.
        sigma_data: standard deviation of the data.
    """

    def __init__(
        self, location: float = 0.0, scale: float = 0.5, sigma_data: float = 0.1, points: int = 8192
    ):
        super().__init__(points)
        self.location = location
        self.scale = scale
        self.sigma_data = sigma_data

    def density(self, log_std: Tensor) -> Tensor:
        log_snr = 2 * (math.log(self.sigma_data) - log_std)
        return torch.exp(-(log_snr - self.location).abs() / self.scale)


class ImportanceTimes(TrainingTimes):
    r"""Times by how large their loss has been; each loss divided by the density, so that the mean stays the same.

    .. math:: p(t) \propto \sqrt{E[L_t^2]}

    has the least variance (Nichol and Dhariwal 2021, arXiv 2102.09672, section 3.3). The average per bin is a
    running one. Until every bin has been seen, and for a part of the draws always, times are uniform. The
    averages are saved with the training state; of several processes the first one's serve all, as buffers do.

    Args:
        bins: of time.
        decay: of the running average, per observation.
        uniform: part of the draws that are uniform.
    """

    square: Tensor
    seen: Tensor

    def __init__(self, bins: int = 50, decay: float = 0.98, uniform: float = 0.1):
        super().__init__()
        self.bins = bins
        self.decay = decay
        self.uniform = uniform
        self.register_buffer("square", torch.zeros(bins))
        self.register_buffer("seen", torch.zeros(bins, dtype=torch.bool))

    def forward(
        self, variates: Tensor, std: Callable[[Tensor], Tensor], t_min: float, t_max: float
    ) -> Tensor:
        probability = self._probability().to(variates.device).double()
        cumulative = torch.cat([probability.new_zeros(1), probability.cumsum(0)])
        edges = torch.linspace(0, 1, self.bins + 1, dtype=torch.float64, device=variates.device)
        return (t_min + _interpolate(variates, cumulative / cumulative[-1], edges) * (t_max - t_min)).float()

    def weight(self, t: Tensor, t_min: float, t_max: float) -> Tensor:
        return 1 / (self.bins * self._probability()[self._bin(t, t_min, t_max)])

    def observe(self, t: Tensor, loss: Tensor, t_min: float, t_max: float) -> None:
        if not self.training:
            return
        for place, value in zip(self._bin(t, t_min, t_max), loss.detach().float().square(), strict=True):
            self.square[place] = torch.where(
                self.seen[place], self.decay * self.square[place] + (1 - self.decay) * value, value
            )
            self.seen[place] = True

    def _probability(self) -> Tensor:
        flat = torch.full_like(self.square, 1 / self.bins)
        root = self.square.sqrt()
        adapted = (1 - self.uniform) * root / root.sum().clamp(min=1e-30) + self.uniform * flat
        return torch.where(self.seen.all(), adapted, flat)

    def _bin(self, t: Tensor, t_min: float, t_max: float) -> Tensor:
        return ((t - t_min) / (t_max - t_min) * self.bins).long().clamp(0, self.bins - 1)


def _interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Piecewise linear through ``(xs, ys)``; ``xs`` ascends."""
    right = torch.searchsorted(xs, x, right=True).clamp(1, len(xs) - 1)
    x0, x1, y0, y1 = xs[right - 1], xs[right], ys[right - 1], ys[right]
    return y0 + (y1 - y0) * ((x - x0) / (x1 - x0).clamp(min=1e-300)).clamp(0, 1)


class CentralTimes(TrainingTimes):
    """The central ``area`` of a normal distribution, stretched over the range: Scheibler et al. 2024
    (arXiv 2406.12194), "normal_0.95".

    Args:
        area: between 0, which is nearly uniform, and 1.
    """

    def __init__(self, area: float = 0.95):
        super().__init__()
        if not 0 < area < 1:
            raise ValueError(f"area must lie between 0 and 1, not be {area}")
        self.area = area

    def forward(
        self, variates: Tensor, std: Callable[[Tensor], Tensor], t_min: float, t_max: float
    ) -> Tensor:
        """See :meth:`TrainingTimes.forward`."""
        edge = torch.special.ndtri(torch.tensor(0.5 + self.area / 2, dtype=torch.float64))
        place = torch.special.ndtri(0.5 + self.area * (variates.double() - 0.5)) / edge.to(variates.device)
        return (t_min + (t_max - t_min) * (0.5 + 0.5 * place)).float()
