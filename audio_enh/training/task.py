"""The Lightning task: a model, a loss, an optimiser, and validation by the evaluator's metrics."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from functools import partial

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from audio_enh.data.datasets import Batch
from audio_enh.eval.metrics import MetricError, pesq_wb, si_sdr, stoi
from audio_enh.losses import WeightedLoss
from audio_enh.models.base import EnhancementModel


class EnhancementTask(lightning.LightningModule):
    """Supervised training of a model that maps noisy to clean waveforms.

    Args:
        model: the network.
        loss: takes estimate, clean and noisy.
        optimizer: makes an optimiser from parameters.
        total_steps: at which the learning rate's cosine reaches ``final_lr_scale``.
        warmup_steps: of a linear rise of the learning rate, before the cosine.
        final_lr_scale: learning rate at the end, as a part of the highest.
        audio_examples: validation items logged as audio and spectrogram.
    """

    def __init__(
        self,
        model: EnhancementModel,
        loss: WeightedLoss,
        optimizer: partial[Optimizer],
        total_steps: int,
        warmup_steps: int = 200,
        final_lr_scale: float = 0.02,
        audio_examples: int = 3,
    ):
        super().__init__()
        self.model = model
        self.loss = loss
        self.make_optimizer = optimizer
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.final_lr_scale = final_lr_scale
        self.audio_examples = audio_examples
        self.examples: list[tuple[Tensor, Tensor, Tensor]] = []
        self.scores: dict[str, list[float]] = defaultdict(list)
        self.failures = 0

    def forward(self, audio: Tensor) -> Tensor:
        return self.model(audio)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        estimate = self.model(batch.noisy)
        # Spectral losses in full precision, whatever the network ran in.
        with torch.autocast(estimate.device.type, enabled=False):
            total, parts = self.loss(estimate.float(), batch.clean, batch.noisy)
        self.log("train/loss", total, prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in parts.items()})
        return total

    def on_validation_epoch_start(self) -> None:
        self.examples, self.failures = [], 0
        self.scores.clear()

    def validation_step(self, batch: Batch, index: int) -> None:
        with torch.autocast(batch.noisy.device.type, enabled=False):
            estimate = self.model(batch.noisy)
            total, _ = self.loss(estimate, batch.clean, batch.noisy)
        self.log("valid/loss", total, batch_size=len(estimate))
        for clean, noisy, out in zip(batch.clean, batch.noisy, estimate, strict=True):
            if len(self.examples) < self.audio_examples:
                self.examples.append((noisy.cpu(), out.cpu(), clean.cpu()))
            self._score(clean.cpu().numpy(), noisy.cpu().numpy(), out.float().cpu().numpy())

    def on_validation_epoch_end(self) -> None:
        means = {name: float(np.mean(values)) for name, values in self.scores.items()}
        means = {name: value for name, value in means.items() if math.isfinite(value)}
        if {"pesq", "stoi", "si_sdr"} <= set(means):
            # One number to choose weights by: each metric over its useful range, as differences that matter.
            means["quality"] = means["pesq"] + 5 * means["stoi"] + means["si_sdr"] / 10
        self.log_dict({f"valid/{name}": value for name, value in means.items()}, prog_bar=True)
        self.log("valid/unscored", float(self.failures))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer(self.model.parameters())

        def scale(step: int) -> float:
            if step < self.warmup_steps:
                return (step + 1) / self.warmup_steps
            progress = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
            return self.final_lr_scale + (1 - self.final_lr_scale) * 0.5 * (1 + math.cos(math.pi * progress))

        schedule: LRSchedulerConfigType = {"scheduler": LambdaLR(optimizer, scale), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _score(self, clean: np.ndarray, noisy: np.ndarray, estimate: np.ndarray) -> None:
        """Adds one item's scores; an item without speech or without noise has none."""
        rate = self.model.sample_rate
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                scores = {
                    "pesq": pesq_wb(clean, estimate, rate),
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
