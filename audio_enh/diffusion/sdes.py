r"""Diffusion processes that lead from clean to noisy speech, and what is known of them in closed form.

All of them are linear: given clean coefficients ``x0`` and noisy ones ``y``, the state at time ``t`` is normal,

.. math:: x_t = a_t x_0 + b_t y + \sigma_t z

and follows ``dx = drift dt + diffusion dw`` from ``x0`` at time 0. Coefficients may be complex; then ``z`` and ``dw``
have unit variance in all, half of it in each part. Times are ``(batch,)``, the first dimension of the coefficients.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from audio_enh.diffusion.noise import Noise


class Process(ABC):
    """A process from clean (time 0) to noisy (time ``T``).

    Attributes:
        T: time at which sampling begins.
        t_eps: time at which sampling ends.
    """

    T: float
    t_eps: float

    @abstractmethod
    def mean_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Weights ``(batch,)`` of ``x0`` and ``y`` in the mean."""

    @abstractmethod
    def std(self, t: Tensor) -> Tensor:
        """Standard deviation ``(batch,)`` of the state given ``x0`` and ``y``."""

    @abstractmethod
    def drift(self, x: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """Drift of the process at state ``x``, in its shape."""

    @abstractmethod
    def diffusion(self, t: Tensor) -> Tensor:
        """Diffusion coefficient ``(batch,)``."""

    def mean(self, x0: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """Mean of the state given ``x0`` and ``y``, in their shape."""
        of_clean, of_noisy = self.mean_weights(t)
        return over_items(of_clean, x0) * x0 + over_items(of_noisy, x0) * y

    def prior(self, y: Tensor, noise: Noise) -> Tensor:
        """Where sampling begins: the state at ``T`` without what is left of ``x0``."""
        end = torch.full(y.shape[:1], self.T, device=y.device)
        return y + over_items(self.std(end), y) * noise()


class OUVE(Process):
    r"""Ornstein-Uhlenbeck drift, exploding variance: SGMSE, Richter et al. 2023 (arXiv 2208.05830), eq. 5 to 12.

    .. math:: dx = \theta (y - x) dt + \sigma_{min} r^t \sqrt{2 \ln r} \, dw, \quad r = \sigma_{max} / \sigma_{min}

    Args:
        theta: stiffness.
        sigma_min, sigma_max: of the noise.
        t_eps: see :class:`Process`.
    """

    def __init__(
        self, theta: float = 1.5, sigma_min: float = 0.05, sigma_max: float = 0.5, t_eps: float = 0.03
    ):
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"0 < sigma_min < sigma_max must hold, not {sigma_min}, {sigma_max}")
        self.T = 1.0
        self.t_eps = t_eps
        self.theta = theta
        self.sigma_min = sigma_min
        self.log_ratio = math.log(sigma_max / sigma_min)

    def mean_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.exp(-self.theta * t), -torch.expm1(-self.theta * t)

    def std(self, t: Tensor) -> Tensor:
        rate = self.theta + self.log_ratio
        growth = torch.exp(-2 * self.theta * t) * torch.expm1(2 * rate * t)
        return self.sigma_min * (growth * (self.log_ratio / rate)).sqrt()

    def drift(self, x: Tensor, y: Tensor, t: Tensor) -> Tensor:
        return self.theta * (y - x)

    def diffusion(self, t: Tensor) -> Tensor:
        return self.sigma_min * math.sqrt(2 * self.log_ratio) * torch.exp(self.log_ratio * t)


class BBED(Process):
    r"""Brownian bridge with exponential diffusion coefficient: Lay et al. 2023 (arXiv 2302.14748).

    .. math:: dx = \frac{y - x}{1 - t} dt + \sqrt\theta \, k^t dw

    Args:
        k, theta: of the diffusion coefficient.
        T: where sampling begins; the process reaches ``y`` at time 1, where its drift has a pole. Beginning at
            0.5 with half the steps costs little, says the paper.
        t_eps: see :class:`Process`.
    """

    def __init__(self, k: float = 2.6, theta: float = 0.51, T: float = 0.999, t_eps: float = 0.03):
        if not (k > 0 and k != 1 and theta > 0 and 0 < t_eps < T < 1):
            raise ValueError(
                f"k (not 1) and theta must be above 0, 0 < t_eps < T < 1; not {k}, {theta}, {t_eps}, {T}"
            )
        self.T = T
        self.t_eps = t_eps
        self.k = k
        self.theta = theta

    def mean_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def std(self, t: Tensor) -> Tensor:
        # var = (1 - t)^2 theta int_0^t (k^s / (1 - s))^2 ds, by parts and with u = 2 (s - 1) ln k. Double
        # precision, for the terms nearly cancel towards both ends.
        s = _precise(t)
        log_k = math.log(self.k)
        integral = _exponential_integral(2 * (s - 1) * log_k) - _exponential_integral(
            torch.full_like(s, -2 * log_k)
        )
        inner = torch.expm1(2 * log_k * s) + s + 2 * self.k**2 * log_k * (1 - s) * integral
        return ((1 - s) * self.theta * inner).clamp(min=0).sqrt().to(t.dtype)

    def drift(self, x: Tensor, y: Tensor, t: Tensor) -> Tensor:
        return (y - x) / over_items(1 - t, x)

    def diffusion(self, t: Tensor) -> Tensor:
        return math.sqrt(self.theta) * self.k**t


class SBVE(Process):
    r"""Schroedinger bridge between paired data, exploding variance: Jukic et al. 2024 (arXiv 2407.16074).

    .. math:: \sigma_t^2 = c \frac{k^{2t} - 1}{2 \ln k}, \quad \bar\sigma_t^2 = \sigma_T^2 - \sigma_t^2, \quad
        dx = c k^{2t} \frac{y - x}{\bar\sigma_t^2} dt + \sqrt c \, k^t dw

    It begins at ``x0`` and ends at ``y``, without noise at either end.

    Args:
        k, c: of the diffusion coefficient.
        t_eps: see :class:`Process`.
    """

    def __init__(self, k: float = 2.6, c: float = 0.4, t_eps: float = 1e-4):
        if not (k > 0 and k != 1 and c > 0):
            raise ValueError(f"k (not 1) and c must be above 0, not {k}, {c}")
        self.T = 1.0
        self.t_eps = t_eps
        self.k = k
        self.c = c

    def variances(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """What noise has come by ``t`` and what will still come until ``T``: sigma_t^2 and its complement."""
        log_k = math.log(self.k)
        scale = self.c / (2 * log_k)
        past = scale * torch.expm1(2 * log_k * t)
        # Directly, not as a difference: near T it is exact.
        future = scale * self.k ** (2 * t) * torch.expm1(2 * log_k * (self.T - t))
        return past, future.clamp(min=0)

    def mean_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        past, future = self.variances(t)
        return future / (past + future), past / (past + future)

    def std(self, t: Tensor) -> Tensor:
        past, future = self.variances(t)
        return (past * future / (past + future)).sqrt()

    def drift(self, x: Tensor, y: Tensor, t: Tensor) -> Tensor:
        _, future = self.variances(t)
        return over_items(self.c * self.k ** (2 * t) / future, x) * (y - x)

    def diffusion(self, t: Tensor) -> Tensor:
        return math.sqrt(self.c) * self.k**t

    def prior(self, y: Tensor, noise: Noise) -> Tensor:
        """``y`` itself, without noise."""
        return y


class Flow(Process):
    """Straight blending of clean into noisy, without noise: Heitz et al. 2023 (arXiv 2305.03486).

    The simplest thing that can be iterated, as a baseline: ``x_t = (1 - t) x0 + t y``.
    """

    def __init__(self) -> None:
        self.T = 1.0
        self.t_eps = 0.0

    def mean_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def std(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def drift(self, x: Tensor, y: Tensor, t: Tensor) -> Tensor:
        return (y - x) / over_items(1 - t, x)

    def diffusion(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def prior(self, y: Tensor, noise: Noise) -> Tensor:
        """``y`` itself, without noise."""
        return y


_EULER_GAMMA = 0.5772156649015329

#: What a checkpoint calls them.
PROCESSES: dict[str, type[Process]] = {"ouve": OUVE, "bbed": BBED, "sbve": SBVE, "flow": Flow}


def over_items(values: Tensor, like: Tensor) -> Tensor:
    """``(batch,)`` to the number of dimensions and the (real) type of ``like``, to be multiplied with it."""
    return values.reshape(-1, *[1] * (like.dim() - 1)).to(like.real.dtype)


def _precise(t: Tensor) -> Tensor:
    return t if t.device.type == "mps" else t.double()  # Apple's GPUs have no double precision


def _exponential_integral(u: Tensor) -> Tensor:
    """Ei(u) for ``u < 0`` of moderate size, by its power series: all on the device, no table, no SciPy.

    ``Ei(u) = gamma + ln |u| + sum u^n / (n n!)``; 40 terms give double precision up to ``|u| = 8``, k = 50.
    """
    series = torch.zeros_like(u)
    for n in range(40, 0, -1):
        series = (1 / n + series) * u / n
    return _EULER_GAMMA + u.abs().log() + series
