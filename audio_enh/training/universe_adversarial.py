"""The Lightning task of adversarial training: the model and its discriminators take turns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler, OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from audio_enh.data.datasets import Batch
from audio_enh.errors import UserError
from audio_enh.eval.arrays import VALIDATION_METRICS
from audio_enh.models.universe import Universe
from audio_enh.training.finite import FiniteSteps, mark_broken
from audio_enh.training.task import EnhancementTask
from audio_enh.training.universe import UniverseAdversarial


class AdversarialTask(EnhancementTask):
    """Training of a model and, from the same pass, of the discriminators it is to deceive.

    Lightning's count of steps is that of the model's optimiser. Gradients are clipped here, not by the trainer.

    Args:
        model: the network.
        objective: what training minimises, with the discriminators.
        optimizer: makes an optimiser from parameters, for the model and for the discriminators.
        total_steps, warmup_steps, final_lr_scale, audio_examples, metrics, cosine_from: see
            :class:`EnhancementTask`.
        gradient_clip_val: largest norm of the gradient, of the model's and of the discriminators'.
    """

    # Narrower than in the base class, whose task takes any model.
    model: Universe
    objective: UniverseAdversarial  # type: ignore[assignment]

    def __init__(
        self,
        model: Universe,
        objective: UniverseAdversarial,
        optimizer: partial[Optimizer],
        total_steps: int,
        warmup_steps: int = 20000,
        final_lr_scale: float = 1.0,
        audio_examples: int = 3,
        metrics: Sequence[str] = VALIDATION_METRICS,
        gradient_clip_val: float = 1000.0,
        cosine_from: int | None = None,
    ):
        super().__init__(
            model,
            objective,  # type: ignore[arg-type]
            optimizer,
            total_steps,
            warmup_steps,
            final_lr_scale,
            audio_examples,
            metrics,
            cosine_from,
        )
        self.gradient_clip_val = gradient_clip_val
        self.automatic_optimization = False
        self.judging_steps = FiniteSteps()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        self.judging_steps.remember(self)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        pass  # checked before the gradient is clipped

    def on_fit_start(self) -> None:
        if self.trainer.precision == "16-mixed":
            raise UserError(
                "adversarial training cannot scale gradients: trainer.precision=bf16-mixed or 32-true"
            )
        if self.trainer.world_size > 1:
            raise UserError("adversarial training runs in one process: trainer.devices=1")
        super().on_fit_start()

    def training_step(self, batch: Batch, index: int) -> None:  # type: ignore[override]
        for_model = cast("list[LightningOptimizer]", self.optimizers())[0]
        # Not by Lightning's wrapper, which would count these steps too: the schedule, the sampler of items and the
        # average of the weights go by the count.
        for_discriminators = cast("list[Optimizer]", self.optimizers(use_pl_optimizer=False))[1]
        outcome = self.objective.run(self.model, batch)

        judging = self.objective.discriminator_total(outcome.clean, outcome.estimate)
        self._step(judging, for_discriminators, self.judging_steps)

        # The model's loss goes through the discriminators but leaves no gradient in them.
        self.objective.discriminators.requires_grad_(False)
        total, parts = self.objective.total(self.model, outcome)
        self._step(total, for_model, self.steps)
        self.objective.discriminators.requires_grad_(True)

        for schedule in cast("list[LRScheduler]", self.lr_schedulers()):
            schedule.step()
        values = {"loss": total.detach(), "discriminators": judging.detach(), **parts}
        self.log_dict(
            {f"train/{name}": value for name, value in values.items()},
            prog_bar=True,
            batch_size=len(batch.noisy),
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        modules = (self.model, self.objective.discriminators)
        made = [self.new_optimizer(module) for module in modules]
        return [
            OptimizerLRSchedulerConfig(optimizer=optimizer, lr_scheduler=self.make_schedule(optimizer))
            for optimizer in made
        ]

    def _step(self, loss: Tensor, optimizer: Optimizer | LightningOptimizer, steps: FiniteSteps) -> None:
        optimizer.zero_grad()
        self.manual_backward(mark_broken(loss))
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.check_step(steps, parameters)
        torch.nn.utils.clip_grad_norm_(parameters, self.gradient_clip_val)
        optimizer.step()
