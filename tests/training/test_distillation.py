"""Distillation: a teacher that is heard, and neither trained nor saved."""

import pytest
import torch

from audio_enh.data.datasets import Batch
from audio_enh.errors import UserError
from audio_enh.inference.checkpoint import save_checkpoint
from audio_enh.losses import WaveformL1Loss, WeightedLoss
from audio_enh.models.frequency_unet import FrequencyUNet
from audio_enh.training.distillation import Distillation

SMALL = {"channels": (4, 6), "hidden": 8, "blocks": 1, "mixed": 2}
LOSS = WeightedLoss({"l1": WaveformL1Loss()}, {"l1": 1.0})


@pytest.fixture
def teacher(tmp_path):
    torch.manual_seed(1)
    save_checkpoint(tmp_path / "teacher", FrequencyUNet(**SMALL).eval(), {}, arguments=SMALL)
    return str(tmp_path / "teacher")


def a_batch():
    generator = torch.Generator().manual_seed(0)
    noisy, clean = (0.1 * torch.randn(2, 4000, generator=generator) for _ in range(2))
    return Batch(noisy, clean, torch.zeros(2), torch.arange(2))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_teacher_counts_by_its_weight(teacher, weight):
    objective, batch = Distillation(LOSS, teacher, weight), a_batch()
    torch.manual_seed(0)
    model = FrequencyUNet(**SMALL).eval()
    total, parts = objective(model, batch)
    heard = objective._teacher[0](batch.noisy)
    own, _ = LOSS(model(batch.noisy), batch.clean, batch.noisy)
    taught, _ = LOSS(model(batch.noisy), heard, batch.noisy)
    torch.testing.assert_close(total, (1 - weight) * own + weight * taught)
    torch.testing.assert_close(parts["teacher"], taught)


def test_student_learns_and_teacher_stays(teacher):
    objective, batch = Distillation(LOSS, teacher, 1.0), a_batch()
    before = [parameter.clone() for parameter in objective._teacher[0].parameters()]
    torch.manual_seed(0)
    model = FrequencyUNet(**SMALL).train()
    assert not list(objective.parameters())
    assert not objective.state_dict()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        total, _ = objective(model, batch)
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, objective._teacher[0].parameters(), strict=True))


def test_teacher_of_another_rate_or_weight_is_refused(teacher):
    with pytest.raises(UserError, match="between 0 and 1"):
        Distillation(LOSS, teacher, 1.5)
    model = FrequencyUNet(**SMALL, sample_rate=8000)
    with pytest.raises(UserError, match="teacher works at 16000 Hz"):
        Distillation(LOSS, teacher)(model, a_batch())
