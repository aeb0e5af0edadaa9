"""The objective of models that map noisy to clean in one go."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audio_enh.data.datasets import Batch
from audio_enh.losses import WeightedLoss
from audio_enh.models.base import EnhancementModel


class Supervised(nn.Module):
    """A loss between the model's output and the clean speech.

    Args:
        loss: takes estimate, clean and noisy.
    """

    trained: tuple[str, ...] = ()

    def __init__(self, loss: WeightedLoss):
        super().__init__()
        self.loss = loss

    def forward(self, model: EnhancementModel, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        estimate = model(batch.noisy)
        # Spectral losses in full precision, whatever the network ran in.
        with torch.autocast(estimate.device.type, enabled=False):
            return self.loss(estimate.float(), batch.clean, batch.noisy)

    def enhance(self, model: EnhancementModel, batch: Batch) -> Tensor:
        """``(batch, samples)``, computed in full precision."""
        with torch.autocast(batch.noisy.device.type, enabled=False):
            return model(batch.noisy)
