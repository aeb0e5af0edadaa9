"""Sweeps, seeds, and what the optimiser holds."""

import pytest
import torch
from omegaconf import OmegaConf

from audio_enh.training import recipes


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
    weights = [last(tmp_path / str(job))["current_model_state"] for job in (0, 1)]
    assert any(not torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    for job in (0, 1):
        assert OmegaConf.load(tmp_path / str(job) / "recipe.yaml").seed == job
        assert (tmp_path / "models" / str(job) / "model.safetensors").exists()


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
