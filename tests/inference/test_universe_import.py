"""Public UNIVERSE checkpoints: converted whole, averaged weights first, nothing run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from typer.testing import CliRunner

import audio_enh
from audio_enh.cli import app
from audio_enh.errors import CheckpointError
from audio_enh.inference.universe_import import import_universe
from audio_enh.models.universe import Universe
from tests.models.test_universe_networks import golden

CONFIG = {
    "fs": 16000,
    "normalization_norm": 2,
    "normalization_kwargs": {"ref": "both", "level_db": -26.0},
    "score_model": {"n_channels": 4},
    "condition_model": {"n_channels": "${model.score_model.n_channels}"},
    "diffusion": {
        "schedule": "geometric",
        "sigma_min": "5e-4",
        "sigma_max": 5.0,
        "n_steps": 8,
        "epsilon": 1.3,
    },
}


def write(folder: Path, state, config=CONFIG, **more) -> Path:
    """Files of the structure that Lightning, Hydra and the public code write."""
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": config}))
    hyper = OmegaConf.create({"model": config})
    path = folder / "weights.ckpt"
    torch.save({"state_dict": state, "global_step": 300000, "hyper_parameters": hyper, **more}, path)
    return path


def first_universe():
    """The networks that the reference's numbers were made with, and losses of a fixed length."""
    state = {f"score_model.{key}": value for key, value in golden("universe_score")[2].items()}
    state |= {f"condition_model.{key}": value for key, value in golden("universe_condition")[2].items()}
    for name, features, channels, frames in (("signal", 4, 1, 640), ("latent", 32, 20, 20)):
        state |= {
            f"loss_{name}.conv.prelu.weight": torch.tensor([0.25]),
            f"loss_{name}.conv.conv.weight": torch.randn(9 * channels, features, 3),
            f"loss_{name}.conv.conv.bias": torch.randn(9 * channels),
            f"loss_{name}.layer_norm.weight": torch.ones(features, frames),
            f"loss_{name}.layer_norm.bias": torch.zeros(features, frames),
        }
    return state


def test_first_universe_gives_the_references_numbers(tmp_path):
    imported = import_universe(write(tmp_path, first_universe()))
    assert imported is not None
    assert not imported.averaged
    assert imported.step == 300000
    model = imported.model
    assert (model.sigma_min, model.steps, model.preconditioning) == (5e-4, 8, "none")
    (_, of_condition, _), (_, of_score, _) = golden("universe_condition"), golden("universe_score")
    with torch.no_grad():
        conditions, features, _ = model.condition(of_condition["x"])
        score = model.score(of_score["x"], of_score["sigma"], conditions)
    torch.testing.assert_close(features, of_condition["y_hat"], atol=1e-4, rtol=0)
    torch.testing.assert_close(score, of_score["out"], atol=1e-4, rtol=0)


def plus_plus():
    torch.manual_seed(0)
    model = Universe(
        24000,
        2,
        (2, 3, 5, 8),
        16,
        24000,
        "sinusoid",
        embedding_dimensions=16,
        weight_normalised=True,
        antialiasing=True,
        head="decoupling",
        preconditioning="edm",
    ).eval()
    renamed = {
        "score_network.": "_edm_model.",
        "condition.": "condition_model.",
        "head.conv.": "signal_decoupling_layer.conv.",
        "head.snake.log_alpha": "signal_decoupling_layer.prelu.act.act.alpha",
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    state = {}
    for key, value in model.state_dict().items():
        name = key
        for ours, theirs in renamed.items():
            name = name.replace(ours, theirs)
        state[name] = value[None] if "sigma_block" in key else value
    state["_edm_model.encoder.ds_modules.0.rate_change_conv.low_pass_filter.weights"] = torch.zeros(5)
    state["condition_model.input_mel.mel_spec.spectrogram.window"] = torch.zeros(960)
    state["signal_decoupling_layer.prelu.act.upsample.kernel"] = torch.zeros(2, 1, 16)
    state["loss_mrd.discriminators.0.convs.0.bias"] = torch.zeros(32)
    return model, state


CONFIG_PP = {**CONFIG, "fs": 24000, "edm": {"noise": 0.25}}


def test_plus_plus_with_averaged_weights(tmp_path):
    model, state = plus_plus()
    weights = [
        value
        for prefix in ("_edm_model.", "condition_model.", "signal_decoupling_layer.")
        for key, value in state.items()
        if key.startswith(prefix) and not key.endswith((".weights", ".window", ".kernel"))
    ]
    raw = {key: value + 0.1 for key, value in state.items()}
    ema = {"decay": 0.999, "num_updates": 1, "shadow_params": weights}
    imported = import_universe(write(tmp_path, raw, CONFIG_PP, ema=ema))
    assert imported is not None
    assert imported.averaged
    audio = 0.1 * torch.randn(1, 4800)
    torch.testing.assert_close(imported.model.enhance(audio, steps=2), model.enhance(audio, steps=2))
    broken = {**ema, "shadow_params": weights[1:]}
    with pytest.raises(CheckpointError, match="averaged weights"):
        import_universe(write(tmp_path, raw, CONFIG_PP, ema=broken))


def test_command_writes_a_checkpoint_that_loads(tmp_path):
    model, state = plus_plus()
    file = write(tmp_path, state, CONFIG_PP)
    result = CliRunner().invoke(app, ["import-checkpoint", str(file), "-o", str(tmp_path / "made")])
    assert result.exit_code == 0, result.output
    enhancer = audio_enh.load(tmp_path / "made", device="cpu")
    audio = 0.1 * torch.randn(1, 4800)
    torch.testing.assert_close(enhancer.model.enhance(audio, steps=0), model.enhance(audio, steps=0))


def test_level_of_the_data_is_heeded(tmp_path):
    _, state = plus_plus()
    imported = import_universe(
        write(tmp_path, state, {**CONFIG_PP, "edm": {"noise": 0.25, "data_level_db": -20.0}})
    )
    assert imported is not None
    assert imported.model.sigma_data == pytest.approx(0.1)
    assert imported.model.signal_level == pytest.approx(10 ** (-26 / 20))


def test_compiled_models_are_plain_ones(tmp_path):
    model, state = plus_plus()
    imported = import_universe(write(tmp_path, {f"_orig_mod.{k}": v for k, v in state.items()}, CONFIG_PP))
    assert imported is not None
    audio = 0.1 * torch.randn(1, 4800)
    torch.testing.assert_close(imported.model.enhance(audio, steps=1), model.enhance(audio, steps=1))


@pytest.mark.parametrize(
    "change",
    [
        {"edm": {"noise": 0.5}},
        {"diffusion": {**CONFIG["diffusion"], "schedule": "linear"}},
        {"condition_model": {"n_mel_oversample": 2}},
        {"condition_model": {"use_antialiasing": True}},
        {"transform": {"_target_": "open_universe.layers.dyn_range_comp.DynRangeComp"}},
    ],
)
def test_what_would_compute_something_else_is_refused(tmp_path, change):
    """Settings that leave the weights' names and shapes as they are."""
    _, state = plus_plus()
    with pytest.raises(CheckpointError, match="; known: "):
        import_universe(write(tmp_path, state, {**CONFIG_PP, **change}))


def test_what_does_not_fit_is_said(tmp_path):
    _, state = plus_plus()
    path = write(tmp_path, {k: v for k, v in state.items() if "input_conv" not in k}, CONFIG_PP)
    with pytest.raises(CheckpointError, match="input_conv"):
        import_universe(path)
    path = write(tmp_path, {**state, "_edm_model.input_conv.bias": torch.full((2,), float("nan"))}, CONFIG_PP)
    with pytest.raises(CheckpointError, match="NaN"):
        import_universe(path)
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"needs the config\.yaml"):
        import_universe(path)
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"dnn.weight": torch.zeros(1)}}, other)
    assert import_universe(other) is None


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def test_nothing_in_the_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, state = plus_plus()
    path = write(tmp_path, state, CONFIG_PP, callbacks=Evil())
    with pytest.raises(CheckpointError, match="system"):
        import_universe(path)
    assert not Path("evil").exists()
