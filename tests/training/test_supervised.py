"""The supervised objective: what it looks at, and what it trains."""

import torch

from audio_enh.data.datasets import Batch
from audio_enh.losses import WaveformL1Loss, WeightedLoss
from audio_enh.models.causal_unet import CausalUNet
from audio_enh.models.full_band import FullBandUNet
from audio_enh.training.run import initialise
from audio_enh.training.supervised import Supervised, within_bandwidth
from audio_enh.training.task import EnhancementTask
from tests.models.test_full_band import LOW, small


def batch(model, bandwidth):
    torch.manual_seed(0)
    clean = 0.1 * torch.randn(2, 9600)
    noisy = clean + 0.1 * torch.randn_like(clean)
    return Batch(noisy, clean, torch.zeros(2), torch.arange(2), torch.tensor(bandwidth))


def test_nothing_is_learnt_above_an_items_bandwidth():
    model = small()
    objective = Supervised(WeightedLoss({"l1": WaveformL1Loss()}, {"l1": 1.0}))
    gradients = []
    for bandwidth in ([torch.inf, torch.inf], [8000.0, 8000.0]):
        model.zero_grad()
        objective(model, batch(model, bandwidth))[0].backward()
        gradients.append(model.to_gains.weight.grad[1:].abs().max())  # the first band begins below 8 kHz
    assert gradients[1] < 0.03 * gradients[0]


def test_signals_keep_what_is_within_their_bandwidth():
    time = torch.arange(48000, dtype=torch.float64) / 48000
    tones = torch.sin(2 * torch.pi * 3000 * time) + torch.sin(2 * torch.pi * 9000 * time)
    both = tones.repeat(2, 1)
    (limited,) = within_bandwidth(torch.tensor([torch.inf, 8000.0]), 48000, both)
    torch.testing.assert_close(limited[0], both[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(limited[1], torch.sin(2 * torch.pi * 3000 * time), atol=1e-4, rtol=0)


def test_default_bandwidth_goes_through_batches():
    item = Batch(torch.zeros(4), torch.zeros(4), torch.tensor(0.0), torch.tensor(0))
    together = torch.utils.data.default_collate([item, item])
    assert together.bandwidth.shape == (2,)
    assert torch.isinf(together.bandwidth).all()


def test_a_part_that_is_not_trained_keeps_its_statistics(tmp_path):
    """Batch normalisation of the frozen U-Net does not follow the new data."""
    model = small().train()
    objective = Supervised(WeightedLoss({"l1": WaveformL1Loss()}, {"l1": 1.0}), trained=["enter", "to_gains"])
    EnhancementTask(model, objective, torch.optim.AdamW, total_steps=1)
    before = {name: value.clone() for name, value in model.low.state_dict().items()}
    objective(model, batch(model, [torch.inf] * 2))[0].backward()
    after = model.low.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.to_gains.weight.grad is not None
    assert not any(p.requires_grad for p in model.low.parameters())


def test_weights_of_a_part_go_to_that_part(tmp_path):
    from audio_enh.inference.checkpoint import save_checkpoint

    low = CausalUNet(**LOW)
    save_checkpoint(tmp_path / "low", low.eval(), {}, arguments=LOW)
    model = FullBandUNet(LOW)
    initialise(model, torch.nn.Identity(), str(tmp_path / "low"))
    for name, value in low.state_dict().items():
        torch.testing.assert_close(model.low.state_dict()[name], value, atol=1e-3, rtol=1e-3)
