r"""What UNIVERSE is trained for: the score, and a second loss on what the condition network makes of the signal.

One training item: a time is drawn, the clean signal gets noise of the level ``sigma`` of that time, and the score
network is asked for it: ``mean (sigma s + z)^2``. The objectives differ in what they ask of the condition network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_enh.data.datasets import Batch
from audio_enh.diffusion.training_noise import item_noise
from audio_enh.diffusion.training_times import TrainingTimes, UniformTimes, even_variates
from audio_enh.losses import WeightedLoss
from audio_enh.losses.adversarial import discriminator_loss, feature_matching_loss, generator_loss
from audio_enh.losses.mixture_density import mixture_nll
from audio_enh.models.universe import Universe
from audio_enh.models.universe.discriminators import Discriminators

TargetLevel = Literal["own", "noisy"]


class NetworkOutputs(NamedTuple):
    """What the networks made of a batch.

    Attributes:
        score: score matching loss, a scalar.
        clean, noisy: signals at the networks' level, ``(batch, samples)``.
        features, latent: of the condition network.
        estimate: its own, ``(batch, samples)``.
    """

    score: Tensor
    clean: Tensor
    noisy: Tensor
    features: Tensor
    latent: Tensor
    estimate: Tensor


class UniverseObjective(nn.Module, ABC):
    """What the objectives have in common.

    Args:
        times: distribution of the times.
        target_level: "own": clean signals are brought to the networks' level by themselves, as in the papers, so that
            the model also restores the level; "noisy": they get the gain of their damaged signals.
        seed: of all draws; an item's depend on its number alone.
    """

    trained: tuple[str, ...] = ()

    def __init__(
        self,
        times: TrainingTimes | None = None,
        target_level: TargetLevel = "own",
        seed: int = 0,
    ):
        super().__init__()
        if target_level not in ("own", "noisy"):
            raise ValueError(f"target_level must be own or noisy, not {target_level!r}")
        self.times = times if times is not None else UniformTimes()
        self.target_level = target_level
        self.seed = seed

    def forward(self, model: Universe, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimise, and parts of it to log."""
        return self.total(model, self.run(model, batch))

    def enhance(self, model: Universe, batch: Batch) -> Tensor:
        """``(batch, samples)`` by the model's own sampler, as at inference."""
        return model.enhance(batch.noisy, seed=0)

    def run(self, model: Universe, batch: Batch) -> NetworkOutputs:
        """One pass of both networks."""
        clean, noisy = self.signals(model, batch)
        conditions, features, latent, estimate = listen(model, noisy)
        made = model.lacking(clean, estimate.detach())
        sigma = model.sigma(self.times(even_variates(batch.item, self.seed), model.sigma, 0.0, 1.0))
        z = item_noise(clean, batch.item, self.seed)
        score = model.score((made + sigma[:, None] * z)[:, None], sigma, conditions)[:, 0]
        with torch.autocast(clean.device.type, enabled=False):
            loss = (sigma[:, None] * score + z).square().mean()
        return NetworkOutputs(loss, clean, noisy, features, latent, estimate)

    def signals(self, model: Universe, batch: Batch) -> tuple[Tensor, Tensor]:
        """Clean and damaged signals as the networks see them, ``(batch, samples)``."""
        like = batch.noisy if self.target_level == "noisy" else None
        clean = model.whole_frames(model.normalise(batch.clean, like))
        return clean, model.whole_frames(model.normalise(batch.noisy))

    @abstractmethod
    def total(self, model: Universe, outcome: NetworkOutputs) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`forward`."""


def listen(model: Universe, noisy: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """What the condition network makes of signals ``(batch, samples)``: conditions, features, latent, estimate."""
    conditions, features, latent = model.condition(noisy[:, None])
    return conditions, features, latent, model.estimate(features, latent, noisy[:, None])[:, 0]


class UniverseLikelihood(UniverseObjective):
    """Mixture densities of the clean signal and of its mel spectrogram: Serra et al. 2022 (arXiv 2206.03065).

    The mel spectrogram that the latent is to tell is divided by its norm, as in the public code: all its values
    together have a square sum of 1.

    Args:
        times, target_level, seed: see :class:`UniverseObjective`.
    """

    def total(self, model: Universe, outcome: NetworkOutputs) -> tuple[Tensor, dict[str, Tensor]]:
        if model.latent_head is None:
            raise ValueError("mixture densities need a model with head=mixture")
        of_signal, of_latent = model.head(outcome.features), model.latent_head(outcome.latent)
        with torch.autocast(outcome.clean.device.type, enabled=False):
            mel = model.condition.input_mel.mel_spec(outcome.clean)
            mel = mel / torch.linalg.vector_norm(mel, dim=(1, 2), keepdim=True).clamp(min=1e-5)
            parts = {
                "score": outcome.score,
                "signal": mixture_nll(outcome.clean[:, None], *of_signal).mean(),
                "latent": mixture_nll(mel, *of_latent).mean(),
            }
            total = parts["score"] + parts["signal"] + parts["latent"]
        return total, detached(parts)


class UniverseRegression(UniverseObjective):
    """A waveform loss on the condition network's estimate, in one pass: what learns fastest.

    Args:
        loss: takes estimate, clean and damaged signals.
        weight: of that loss.
        times, target_level, seed: see :class:`UniverseObjective`.
    """

    def __init__(
        self,
        loss: WeightedLoss,
        weight: float = 1.0,
        times: TrainingTimes | None = None,
        target_level: TargetLevel = "own",
        seed: int = 0,
    ):
        super().__init__(times, target_level, seed)
        self.loss = loss
        self.weight = weight

    def total(self, model: Universe, outcome: NetworkOutputs) -> tuple[Tensor, dict[str, Tensor]]:
        estimate = outcome.estimate
        with torch.autocast(estimate.device.type, enabled=False):
            loss, parts = self.loss(estimate, outcome.clean, outcome.noisy)
            total = outcome.score + self.weight * loss
        return total, detached({"score": outcome.score, **parts})


class UniverseAdversarial(UniverseObjective):
    """Mel L1, least-squares adversarial and feature matching losses on the estimate: Scheibler et al. 2024
    (arXiv 2406.12194).

    The discriminators are this module's; :class:`AdversarialTask` trains them. In validation the loss leaves their
    answers out, which change from step to step and say nothing of the model.

    Args:
        discriminators: see :class:`Discriminators`.
        mel_weight, adversarial_weight, feature_weight: of the terms.
        times, target_level, seed: see :class:`UniverseObjective`.
    """

    def __init__(
        self,
        discriminators: Discriminators,
        mel_weight: float = 45.0,
        adversarial_weight: float = 1.0,
        feature_weight: float = 2.0,
        times: TrainingTimes | None = None,
        target_level: TargetLevel = "own",
        seed: int = 0,
    ):
        super().__init__(times, target_level, seed)
        self.discriminators = discriminators
        self.mel_weight = mel_weight
        self.adversarial_weight = adversarial_weight
        self.feature_weight = feature_weight

    def total(self, model: Universe, outcome: NetworkOutputs) -> tuple[Tensor, dict[str, Tensor]]:
        estimate = outcome.estimate
        with torch.autocast(estimate.device.type, enabled=False):
            mel_spectrogram = model.condition.input_mel.mel_spec
            parts = {
                "score": outcome.score,
                "mel": F.l1_loss(mel_spectrogram(estimate), mel_spectrogram(outcome.clean)),
            }
            total = parts["score"] + self.mel_weight * parts["mel"]
        if self.training:
            made = self.discriminators(estimate)
            with torch.no_grad():
                real = self.discriminators(outcome.clean)
            parts["generator"] = generator_loss([judged.answers.float() for judged in made])
            parts["features"] = feature_matching_loss(
                [judged.features for judged in real], [judged.features for judged in made]
            )
            total = total + self.adversarial_weight * parts["generator"]
            total = total + self.feature_weight * parts["features"]
        return total, detached(parts)

    def discriminator_total(self, clean: Tensor, estimate: Tensor) -> Tensor:
        """What the discriminators minimise, for signals ``(batch, samples)``."""
        real, made = self.discriminators(clean), self.discriminators(estimate.detach())
        return discriminator_loss(
            [judged.answers.float() for judged in real], [judged.answers.float() for judged in made]
        )


def detached(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """What to log of a loss's parts."""
    return {name: part.detach() for name, part in parts.items()}
