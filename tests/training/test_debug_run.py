"""The debug recipe end to end: train, validate, log, export, resume, average."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import audio_enh
from audio_enh.errors import UserError
from audio_enh.inference.checkpoint import load_model
from audio_enh.training import recipes
from audio_enh.training.run import export


def last(run):
    return torch.load(run / "weights" / "last.ckpt", weights_only=False)


def test_run_exports_a_checkpoint_that_enhances(debug_run):
    enhancer = audio_enh.load(debug_run / "model", device="cpu")
    audio = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 0.1
    assert enhancer.enhance(audio, 16000).shape == audio.shape


def test_exported_weights_are_the_averaged_ones(debug_run):
    enhancer = audio_enh.load(debug_run / "model", device="cpu")
    best = torch.load(next(debug_run.glob("weights/best*.ckpt")), weights_only=False)
    exported = enhancer.model.state_dict()
    averaged = {k.removeprefix("model."): v for k, v in best["state_dict"].items() if k.startswith("model.")}
    raw = {
        k.removeprefix("model."): v for k, v in best["current_model_state"].items() if k.startswith("model.")
    }
    assert all(torch.equal(exported[k], averaged[k]) for k in exported)
    assert any(not torch.equal(exported[k], raw[k]) for k in exported)


def test_a_recipe_of_an_earlier_version_is_exported(debug_run, tmp_path):
    """Recipes had no ``lora`` once."""
    config = OmegaConf.load(debug_run / "recipe.yaml")
    del config["lora"]
    export(config, next(debug_run.glob("weights/best*.ckpt")), tmp_path / "model")
    again, first = (load_model(folder, "cpu")[0] for folder in (tmp_path / "model", debug_run / "model"))
    assert all(torch.equal(value, first.state_dict()[key]) for key, value in again.state_dict().items())


def test_a_trained_model_goes_on_as_a_larger_one(debug_run, tmp_path):
    """What the checkpoint lacks starts from its initial values; there it adds nothing."""
    first, larger = debug_run / "model", tmp_path / "larger"
    recipes.train(
        [
            "experiment=debug",
            f"init_from={first}",
            "model.dual_path=[0,4,4]",
            "optim.optimizer.lr=0",
            f"data.cache={debug_run / 'cache'}",
            f"out={tmp_path / 'run'}",
            f"export={larger}",
        ]
    )
    before, after = (load_model(folder, "cpu")[0] for folder in (first, larger))
    assert sum(p.numel() for p in after.parameters()) > sum(p.numel() for p in before.parameters())
    weights = dict(after.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in before.named_parameters())


def test_log_has_losses_metrics_audio_and_spectrograms(debug_run):
    events = EventAccumulator(str(debug_run / "tensorboard"), size_guidance={"audio": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "train/spectral", "valid/loss", "valid/pesq", "valid/stoi", "valid/si_sdr"} <= set(
        tags["scalars"]
    )
    assert {"example_0/noisy", "example_0/enhanced", "example_0/clean"} <= set(tags["audio"])
    assert "example_0/enhanced" in tags["images"]


def test_resumed_run_goes_on_as_the_unbroken_one(debug_run, tmp_path):
    """Six steps at once, and three steps, a stop, and three more: the same losses and weights."""
    common = ["experiment=debug", f"data.cache={debug_run / 'cache'}", f"out={tmp_path}"]
    # The whole run's schedule, stopped half way: as after a kill, only the last checkpoint is there.
    recipes.train([*common, "+trainer.max_epochs=1"])
    assert last(tmp_path)["global_step"] == 3
    recipes.train(common)
    resumed, unbroken = last(tmp_path), last(debug_run)
    assert resumed["global_step"] == unbroken["global_step"] == 6
    for key, value in unbroken["current_model_state"].items():
        torch.testing.assert_close(resumed["current_model_state"][key], value, atol=1e-6, rtol=1e-5, msg=key)
    for key, value in unbroken["state_dict"].items():
        torch.testing.assert_close(resumed["state_dict"][key], value, atol=1e-6, rtol=1e-5, msg=key)


def test_latest_weights_are_exported_when_nothing_could_be_scored(debug_run, tmp_path):
    """Items without speech have no PESQ: no best weights then."""
    common = ["experiment=debug", f"data.cache={debug_run / 'cache'}", f"out={tmp_path}"]
    recipes.train([*common, "data.valid_mix.noise_only=1.0", f"export={tmp_path / 'model'}"])
    assert last(tmp_path)["global_step"] == 6
    exported = load_model(tmp_path / "model", "cpu")[0].state_dict()
    assert all(torch.equal(v, last(tmp_path)["state_dict"][f"model.{k}"]) for k, v in exported.items())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["experiment=nowhere"], "no experiment/nowhere"),
        (["experiment=debug", "data.sed=1"], "sed"),
        (["experiment=causal_unet", "manifest=/nowhere.csv", "out={tmp}"], "no folder and no CSV manifest"),
        (["experiment=debug", "model.window_length=100", "out={tmp}"], "window_length"),
        (
            ["experiment=debug", "init_from=causal-unet-16k", "out={tmp}"],
            "init_from=causal-unet-16k is another",
        ),
        (["experiment=debug", "task.metrics=[pesk]", "out={tmp}"], "unknown metric 'pesk'"),
        (["experiment=debug", "monitor=valid/dnsmos_ovrl", "out={tmp}"], "dnsmos_ovrl is not measured"),
        (["experiment=debug", "task.metrics=[stoi]", "out={tmp}"], "valid/quality is not measured"),
    ],
)
def test_mistake_in_the_recipe_is_one_line(overrides, said, tmp_path):
    with pytest.raises(UserError) as raised:
        recipes.train([text.format(tmp=tmp_path) for text in overrides])
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
