"""Training times from the middle of a normal distribution, as UNIVERSE++ draws them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from audio_enh.diffusion.training_times import TrainingTimes


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
