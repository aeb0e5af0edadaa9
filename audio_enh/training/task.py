"""The Lightning task: a model, an objective, an optimiser, and validation by the evaluator's metrics."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from functools import partial
from typing import Protocol

import lightning
import numpy as np
import soxr
import torch
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from audio_enh.data.datasets import Batch
from audio_enh.eval.metrics import MetricError, pesq_wb, si_sdr, stoi
from audio_enh.models.base import EnhancementModel


class Objective(Protocol):
    """What training minimises; an ``nn.Module`` without parameters of its own."""

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
        total_steps: at which the learning rate's cosine reaches ``final_lr_scale``.
        warmup_steps: of a linear rise of the learning rate, before the cosine.
        final_lr_scale: learning rate at the end, as a part of the highest.
        audio_examples: validation items logged as audio and spectrogram.
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
    ):
        super().__init__()
        self.model = model
        self.objective = objective
        self.make_optimizer = optimizer
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.final_lr_scale = final_lr_scale
        self.audio_examples = audio_examples
        self.examples: list[tuple[Tensor, Tensor, Tensor]] = []
        self.scores: dict[str, list[float]] = defaultdict(list)
        self.failures = 0

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
        return total

    def on_validation_epoch_start(self) -> None:
        self.examples, self.failures = [], 0
        self.scores.clear()

    def validation_step(self, batch: Batch, index: int) -> None:
        total, _ = self(batch)
        self.log("valid/loss", total, batch_size=len(batch.noisy), sync_dist=True)
        estimate = self.objective.enhance(self.model, batch)
        for clean, noisy, out in zip(batch.clean, batch.noisy, estimate, strict=True):
            if len(self.examples) < self.audio_examples:
                self.examples.append((noisy.cpu(), out.float().cpu(), clean.cpu()))
            self._score(clean.cpu().numpy(), noisy.cpu().numpy(), out.float().cpu().numpy())

    def on_validation_epoch_end(self) -> None:
        means = self._means()
        # One number to choose weights by: each metric over its useful range, as differences that matter.
        # NaN when no item could be scored.
        means["quality"] = means["pesq"] + 5 * means["stoi"] + means["si_sdr"] / 10
        # The values are the same in all processes already; without sync_dist Lightning would warn.
        self.log_dict(
            {f"valid/{name}": value for name, value in means.items()}, prog_bar=True, sync_dist=True
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer(p for p in self.model.parameters() if p.requires_grad)
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer)}

    def make_schedule(self, optimizer: Optimizer) -> LRSchedulerConfigType:
        """The learning rate by steps: a linear rise, then a cosine."""

        def scale(step: int) -> float:
            if step < self.warmup_steps:
                return (step + 1) / self.warmup_steps
            progress = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
            return self.final_lr_scale + (1 - self.final_lr_scale) * 0.5 * (1 + math.cos(math.pi * progress))

        return {"scheduler": LambdaLR(optimizer, scale), "interval": "step"}

    def _means(self) -> dict[str, float]:
        """Means of the scores over the items of all processes, and how many items had none."""
        names = ("pesq", "stoi", "si_sdr")
        sums = [float(np.sum(self.scores[name])) for name in names]
        counts = [float(len(self.scores[name])) for name in names]
        totals = torch.tensor([*sums, *counts, float(self.failures)], device=self.device)
        totals = self.trainer.strategy.reduce(totals, reduce_op="sum")
        sums, counts, failures = totals[:3].tolist(), totals[3:6].tolist(), float(totals[6])
        means = {name: s / n if n else math.nan for name, s, n in zip(names, sums, counts, strict=True)}
        return {**means, "unscored": failures}

    def _score(self, clean: np.ndarray, noisy: np.ndarray, estimate: np.ndarray) -> None:
        """Adds one item's scores; an item without speech or without noise has none."""
        rate = self.model.sample_rate
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                scores = {
                    "pesq": pesq_wb(_at_16k(clean, rate), _at_16k(estimate, rate), 16000),
                    "stoi": stoi(clean, estimate, rate),
                    "si_sdr": si_sdr(clean, estimate),
                }
        except MetricError:
            self.failures += 1
            return
        if math.isfinite(scores["si_sdr"]):
            for name, value in scores.items():
                self.scores[name].append(value)
        else:
            self.failures += 1


def _at_16k(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """The rate of wide-band PESQ."""
    return audio if sample_rate == 16000 else soxr.resample(audio, sample_rate, 16000)
