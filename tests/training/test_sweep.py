"""Sweeps, seeds, and what the optimiser holds."""

import importlib
from pathlib import Path

import pytest
import torch
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from audio_enh import cli
from audio_enh.errors import UserError
from audio_enh.training import recipes
from audio_enh.training.recipes import folder_of_job


def last(run):
    return torch.load(run / "weights" / "last.ckpt", weights_only=False)


def test_sweep_gives_each_job_a_run_of_its_own(tmp_path, debug_run):
    common = [
        "experiment=debug",
        f"out={tmp_path}",
        f"data.cache={debug_run / 'cache'}",
        "trainer.max_steps=3",
    ]
    recipes.train([*common, "--multirun", "seed=0,1", f"export={tmp_path / 'models'}"])
    weights = [last(tmp_path / f"seed={seed}")["current_model_state"] for seed in (0, 1)]
    assert any(not torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    for seed in (0, 1):
        assert OmegaConf.load(tmp_path / f"seed={seed}" / "recipe.yaml").seed == seed
        assert (tmp_path / "models" / f"seed={seed}" / "model.safetensors").exists()


def test_jobs_are_known_by_their_overrides():
    assert folder_of_job("optim.optimizer.lr=1e-3,seed=0") == "optim.optimizer.lr=1e-3,seed=0"
    assert (
        folder_of_job("manifest='/a b/c.csv',model.channels=[1,2]")
        == "manifest=_a_b_c.csv_,model.channels=_1,2"
    )
    long = [folder_of_job(f"manifest={'x' * 300}{i}") for i in range(2)]
    assert long[0] != long[1]
    assert max(map(len, long)) < 120


def test_every_failed_job_is_named(tmp_path, debug_run, capsys):
    command = [
        *("train", "experiment=debug", f"out={tmp_path}", f"data.cache={debug_run / 'cache'}"),
        *("trainer.max_steps=1", "data.valid_items=-1,0,-2", "--", "--multirun"),
    ]
    assert cli.run(command) == 2
    said = capsys.readouterr().err
    assert "error: 2 jobs of the sweep failed: job 0 (data.valid_items=-1): data.valid_items=-1" in said
    assert "job 2 (data.valid_items=-2): data.valid_items=-2" in said
    for number in (-1, -2):
        folder = tmp_path / f"data.valid_items={number}"
        assert f"log in {folder}" in said
        assert f"(data.valid_items={number}) failed" in (folder / "train.log").read_text()
    assert last(tmp_path / "data.valid_items=0")["global_step"] == 1
    assert not list(tmp_path.glob(".failed*"))


def test_every_failed_job_of_other_processes_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("launcher")))
    launcher = importlib.import_module("hydra_plugins.other_process").OtherProcess
    Plugins.instance().register(launcher)
    with pytest.raises(UserError) as raised:
        recipes.train(
            [
                *("experiment=debug", f"out={tmp_path}", "--multirun", "seed=0,1", "data.seconds=???"),
                f"hydra.launcher._target_={launcher.__module__}.OtherProcess",
            ]
        )
    said = str(raised.value)
    for number in (0, 1):
        assert f"job {number} (seed={number}): recipe: data.seconds is not given" in said
        assert "failed: recipe" in (tmp_path / f"seed={number}" / "train.log").read_text()


def test_same_seed_same_run(tmp_path, debug_run):
    """A second run of the session's debug recipe gives the same bits."""
    recipes.train(["experiment=debug", f"out={tmp_path}", f"data.cache={debug_run / 'cache'}"])
    first, second = last(debug_run)["state_dict"], last(tmp_path)["state_dict"]
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_trains(precision, tmp_path, debug_run):
    if precision == "16-mixed" and not torch.cuda.is_available():
        pytest.skip("float16 is for GPUs")
    recipes.train(
        [
            *("experiment=debug", f"out={tmp_path}", f"data.cache={debug_run / 'cache'}"),
            *("trainer.max_steps=3", f"trainer.precision={precision}"),
        ]
    )
    weights = last(tmp_path)["current_model_state"]
    assert all(value.isfinite().all() for value in weights.values())
    assert all(value.dtype != torch.bfloat16 for value in weights.values())
