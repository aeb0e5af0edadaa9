"""Low-rank adaptation: nothing changes at first, little is trained, and the result is a plain model."""

import pytest
import torch

import audio_enh
from audio_enh.losses import WaveformL1Loss, WeightedLoss
from audio_enh.models.universe import Universe
from audio_enh.training import recipes
from audio_enh.training.lora import LowRank, add_lora, merge_lora
from audio_enh.training.universe import UniverseRegression
from tests.training.test_recipes import a_batch
from tests.training.test_universe import PLUS_PLUS


def small(weight_normalised=True):
    torch.manual_seed(0)
    return Universe(
        channels=2,
        mel_bands=16,
        embedding="sinusoid",
        embedding_dimensions=16,
        weight_normalised=weight_normalised,
        head="decoupling",
        preconditioning="edm",
    )


def test_tunes_a_model_and_merges_into_a_plain_one():
    model = small()
    audio = 0.1 * torch.randn(1, 3200)
    before = model.enhance(audio, steps=2)
    weights = {name: value.clone() for name, value in model.condition.encoder.gru.named_parameters()}
    add_lora(model, rank=2, alpha=4.0)
    torch.testing.assert_close(model.enhance(audio, steps=2), before, atol=1e-5, rtol=1e-3)

    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all(name.endswith((".up", ".down", "bias")) for name in trained)
    objective = UniverseRegression(WeightedLoss({"l1": WaveformL1Loss()}, {"l1": 1.0}))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(6):
        total, _ = objective(model, a_batch(16000))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[-1] < losses[0]

    tuned = model.enhance(audio, steps=2)
    assert not torch.allclose(tuned, before, rtol=1e-2)
    merge_lora(model)
    torch.testing.assert_close(model.enhance(audio, steps=2), tuned, atol=1e-5, rtol=1e-3)
    plain = small(weight_normalised=False)
    assert set(model.state_dict()) == set(plain.state_dict())
    plain.load_state_dict(model.state_dict())
    for name, value in model.condition.encoder.gru.named_parameters():
        assert torch.equal(value, weights[name])


@pytest.mark.slow
def test_a_recipe_tunes_a_checkpoint(tmp_path, debug_run):
    """Adversarially trained, then tuned: the outcome is a checkpoint like any other, near the first one."""
    common = [*PLUS_PLUS, f"data.cache={debug_run / 'cache'}", "trainer.max_steps=3"]
    first, tuned = tmp_path / "first", tmp_path / "tuned"
    recipes.train([*common, f"out={tmp_path / 'a'}", f"export={first}"])
    recipes.train(
        [*common, f"out={tmp_path / 'b'}", f"export={tuned}", f"init_from={first}", "lora={rank:2,alpha:4}"]
    )
    before, after = (audio_enh.load(folder, device="cpu").model for folder in (first, tuned))
    assert not any("parametrizations" in key for key in after.state_dict())
    recurrent = [dict(model.condition.encoder.gru.named_parameters()) for model in (before, after)]
    for name, value in recurrent[0].items():
        assert torch.equal(value, recurrent[1][name])
    weights = [model.condition.encoder.conv_block1.conv1.conv.weight for model in (before, after)]
    change = weights[1] - weights[0]
    assert change.abs().max() > 0
    assert torch.linalg.matrix_rank(change.flatten(1), atol=1e-5) <= 2


def test_change_is_of_the_rank_asked_for():
    weight = torch.randn(8, 4, 3)
    change = LowRank(weight, rank=2, alpha=4.0)
    assert torch.equal(change(weight), weight)
    change.up.data.normal_()
    difference = (change(weight) - weight).detach().flatten(1)
    assert torch.linalg.matrix_rank(difference) == 2
    assert LowRank(weight, rank=100, alpha=4.0).up.shape == (8, 8)
    with pytest.raises(ValueError, match="rank"):
        add_lora(small(), rank=0)
