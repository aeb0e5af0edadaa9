"""Checkpoint files that the public training programs wrote: converted, they compute what the programs do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audio_enh.diffusion.consistent_annealing import sample_consistently
from audio_enh.inference.sgmse_import import import_sgmse
from audio_enh.inference.universe_import import import_universe
from tests.diffusion.goldens import FOLDER, arrays

SGMSE = ("sgmse_v1_ouve", "sgmse_48k_ouve", "sgmse_v2_denoiser_edm", "sgmse_v2_sbve")


def checkpoint(name: str) -> Path:
    return next((FOLDER / "import" / name).glob("*.ckpt"))


def settings(name: str) -> dict:
    return json.loads((FOLDER / "import" / name / "config.json").read_text())


def in_turn(draws: Tensor) -> Callable[[], Tensor]:
    """The reference's draws, in the order in which it took them."""
    left = iter(draws)
    return lambda: next(left)


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, as a part of the largest magnitude."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("name", SGMSE)
@torch.no_grad()
def test_one_evaluation_of_sgmse(name: str) -> None:
    golden = arrays(f"import/{name}")
    imported = import_sgmse(checkpoint(name))
    assert imported.averaged
    assert imported.step == 3
    evaluate = imported.model.denoise if name == "sgmse_v2_sbve" else imported.model.score
    assert distance(evaluate(golden["x_t"], golden["y"], golden["t"]), golden["out"]) < 1e-4


@pytest.mark.parametrize("name", SGMSE)
@torch.no_grad()
def test_sgmse_enhances_as_the_public_code(name: str) -> None:
    golden = arrays(f"import/{name}")
    model = import_sgmse(checkpoint(name)).model
    noisy = golden["noisy"].reshape(1, -1)
    level = model.measure_level(noisy)
    y = model.encode(noisy / level)
    bridge = name == "sgmse_v2_sbve"
    draws = (lambda: torch.zeros_like(y)) if bridge else in_turn(golden["draws"].reshape(-1, *y.shape))
    x = model.sample(y, draws, sampler="ode_guarded" if bridge else "pc", steps=5)
    enhanced = model.decode(x, noisy.shape[1]) * level
    # Nothing can agree better than the reference does with itself in double precision.
    assert distance(enhanced[0], golden["enhanced"].flatten()) < max(2e-5, 4 * settings(name)["rounding"])


@pytest.mark.parametrize("name", ["universe", "universe_plusplus"])
@torch.no_grad()
def test_universe_as_the_public_code(name: str) -> None:
    golden = arrays(f"import/{name}")
    imported = import_universe(checkpoint(name))
    assert imported is not None
    model = imported.model
    assert imported.averaged
    mix = golden["mix"].reshape(1, 1, -1)
    conditions, features, latent = model.condition(mix)
    score = model.score(golden["x"].reshape(1, 1, -1), golden["sigma"].flatten(), conditions)
    assert distance(score.flatten(), golden["score"].flatten()) < 1e-4
    state = sample_consistently(
        lambda x, sigma: model.score(x, sigma, conditions),
        in_turn(golden["draws"].reshape(-1, *mix.shape)),
        steps=settings(name)["n_steps"],
        sigma_min=model.sigma_min,
        sigma_max=model.sigma_max,
        epsilon=model.epsilon,
    )
    assert distance(state.flatten(), golden["state"].flatten()) < 2e-5
    if name == "universe_plusplus":
        estimate = model.estimate(features, latent, mix)
        assert distance(estimate.flatten(), golden["aux_state"].flatten()) < 2e-5
