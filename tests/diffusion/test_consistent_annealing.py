"""The sampler of UNIVERSE against the paper's update, and against theory."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from audio_enh.diffusion.consistent_annealing import geometric_sigma, sample_consistently

GOLDEN = Path(__file__).parents[1] / "data" / "goldens" / "sampler_universe"


def test_gives_the_papers_numbers():
    config = json.loads((GOLDEN / "config.json").read_text())
    arrays = {key: torch.from_numpy(value) for key, value in np.load(GOLDEN / "io.npz").items()}
    draws = iter(arrays["draws"])

    def score(x, sigma):
        return -0.9 * (x - arrays["target"]) / sigma[:, None, None] ** 2

    options = {"sigma_min": config["sigma_min"], "sigma_max": config["sigma_max"]}
    out = sample_consistently(score, lambda: next(draws), steps=8, epsilon=config["epsilon"], **options)
    torch.testing.assert_close(out, arrays["result"], atol=1e-5, rtol=0)
    assert next(draws, None) is None


@pytest.mark.parametrize("epsilon", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("steps", [2, 8, 30])
def test_noise_is_as_strong_as_the_network_is_told(steps, epsilon):
    """With the exact score of a single point the state differs from it by noise of the level asked about."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(1, 20000, generator=generator)
    told = []

    def score(x, sigma):
        told.append(float(sigma))
        assert float((x - target).std()) == pytest.approx(float(sigma), rel=0.05)
        return -(x - target) / sigma[:, None] ** 2

    out = sample_consistently(
        score,
        lambda: torch.randn(1, 20000, generator=generator),
        steps=steps,
        sigma_min=0.01,
        sigma_max=5.0,
        epsilon=epsilon,
    )
    assert told == pytest.approx(np.geomspace(5.0, 0.01, steps).tolist(), rel=1e-5)
    torch.testing.assert_close(out, target, atol=1e-4, rtol=0)


def test_one_step_and_a_warm_start():
    target = torch.full((2, 10), 3.0)
    seen = []

    def score(x, sigma):
        seen.append((float(x[0, 0]), float(sigma[0])))
        return -(x - target) / sigma[:, None] ** 2

    done = []
    out = sample_consistently(
        score,
        lambda: torch.ones(2, 10),
        steps=1,
        sigma_min=0.01,
        sigma_max=0.5,
        start=target,
        on_step=lambda *step: done.append(step),
    )
    torch.testing.assert_close(out, target)
    assert seen == [(3.5, 0.5)]
    assert done == [(1, 1)]


def test_refuses_no_steps_and_small_epsilon():
    levels = {"sigma_min": 0.1, "sigma_max": 1.0}
    with pytest.raises(ValueError, match="at least 1"):
        sample_consistently(lambda x, s: x, lambda: torch.zeros(1, 1), steps=0, **levels)
    with pytest.raises(ValueError, match="epsilon"):
        sample_consistently(lambda x, s: x, lambda: torch.zeros(1, 1), steps=2, epsilon=0.9, **levels)


def test_levels_are_geometric():
    levels = geometric_sigma(torch.linspace(0, 1, 5), 5e-4, 5.0)
    torch.testing.assert_close(levels, torch.tensor([5e-4, 5e-3, 5e-2, 0.5, 5.0]))
