r"""What diffusion models are trained for: score matching, denoising, data prediction, flow matching.

One training item: a time ``t`` is drawn, the state ``x_t = mean(x0, y, t) + std(t) z`` is made from the clean
coefficients ``x0``, the noisy ones ``y`` and noise ``z`` (:mod:`audio_enh.diffusion.training_states`), and the
model's prediction at that state is compared with what it should have been. Losses are computed in single
precision, whatever the network runs in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from audio_enh.diffusion.sdes import Process, over_items
from audio_enh.diffusion.training_states import State, TrainingStates


class Items(Protocol):
    """What is used of a training batch."""

    noisy: Tensor
    clean: Tensor
    item: Tensor


class Debiasing:
    r"""Loss weights of Yu et al. 2024 (arXiv 2310.08442): noise prediction weighted by ``1 / sqrt(SNR)``.

    With equal weights the error of the *clean* estimate that a given error of the noise stands for grows without
    bound towards high noise; with ``1 / SNR`` low noise would not count. ``sqrt(SNR) = a / std``, ``a`` being the
    clean signal's weight in the mean. For losses on the clean estimate, whose square is ``SNR`` times smaller,
    the same weighting is ``sqrt(SNR)``.

    Args:
        limit: weights are cut at this many times their median.
    """

    def __init__(self, limit: float = 5.0):
        self.limit = limit

    def __call__(self, process: Process, t: Tensor, span: tuple[float, float], of_clean: bool) -> Tensor:
        """Weights ``(batch,)`` for times ``(batch,)``; the mean over ``span`` is 1."""
        grid = torch.linspace(*span, 256, device=t.device)
        raw = self._ratio(process, grid, of_clean)
        typical = raw.quantile(0.5)
        clipped = raw.clamp(max=self.limit * typical)
        return self._ratio(process, t, of_clean).clamp(max=self.limit * typical) / clipped.mean()

    @staticmethod
    def _ratio(process: Process, t: Tensor, of_clean: bool) -> Tensor:
        ratio = process.std(t).clamp(min=1e-6) / process.mean_weights(t)[0].clamp(min=1e-6)
        return 1 / ratio if of_clean else ratio


class DiffusionModel(Protocol):
    """What an objective asks of a model."""

    process: Process

    def analyse(self, noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...

    def synthesise(self, coefficients: Tensor, length: int, level: Tensor) -> Tensor: ...

    def score(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor: ...

    def denoise(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor: ...

    def velocity(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor: ...

    def enhance(self, audio: Tensor, *, seed: int) -> Tensor: ...


class DiffusionObjective(nn.Module, ABC):
    """What the objectives have in common.

    Args:
        states: draws times and states.
        debiasing: weights of the times; None: all equal.
    """

    trained: tuple[str, ...] = ()
    #: Whether the loss is of the clean estimate, or else of the noise.
    of_clean: bool

    def __init__(self, states: TrainingStates | None = None, debiasing: Debiasing | None = None):
        super().__init__()
        self.states = states if states is not None else TrainingStates()
        self.debiasing = debiasing

    def forward(self, model: DiffusionModel, batch: Items) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimise, and parts of it to log."""
        process, span = model.process, self.states.span(model.process)
        with torch.autocast(batch.noisy.device.type, enabled=False):
            y, x0, level = model.analyse(batch.noisy, batch.clean)
        state = self.states(process, model.denoise, x0, y, batch.item)
        prediction = self.predict(model, state)
        with torch.autocast(batch.noisy.device.type, enabled=False):
            losses = self.compare(model, state, prediction)
            weights = self.states.times.weight(state.t, *span)
            self.states.times.observe(state.t, losses, *span)
            if self.debiasing is not None:
                weights = weights * self.debiasing(process, state.t, span, self.of_clean)
            total = (weights * losses).mean()
            extra, parts = self.extra(model, batch, prediction, level)
            return total + extra, {"diffusion": total.detach(), **parts}

    def enhance(self, model: DiffusionModel, batch: Items) -> Tensor:
        """``(batch, samples)`` by the model's own sampler, as at inference."""
        return model.enhance(batch.noisy, seed=0)

    @abstractmethod
    def predict(self, model: DiffusionModel, state: State) -> Tensor:
        """The model's answer, in the form that is compared."""

    @abstractmethod
    def compare(self, model: DiffusionModel, state: State, prediction: Tensor) -> Tensor:
        """The loss of each item, ``(batch,)``."""

    def extra(
        self, model: DiffusionModel, batch: Items, prediction: Tensor, level: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Terms without a weight by time, and what to log of them."""
        return prediction.real.new_zeros(()), {}


class ScoreMatching(DiffusionObjective):
    r"""Denoising score matching, Song et al. 2021 (arXiv 2011.13456), as in Richter et al. 2023 (arXiv 2208.05830).

    .. math:: \tfrac 1 2 \sum | \sigma_t s(x_t, y, t) + z |^2
    """

    of_clean = False

    def predict(self, model: DiffusionModel, state: State) -> Tensor:
        return model.score(state.x_t, state.y, state.t)

    def compare(self, model: DiffusionModel, state: State, prediction: Tensor) -> Tensor:
        std = over_items(model.process.std(state.t), state.z)
        return 0.5 * _square(std * prediction + state.z).flatten(1).sum(dim=1)


class Denoising(DiffusionObjective):
    r"""The denoiser ``D`` implied by the score against the mean of the state: Karras et al. 2022 (arXiv 2206.00364).

    .. math:: \tfrac 1 2 \lambda(\sigma_t) \sum | D(x_t, y, t) - mean(x_0, y, t) |^2, \quad D = x_t + \sigma_t^2 s

    with ``lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2``, each item's own, by which every time has
    about the same loss at the start.

    Args:
        sigma_data: standard deviation of the coefficients, that of the model's preconditioning.
        states, debiasing: see :class:`DiffusionObjective`.
    """

    of_clean = True

    def __init__(
        self,
        sigma_data: float = 0.1,
        states: TrainingStates | None = None,
        debiasing: Debiasing | None = None,
    ):
        super().__init__(states, debiasing)
        self.sigma_data = sigma_data

    def predict(self, model: DiffusionModel, state: State) -> Tensor:
        std = over_items(model.process.std(state.t), state.z)
        return state.x_t + std.square() * model.score(state.x_t, state.y, state.t)

    def compare(self, model: DiffusionModel, state: State, prediction: Tensor) -> Tensor:
        std = model.process.std(state.t)
        weight = (std.square() + self.sigma_data**2) / (std * self.sigma_data).square()
        error = _square(prediction - model.process.mean(state.x0, state.y, state.t))
        return 0.5 * weight * error.flatten(1).sum(dim=1)


class DataPrediction(DiffusionObjective):
    r"""The clean coefficients themselves, and the waveform they give: Jukic et al. 2024 (arXiv 2407.16074).

    .. math:: \tfrac w 2 \, mean | \hat x_0 - x_0 |^2 + L(\hat x, x)

    The signals are those divided by the level the model divides them by.

    Richter et al. 2024 (arXiv 2409.10753) add L1 and PESQ terms as ``L``; multi-resolution spectra teach faster.

    Args:
        waveform: takes estimate, clean and noisy signals; None for no such term.
        weight: w.
        states, debiasing: see :class:`DiffusionObjective`; debiasing does not touch the waveform term.
    """

    of_clean = True

    def __init__(
        self,
        waveform: nn.Module | None = None,
        weight: float = 1.0,
        states: TrainingStates | None = None,
        debiasing: Debiasing | None = None,
    ):
        super().__init__(states, debiasing)
        self.waveform = waveform
        self.weight = weight

    def predict(self, model: DiffusionModel, state: State) -> Tensor:
        return model.denoise(state.x_t, state.y, state.t)

    def compare(self, model: DiffusionModel, state: State, prediction: Tensor) -> Tensor:
        return 0.5 * self.weight * _square(prediction - state.x0).flatten(1).mean(dim=1)

    def extra(
        self, model: DiffusionModel, batch: Items, prediction: Tensor, level: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self.waveform is None:
            return super().extra(model, batch, prediction, level)
        estimate = model.synthesise(prediction, batch.noisy.shape[-1], torch.ones_like(level))
        return self.waveform(estimate, batch.clean / level, batch.noisy / level)


class FlowMatching(DiffusionObjective):
    r"""The velocity of the straight path from clean to noisy: Heitz et al. 2023 (arXiv 2305.03486), Lipman et al.
    2023 (arXiv 2210.02747).

    .. math:: mean | v(x_t, y, t) - (x_t - x_0) / t |^2

    The target is ``y - x0`` for a process without noise.
    """

    of_clean = False

    def predict(self, model: DiffusionModel, state: State) -> Tensor:
        return model.velocity(state.x_t, state.y, state.t)

    def compare(self, model: DiffusionModel, state: State, prediction: Tensor) -> Tensor:
        target = (state.x_t - state.x0) / over_items(state.t, state.x0)
        return _square(prediction - target).flatten(1).mean(dim=1)


def _square(x: Tensor) -> Tensor:
    """``|x|^2``, real; unlike ``abs`` with a gradient everywhere."""
    return x.real.square() + x.imag.square() if x.is_complex() else x.square()
