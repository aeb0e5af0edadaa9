"""What samplers have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

OnStep = Callable[[int, int], None]


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
