"""Averaged weights are for validation and export; training goes on from the raw ones."""

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from audio_enh.training.callbacks import EMA


class Walk(lightning.LightningModule):
    """One weight that gradient descent moves by exactly -1 at every step, and what it was seen to be when."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.in_training, self.in_validation = [], []

    def training_step(self, batch, index):
        self.in_training.append(float(self.weight))
        return self.weight

    def validation_step(self, batch, index):
        self.in_validation.append(float(self.weight))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def averages(steps: int, decay: float) -> list[float]:
    """The average after each step by its definition; the first update copies."""
    mean, out = -1.0, [-1.0]
    for n in range(1, steps):
        keep = min(decay, (1 + n) / (10 + n))
        mean = keep * mean + (1 - keep) * -(n + 1)
        out.append(mean)
    return out


def test_raw_weights_survive_validation(tmp_path):
    task = Walk()
    data = DataLoader(TensorDataset(torch.zeros(4, 1)), batch_size=1)
    lightning.Trainer(
        max_epochs=3,
        callbacks=[EMA(decay=0.5)],
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
    ).fit(task, data, DataLoader(TensorDataset(torch.zeros(1, 1)), batch_size=1))
    assert task.in_training == [-float(n) for n in range(12)]
    expected = averages(12, 0.5)
    torch.testing.assert_close(
        torch.tensor(task.in_validation), torch.tensor([expected[3], expected[7], expected[11]])
    )
    torch.testing.assert_close(float(task.weight), expected[-1])
