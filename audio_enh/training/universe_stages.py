"""UNIVERSE's networks trained one after the other: each has all of the time, and the second a fixed aim. Ours."""

from __future__ import annotations

import torch
from torch import Tensor

from audio_enh.data.datasets import Batch
from audio_enh.diffusion.consistent_annealing import annealing_factors
from audio_enh.diffusion.training_noise import item_noise, item_uniform
from audio_enh.diffusion.training_times import TrainingTimes, even_variates
from audio_enh.losses import WeightedLoss
from audio_enh.models.universe import Universe
from audio_enh.training.universe import TargetLevel, UniverseRegression, detached, listen

# Of each item's draws.
_NOISE, _STEP_NOISE, _OWN, _START = range(4)


class UniverseEstimation(UniverseRegression):
    """First the condition network alone, by a waveform loss on its estimate; the score network is not run.

    Args:
        loss, weight, times, target_level, seed: see :class:`UniverseRegression`.
    """

    trained = ("condition", "head")

    def forward(self, model: Universe, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        clean, noisy = self.signals(model, batch)
        *_, estimate = listen(model, noisy)
        with torch.autocast(estimate.device.type, enabled=False):
            total, parts = self.loss(estimate, clean, noisy)
        return self.weight * total, detached(parts)

    def enhance(self, model: Universe, batch: Batch) -> Tensor:
        """``(batch, samples)`` in one pass, as ``--steps 0``."""
        return model.enhance(batch.noisy, steps=0)


class UniverseRefinement(UniverseRegression):
    """Then the score network alone: the condition network stays as it is.

    Beside score matching, the waveform loss holds for what the score network makes of a state in one step, so that
    few steps already sound well. Some states the model has made itself, by a step of the sampler from a higher noise
    level: so it learns to mend its own errors, as :class:`TrainingStates` has it for SGMSE. They have no part in
    score matching, whose target is the noise of the process.

    Args:
        loss, weight, times, target_level, seed: see :class:`UniverseRegression`.
        own: part of the items whose state the model has made itself, in training.
        score_weight: of score matching.
    """

    trained = ("score_network",)

    def __init__(
        self,
        loss: WeightedLoss,
        weight: float = 1.0,
        times: TrainingTimes | None = None,
        target_level: TargetLevel = "own",
        seed: int = 0,
        own: float = 0.0,
        score_weight: float = 1.0,
    ):
        super().__init__(loss, weight, times, target_level, seed)
        if not 0 <= own <= 1:
            raise ValueError(f"own is a part of the items, 0 to 1, not {own}")
        self.own = own
        self.score_weight = score_weight

    def forward(self, model: Universe, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        clean, noisy = self.signals(model, batch)
        with torch.no_grad():
            conditions, _, _, estimate = listen(model, noisy)
        made = model.lacking(clean, estimate)
        t = self.times(even_variates(batch.item, self.seed), model.sigma, 0.0, 1.0)
        sigma = model.sigma(t)[:, None]
        z = item_noise(made, batch.item, self.seed, _NOISE)
        state = made + sigma * z
        own = torch.zeros(len(made), dtype=torch.bool, device=made.device)
        if self.training and self.own:
            own = (item_uniform(batch.item, self.seed, _OWN) < self.own).to(made.device)
            state = self._with_own(model, batch.item, made, z, conditions, state, sigma, t, own)

        score = model.score(state[:, None], sigma[:, 0], conditions)[:, 0]
        with torch.autocast(clean.device.type, enabled=False):
            denoised = state + sigma.square() * score
            matching = ((denoised - made) / sigma).square().mean(dim=1)[~own].sum() / len(own)
            outcome = model.complete(estimate, denoised)
            loss, parts = self.loss(outcome, clean, noisy)
            total = self.score_weight * matching + self.weight * loss
        return total, detached({"score": matching, **parts})

    def _with_own(
        self,
        model: Universe,
        item: Tensor,
        made: Tensor,
        z: Tensor,
        conditions: list[Tensor],
        state: Tensor,
        sigma: Tensor,
        t: Tensor,
        own: Tensor,
    ) -> Tensor:
        """Replaces the states of some items by what the model makes of a later one."""
        rows = torch.nonzero(own)[:, 0]
        if len(rows) == 0:
            return state
        later = t + item_uniform(item, self.seed, _START).to(t) * (1 - t)
        high = model.sigma(later)[:, None]
        start = (made + high * z)[rows]
        following, high = sigma[rows], high[rows]
        with torch.no_grad():
            score = model.score(start[:, None], high[:, 0], [part[rows] for part in conditions])[:, 0]
        eta, beta = annealing_factors(following / high, model.epsilon)
        noise = item_noise(made, item, self.seed, _STEP_NOISE)[rows]
        stepped = start + eta * high.square() * score + beta * following * noise
        return state.index_copy(0, rows, stepped.to(state))
