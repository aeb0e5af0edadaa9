"""Diffusion models train like the others: export, exact resume, any share of the items."""

import hydra
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import audio_enh
from audio_enh.training import recipes
from tests.training.test_recipes import a_batch, composed

DEBUG = "experiment=debug_diffusion"
SMALL = (
    "+model.network.channels=[8,16]",
    "+model.network.rnn_hidden=16",
    "+model.network.rnn_layers=1",
)


def last(run):
    return torch.load(run / "weights" / "last.ckpt", weights_only=False)


def losses(run) -> list[float]:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [event.value for event in sorted(events.Scalars("train/loss"), key=lambda event: event.step)]


@pytest.fixture(scope="module")
def diffusion_run(tmp_path_factory, debug_run):
    out = tmp_path_factory.mktemp("diffusion")
    cache = f"data.cache={debug_run / 'cache'}"
    # Own states and importance-sampled times, so that their random numbers and memory are in it as well.
    switches = ["objective.states.own=0.5", "times=importance", "objective.states.times.bins=2"]
    common = [DEBUG, *SMALL, cache, *switches]
    recipes.train([*common, f"out={out / 'whole'}", f"export={out / 'model'}"])
    recipes.train([*common, f"out={out / 'broken'}", "+trainer.max_epochs=1"])
    recipes.train([*common, f"out={out / 'broken'}"])
    return out


def test_resumed_run_has_the_losses_of_the_unbroken_one(diffusion_run):
    whole, broken = losses(diffusion_run / "whole"), losses(diffusion_run / "broken")
    assert len(whole) == len(broken) == 6
    assert broken == pytest.approx(whole, rel=1e-5)
    resumed, unbroken = last(diffusion_run / "broken"), last(diffusion_run / "whole")
    for states in ("current_model_state", "state_dict"):
        for key, value in unbroken[states].items():
            torch.testing.assert_close(resumed[states][key], value, atol=1e-6, rtol=1e-5, msg=key)


def test_validation_does_not_touch_the_raw_weights(diffusion_run):
    """After validation training goes on from raw weights: the averaged ones lag behind them."""
    content = last(diffusion_run / "whole")
    raw, averaged = content["current_model_state"], content["state_dict"]
    assert any(not torch.equal(raw[key], averaged[key]) for key in raw if raw[key].is_floating_point())


def test_exported_model_enhances(diffusion_run):
    enhancer = audio_enh.load(diffusion_run / "model", device="cpu")
    audio = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 0.1
    enhanced = enhancer.enhance(audio, 16000, seed=1)
    assert enhanced.shape == audio.shape
    assert np.isfinite(enhanced).all()


@pytest.mark.parametrize("objective", ["score_matching", "denoising", "data_prediction", "flow_matching"])
def test_loss_falls(objective):
    """Twenty steps on one batch."""
    process = {"flow_matching": "flow", "data_prediction": "sbve"}.get(objective, "ouve")
    config = composed(
        *(DEBUG, f"objective={objective}", f"process={process}"),
        *SMALL,
    )
    torch.manual_seed(0)
    model = hydra.utils.instantiate(config.model).train()
    loss = hydra.utils.instantiate(config.objective)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    values = []
    for _ in range(20):
        total, _ = loss(model, a_batch(16000, 1.0))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(float(total.detach()))
    assert np.mean(values[-3:]) < 0.9 * np.mean(values[:3])


def test_loss_does_not_depend_on_how_items_are_shared_out():
    config = composed(DEBUG, *SMALL)
    model = hydra.utils.instantiate(config.model).eval()
    loss = hydra.utils.instantiate(config.objective).eval()
    batch = a_batch(16000, 1.0)
    whole, _ = loss(model, batch)
    parts = [loss(model, type(batch)(*(field[i : i + 1] for field in batch[:4])))[0] for i in range(2)]
    assert float(whole) == pytest.approx(float(sum(parts)) / 2, rel=1e-4)
