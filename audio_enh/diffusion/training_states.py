"""The states of a process that training shows the model, with the switches that change how they come about."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from audio_enh.diffusion.samplers import denoising_step
from audio_enh.diffusion.sdes import Process, over_items
from audio_enh.diffusion.training_noise import assign_noise, item_noise, item_uniform
from audio_enh.diffusion.training_times import TrainingTimes, UniformTimes, even_variates

# Of each item's draws.
NOISE, PERTURBATION, OWN, START = range(4)


class State(NamedTuple):
    """``x_t = mean(x0, y, t) + std(t) z`` and what it was made from; ``t`` is ``(batch,)``, the rest like ``x0``."""

    x_t: Tensor
    x0: Tensor
    y: Tensor
    z: Tensor
    t: Tensor


class TrainingStates(nn.Module):
    """Draws a state of the process for each item, from the item's number.

    Args:
        times: distribution of ``t``.
        t_min: smallest time; nearer to clean speech there is nothing to learn.
        t_max: largest time; the process's if None.
        perturbation: input perturbation, Ning et al. 2023 (arXiv 2301.11706), who find 0.1 good: the model sees
            ``z + perturbation * z'`` and is trained as for ``z``. In sampling its inputs carry its own errors;
            so it learns to expect some.
        own: part of the items whose state the model has made itself: from a later time it takes one step
            towards ``t`` (no gradient), and is trained to reach the clean speech from where that led. The
            errors of its steps so enter the loss: the cumulative error of Li and van der Schaar 2024
            (arXiv 2308.05021) with one step of their bootstrap; Lay et al. 2024 (arXiv 2309.09677) train
            through the whole reverse process to the same end. Costs a forward pass for those items.
        assign: hand the batch's noises out to the nearest items, see
            :func:`audio_enh.diffusion.training_noise.assign_noise`. The batch is that of one process.
        seed: of all draws.

    Perturbation, own states and assignment are for training only: the loss in validation is that of plain states.
    """

    def __init__(
        self,
        times: TrainingTimes | None = None,
        t_min: float = 0.03,
        t_max: float | None = None,
        perturbation: float = 0.0,
        own: float = 0.0,
        assign: bool = False,
        seed: int = 0,
    ):
        super().__init__()
        if perturbation < 0:
            raise ValueError(f"perturbation must be 0 or more, not {perturbation}")
        if not 0 <= own <= 1:
            raise ValueError(f"own is a part of the items, 0 to 1, not {own}")
        self.times = times if times is not None else UniformTimes()
        self.t_min = t_min
        self.t_max = t_max
        self.perturbation = perturbation
        self.own = own
        self.assign = assign
        self.seed = seed

    def span(self, process: Process) -> tuple[float, float]:
        """Smallest and largest time drawn."""
        return self.t_min, process.T if self.t_max is None else self.t_max

    def forward(
        self,
        process: Process,
        estimate: Callable[[Tensor, Tensor, Tensor], Tensor],
        x0: Tensor,
        y: Tensor,
        item: Tensor,
    ) -> State:
        """States for a batch.

        Args:
            process: whose states.
            estimate: the model's clean estimate from ``(x_t, y, t)``.
            x0, y: clean and noisy coefficients ``(batch, ...)``.
            item: numbers ``(batch,)``.
        """
        t_min, t_max = self.span(process)
        item = item.cpu()  # its few variates are in double precision, which not every device has
        t = self.times(even_variates(item, self.seed), process.std, t_min, t_max)
        # Rounding must not lead to the end itself, where a bridge has no noise and so no score.
        t = t.clamp(t_min, t_max * (1 - 1e-6)).to(x0.device)
        z = item_noise(x0, item, self.seed, NOISE)
        if self.training and self.assign:
            z = assign_noise(z, x0)
        seen = z
        if self.training and self.perturbation:
            seen = z + self.perturbation * item_noise(x0, item, self.seed, PERTURBATION)
        x_t = process.mean(x0, y, t) + over_items(process.std(t), x0) * seen
        state = State(x_t, x0, y, z, t)
        if self.training and self.own:
            return self._with_own(process, estimate, state, item, t_max)
        return state

    def _with_own(
        self,
        process: Process,
        estimate: Callable[[Tensor, Tensor, Tensor], Tensor],
        state: State,
        item: Tensor,
        t_max: float,
    ) -> State:
        """Replaces the states of some items by what the model makes of a later one."""
        rows = torch.nonzero(item_uniform(item, self.seed, OWN) < self.own)[:, 0].to(state.t.device)
        if len(rows) == 0:
            return state
        x0, y, z, t = state.x0[rows], state.y[rows], state.z[rows], state.t[rows]
        later = t + item_uniform(item, self.seed, START).float().to(t.device)[rows] * (t_max - t)
        start = process.mean(x0, y, later) + over_items(process.std(later), x0) * z
        with torch.no_grad():
            clean = estimate(start, y, later)
        x_t = denoising_step(process, start, clean, y, later, t)
        std = over_items(process.std(t), x0)
        # The noise by which this state differs from its mean: what leads from here to the clean speech.
        z = torch.where(std > 0, (x_t - process.mean(x0, y, t)) / std.clamp(min=1e-8), 0.0)
        return state._replace(x_t=state.x_t.index_copy(0, rows, x_t), z=state.z.index_copy(0, rows, z))
