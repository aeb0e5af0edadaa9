"""Callbacks: averaged weights, and what one wants to hear and see in TensorBoard."""

from __future__ import annotations

import csv
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from audio_enh.training.task import EnhancementTask


class EMA(WeightAveraging):
    """Exponential moving average of the weights, with the warm-up ``min(decay, (1 + n) / (10 + n))``.

    Lightning swaps the averaged weights in for validation and saving, and the raw ones back for training.
    Checkpoints hold the average as the model's state and the raw weights beside it.

    Args:
        decay: weight of the past at each step.
    """

    def __init__(self, decay: float = 0.999):
        # All tensors of a call have one type.
        def average(averaged: list[torch.Tensor], current: list[torch.Tensor], count: torch.Tensor) -> None:
            n = float(count)
            keep = min(decay, (1 + n) / (10 + n))
            if averaged[0].is_floating_point():
                torch._foreach_lerp_(averaged, current, 1 - keep)
            else:  # counters of normalisation layers
                torch._foreach_copy_(averaged, current)

        super().__init__(multi_avg_fn=average)

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if trainer.precision == "64-true" and self._average_model is not None:
            self._average_model.double()  # as Lightning makes the model later


class AudioLog(Callback):
    """Writes the validation examples to TensorBoard: noisy, enhanced and clean, to hear and as spectrograms."""

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        if not isinstance(trainer.logger, TensorBoardLogger) or not isinstance(pl_module, EnhancementTask):
            return
        board, step, rate = trainer.logger.experiment, trainer.global_step, pl_module.model.sample_rate
        for i, signals in enumerate(pl_module.examples):
            peak = max(float(s.abs().max()) for s in signals) + 1e-9
            for name, audio in zip(("noisy", "enhanced", "clean"), signals, strict=True):
                board.add_audio(f"example_{i}/{name}", audio[None] / peak, step, sample_rate=rate)
                board.add_image(f"example_{i}/{name}", _spectrogram(audio), step)


def keep_rows(logger: CSVLogger, step: int) -> None:
    """Let a logger go on with its ``metrics.csv`` of an earlier start, which Lightning would delete.

    Args:
        logger: not used yet.
        step: that the run goes on from; what was logged later will be again.
    """
    path = Path(logger.log_dir, "metrics.csv")
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or ())
        rows = [row for row in reader if int(row["step"]) < step]
    writer = logger.experiment
    with path.open("w", newline="", encoding="utf-8") as file:
        copy = csv.DictWriter(file, names)
        copy.writeheader()
        copy.writerows(rows)
    writer.metrics_keys = names  # to which the logger adds new ones


def _spectrogram(audio: torch.Tensor) -> torch.Tensor:
    """Log-magnitude picture ``(1, bins, frames)`` between 0 and 1 over 80 dB, low frequencies at the bottom."""
    magnitude = torch.stft(audio.float(), 512, 128, window=torch.hann_window(512), return_complex=True).abs()
    decibel = 20 * torch.log10(magnitude / (magnitude.max() + 1e-9) + 1e-9)
    return (decibel / 80 + 1).clamp(0, 1).flip(0)[None]
