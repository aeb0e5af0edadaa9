"""Learning from a trained model beside the clean speech."""

from __future__ import annotations

import torch
from torch import Tensor

from audio_enh.data.datasets import Batch
from audio_enh.errors import UserError
from audio_enh.inference.checkpoint import load_model
from audio_enh.losses import WeightedLoss
from audio_enh.models.base import EnhancementModel
from audio_enh.training.supervised import Supervised, within_bandwidth


class Distillation(Supervised):
    """The loss to the clean speech, and the same loss to what a teacher makes of the noisy signal.

    The teacher's output is what a model can make of the mixture at all: nearer to what the student can reach than the
    clean speech is, where noise hides that (Hinton et al. 2015, arXiv 1503.02531). The teacher need not be causal.

    Args:
        loss: takes estimate, target and noisy.
        teacher: a checkpoint's name or folder.
        weight: of the teacher, between 0 (not heard) and 1 (heard alone).
    """

    def __init__(self, loss: WeightedLoss, teacher: str, weight: float = 0.5):
        super().__init__(loss)
        if not 0 <= weight <= 1:
            raise UserError(f"objective.weight={weight} must be between 0 and 1")
        model, _ = load_model(teacher, "cpu")
        # In a tuple, or it would be trained, averaged and saved with the student.
        self._teacher = (model,)
        self.weight = weight

    def forward(self, model: EnhancementModel, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        (teacher,) = self._teacher
        if teacher.sample_rate != model.sample_rate:
            raise UserError(
                f"the teacher works at {teacher.sample_rate} Hz, the model at {model.sample_rate}"
            )
        estimate = model(batch.noisy)
        with torch.autocast(estimate.device.type, enabled=False):
            with torch.no_grad():
                heard = teacher.to(batch.noisy.device)(batch.noisy)
            estimate, clean, heard, noisy = within_bandwidth(
                batch.bandwidth, model.sample_rate, estimate.float(), batch.clean, heard, batch.noisy
            )
            total, parts = self.loss(estimate, clean, noisy)
            taught, _ = self.loss(estimate, heard, noisy)
            return (1 - self.weight) * total + self.weight * taught, {**parts, "teacher": taught}
