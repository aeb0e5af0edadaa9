"""UNIVERSE's networks trained one after the other."""

import pytest
import torch

import audio_enh
from audio_enh.training import recipes
from tests.training.test_recipes import a_batch
from tests.training.test_universe import SMALL, made, on_damage

SECOND = "objective=universe_refinement"


def networks_with_gradient(model):
    return {
        name.split(".")[0]
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 0
    }


@pytest.mark.parametrize(
    ("overrides", "trained"), [((), {"condition", "head"}), ((SECOND,), {"score_network"})]
)
def test_each_stage_trains_its_networks_alone(overrides, trained):
    model, objective = made("universe_lite", *overrides)
    total, _ = objective(model, a_batch(16000))
    total.backward()
    assert networks_with_gradient(model) == trained


def test_first_stage_has_the_loss_of_the_estimate():
    model, objective = made("universe_lite")
    batch = a_batch(16000)
    _, parts = objective(model, batch)
    _, together = made("universe_lite", "objective=universe_regression", "objective.target_level=noisy")
    _, expected = together(model, batch)
    assert parts == {name: value for name, value in expected.items() if name != "score"}
    torch.testing.assert_close(objective.enhance(model, batch), model.enhance(batch.noisy, steps=0))


def exact(model, objective, batch):
    """A score network that knows the answer; what it was asked is noted in the list that is returned."""
    clean, noisy = objective.signals(model, batch)
    _, features, latent = model.condition(noisy[:, None])
    estimate = model.estimate(features, latent, noisy[:, None])
    lacking = model.lacking(clean[:, None], estimate).detach()
    asked = []

    def score(x, sigma, conditions):
        level = sigma[:, None, None]
        target = lacking if len(x) == len(lacking) else lacking[-len(x) :]
        asked.append((x - target) / level)
        return (target - x) / level**2

    model.score = score
    return asked


def test_exact_score_network_has_no_loss_but_that_of_clean_speech():
    model, objective = made("universe_lite", SECOND)
    batch = a_batch(16000)
    exact(model, objective, batch)
    _, parts = objective(model, batch)
    assert parts["score"] < 1e-4
    assert parts["si_sdr"] == -30  # as good as that loss knows


def test_own_states_have_the_noise_of_their_level_and_no_part_in_score_matching():
    model, objective = made("universe_lite", SECOND, "objective.own=1.0")
    batch = a_batch(16000, seconds=2)
    asked = exact(model, objective, batch)
    _, parts = objective(model, batch)
    first, second = asked
    torch.testing.assert_close(second.std(dim=2), torch.ones(2, 1), atol=0.02, rtol=0)
    assert not torch.allclose(first, second, atol=0.1)
    assert parts["score"] == 0


def test_validation_has_plain_states():
    model, objective = made("universe_lite", SECOND, "objective.own=1.0")
    objective.eval()
    asked = exact(model, objective, a_batch(16000))
    objective(model, a_batch(16000))
    assert len(asked) == 1


def test_part_of_own_states_is_checked():
    with pytest.raises(Exception, match="own is a part of the items, 0 to 1, not 2"):
        made("universe_lite", SECOND, "objective.own=2")


def test_two_stages_by_recipe(debug_run, tmp_path):
    common = on_damage(
        debug_run / "cache",
        *SMALL,
        "model.steps=1",
        "data.seconds=0.5",
        "data.valid_seconds=1.0",
        "data.valid_items=2",
        "data.steps_per_epoch=2",
        "data.workers=0",
        "data.batch_size=2",
        "task.metrics=[si_sdr]",
        "monitor=valid/si_sdr",
        "trainer=debug",
        "trainer.max_steps=2",
        "optim.warmup_steps=1",
    )
    first, second = tmp_path / "first", tmp_path / "second"
    recipes.train([*common, f"out={tmp_path / 'a'}", f"export={first}"])
    recipes.train([*common, SECOND, f"init_from={first}", f"out={tmp_path / 'b'}", f"export={second}"])
    before, after = (audio_enh.load(folder, device="cpu").model.state_dict() for folder in (first, second))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith(("condition", "head"))} <= same
    assert any(name.startswith("score_network") for name in before.keys() - same)
