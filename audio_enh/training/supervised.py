"""The objective of models that map noisy to clean in one go."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audio_enh.data.datasets import Batch
from audio_enh.losses import WeightedLoss
from audio_enh.models.base import EnhancementModel


class Supervised(nn.Module):
    """A loss between the model's output and the clean speech.

    Args:
        loss: takes estimate, clean and noisy.
        trained: names of the model's parts that are trained, the others stay as they are; empty: all are trained.
    """

    def __init__(self, loss: WeightedLoss, trained: Sequence[str] = ()):
        super().__init__()
        self.loss = loss
        self.trained = tuple(trained)

    def forward(self, model: EnhancementModel, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        estimate = model(batch.noisy)
        # Spectral losses in full precision, whatever the network ran in.
        with torch.autocast(estimate.device.type, enabled=False):
            estimate, clean, noisy = within_bandwidth(
                batch.bandwidth, model.sample_rate, estimate.float(), batch.clean, batch.noisy
            )
            return self.loss(estimate, clean, noisy)

    def enhance(self, model: EnhancementModel, batch: Batch) -> Tensor:
        """``(batch, samples)``, computed in full precision."""
        with torch.autocast(batch.noisy.device.type, enabled=False):
            return model(batch.noisy)


def within_bandwidth(bandwidth: Tensor, sample_rate: int, *signals: Tensor) -> list[Tensor]:
    """Signals without what lies above each item's bandwidth, where the clean one is not to be believed.

    Args:
        bandwidth: in Hz, ``(batch,)`` or one for all; a linear slope of 500 Hz ends there.
        sample_rate: in Hz.
        signals: ``(batch, samples)`` each.
    """
    if bool((bandwidth >= sample_rate / 2).all()):
        return list(signals)
    samples = signals[0].shape[-1]
    frequency = torch.fft.rfftfreq(samples, 1 / sample_rate, device=signals[0].device)
    passed = ((bandwidth.to(frequency).reshape(-1, 1) - frequency) / 500).clamp(0, 1)
    return [torch.fft.irfft(torch.fft.rfft(signal) * passed, samples) for signal in signals]
