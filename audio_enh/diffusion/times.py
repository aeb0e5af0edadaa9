"""The times at which samplers stop on their way from noisy to clean, and what else samplers have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

OnStep = Callable[[int, int], None]
Grid = Literal["uniform", "quadratic", "karras"]

#: Exponent of each kind of grid: 1 is even, higher ones have more steps near clean speech.
GRIDS: dict[str, float] = {"uniform": 1.0, "quadratic": 2.0, "karras": 7.0}


def time_grid(first: float, last: float, points: int, kind: Grid = "uniform") -> Tensor:
    r"""Descending times from ``first`` to ``last``, float64 ``(points,)``.

    .. math:: t_i = (t_0^{1/\rho} + \tfrac i {n-1} (t_{n-1}^{1/\rho} - t_0^{1/\rho}))^\rho

    with ``rho`` 1 (uniform), 2 (quadratic) or 7 (Karras et al. 2022, arXiv 2206.00364, eq. 5, in time instead of
    noise level, which in bridges does not rise with time).
    """
    if kind not in GRIDS:
        raise ValueError(f"unknown grid {kind!r}: choose {', '.join(GRIDS)}")
    rho = GRIDS[kind]
    even = torch.linspace(first ** (1 / rho), last ** (1 / rho), points, dtype=torch.float64)
    times = even**rho
    # The ends to the bit, whatever the roots made of them.
    times[-1] = last
    times[0] = first
    return times


class Estimates(Protocol):
    """What samplers ask of a model, for states ``x``, noisy ``y`` and times ``(batch,)``."""

    def score(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """Gradient of the state's log density."""

    def denoise(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """Estimate of the clean coefficients."""


def item_times(t: float, y: Tensor) -> Tensor:
    """One time for every item of ``y``, ``(batch,)``."""
    return torch.full(y.shape[:1], t, dtype=y.real.dtype, device=y.device)


def tell(on_step: OnStep | None, i: int, steps: int) -> None:
    """Report that step ``i``, counted from 0, is done."""
    if on_step is not None:
        on_step(i + 1, steps)


def check_steps(steps: int) -> None:
    """Raise a ValueError where there would be none."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
