"""The Lightning task: a model, an objective, an optimiser, and validation by the evaluator's metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from audio_enh.data.datasets import Batch, TrainingData
from audio_enh.errors import UserError
from audio_enh.eval.arrays import VALIDATION_METRICS, select_metrics
from audio_enh.models.base import EnhancementModel
from audio_enh.training.finite import FiniteSteps, mark_broken
from audio_enh.training.optimisers import fuse
from audio_enh.training.scores import ValidationScores


class Objective(Protocol):
    """What training minimises; an ``nn.Module`` without parameters of its own.

    Attributes:
        trained: names of the model's parts that it trains, the others stay as they are; empty: all are trained.
    """

    trained: tuple[str, ...]

    def __call__(self, model: EnhancementModel, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimise, the mean over the batch, and parts of it to log."""

    def enhance(self, model: EnhancementModel, batch: Batch) -> Tensor:
        """``(batch, samples)``: what the model makes of the noisy signals, for validation."""


class EnhancementTask(lightning.LightningModule):
    """Training of a model that maps noisy to clean waveforms, by any objective.

    Args:
        model: the network.
        objective: what training minimises.
        optimizer: makes an optimiser from parameters.
        total_steps: at which the learning rate's cosine reaches ``final_lr_scale``, -1 for never; with a limit on the
            trainer's time (``trainer.max_time``) it does so at that time if that comes first.
        warmup_steps: of a linear rise of the learning rate, before the cosine.
        final_lr_scale: learning rate at the end, as a part of the highest.
        cosine_from: step at which the cosine begins; None: after the warm-up.
        audio_examples: validation items logged as audio and spectrogram.
        metrics: of validation, names from ``audio_enh.eval.metrics.METRICS``; ``valid/quality`` needs the default
            ones. Where the data module has groups of items, each metric is logged for each as well.

    Raises:
        UserError: an unknown metric, or a package that it needs is missing.
    """

    def __init__(
        self,
        model: EnhancementModel,
        objective: Objective,
        optimizer: partial[Optimizer],
        total_steps: int,
        warmup_steps: int = 200,
        final_lr_scale: float = 0.02,
        audio_examples: int = 3,
        metrics: Sequence[str] = VALIDATION_METRICS,
        cosine_from: int | None = None,
    ):
        super().__init__()
        self.model = model
        self.objective = objective
        self.make_optimizer = optimizer
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.final_lr_scale = final_lr_scale
        self.cosine_from = warmup_steps if cosine_from is None else cosine_from
        self.audio_examples = audio_examples
        self.examples: list[tuple[Tensor, Tensor, Tensor]] = []
        self.metrics = select_metrics(metrics)
        for metric in self.metrics:
            if metric.needs == "transcript":
                raise UserError(
                    f"task.metrics: {metric.name} needs what is said, which training does not know"
                )
        self.scores = ValidationScores(self.metrics)
        self.steps = FiniteSteps()
        self.items = torch.zeros(1, dtype=torch.int64)
        if objective.trained:
            for name, part in model.named_children():
                if name not in objective.trained:
                    part.requires_grad_(False).eval()  # the statistics of batch normalisation stay, too

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self.objective(self.model, batch)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        total, parts = self(batch)
        several = self.trainer.world_size > 1
        values = {"loss": total.detach(), **parts}
        self.log_dict(
            {f"train/{name}": value for name, value in values.items()},
            prog_bar=True,
            batch_size=len(batch.noisy),
            sync_dist=several,
        )
        return mark_broken(total)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self.steps.remember(self)
        self.items = batch.item

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.check_step(self.steps, [p for group in optimizer.param_groups for p in group["params"]])

    def check_step(self, steps: FiniteSteps, parameters: Sequence[Tensor]) -> None:
        """Take away a gradient that is not finite; see :class:`FiniteSteps`."""
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        steps.check(self, parameters, self.items, scaled)

    def on_fit_start(self) -> None:
        logged = [f"valid/{name}" for name in self._new_scores().logged]
        for callback in self.trainer.checkpoint_callbacks:
            monitor = callback.monitor if isinstance(callback, ModelCheckpoint) else None
            if monitor is not None and monitor.startswith("valid/") and monitor not in logged:
                raise UserError(f"monitor={monitor} is not measured: there are {', '.join(logged)}")

    def on_validation_epoch_start(self) -> None:
        self.examples = []
        self.scores = self._new_scores()

    def validation_step(self, batch: Batch, index: int) -> None:
        total, _ = self(batch)
        self.scores.add_loss(float(total), len(batch.noisy))
        estimate = self.objective.enhance(self.model, batch)
        for item, clean, noisy, out in zip(batch.item, batch.clean, batch.noisy, estimate, strict=True):
            if len(self.examples) < self.audio_examples:
                self.examples.append((noisy.cpu(), out.float().cpu(), clean.cpu()))
            signals = (signal.float().cpu().numpy() for signal in (noisy, out, clean))
            self.scores.add(int(item), self.model.sample_rate, *signals)

    def on_validation_epoch_end(self) -> None:
        means, of_groups = self.scores.means(self._add_up)
        # The values are the same in all processes already; without sync_dist Lightning would warn.
        for values, shown in ((means, True), (of_groups, False)):
            self.log_dict({f"valid/{k}": v for k, v in values.items()}, prog_bar=shown, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.new_optimizer(self.model)
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer)}

    def new_optimizer(self, module: torch.nn.Module) -> Optimizer:
        """An optimiser of what a module is to learn.

        Raises:
            UserError: it refuses its settings.
        """
        try:
            optimizer = self.make_optimizer(p for p in module.parameters() if p.requires_grad)
        except (TypeError, ValueError) as error:
            raise UserError(f"recipe: optim.optimizer: {' '.join(str(error).split())}") from error
        fuse(optimizer)
        return optimizer

    def make_schedule(self, optimizer: Optimizer) -> LRSchedulerConfigType:
        """The learning rate: a linear rise by steps, under a cosine by steps or by the clock, whichever is first."""

        def scale(step: int) -> float:
            rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
            progress = self._part_of_time()
            if self.total_steps >= 0:
                rest = max(1, self.total_steps - self.cosine_from)
                progress = max(progress, (step - self.cosine_from) / rest)
            cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
            return min(rise, self.final_lr_scale + (1 - self.final_lr_scale) * cosine)

        return {"scheduler": LambdaLR(optimizer, scale), "interval": "step"}

    def _part_of_time(self) -> float:
        """How much of ``trainer.max_time`` has passed, of all runs together; 0 without a limit."""
        trainer = self._trainer  # None outside of a run
        callbacks = getattr(trainer, "callbacks", [])  # which Lightning does not declare
        timer = next((callback for callback in callbacks if isinstance(callback, Timer)), None)
        remaining = timer.time_remaining() if timer else None
        if trainer is None or timer is None or remaining is None:
            return 0.0
        elapsed = timer.time_elapsed()
        # All processes must take the same step, and their clocks differ.
        return float(trainer.strategy.broadcast(elapsed / max(elapsed + remaining, 1e-9)))

    def _new_scores(self) -> ValidationScores:
        data = getattr(self.trainer, "datamodule", None)
        return ValidationScores(self.metrics, data.valid_groups if isinstance(data, TrainingData) else ())

    def _add_up(self, values: np.ndarray) -> np.ndarray:
        """The sum over all processes."""
        total = torch.tensor(values, dtype=torch.float32, device=self.device)
        return self.trainer.strategy.reduce(total, reduce_op="sum").cpu().numpy()
