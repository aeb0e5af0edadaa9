"""The mixture density loss against the reference implementation and against theory."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from audio_enh.losses.mixture_density import mixture_nll
from audio_enh.models.universe.heads import MixtureHead

GOLDEN = Path(__file__).parents[1] / "data" / "goldens" / "universe_mdn"


def test_gives_the_references_numbers():
    config = json.loads((GOLDEN / "config.json").read_text())["kwargs"]
    arrays = {key: torch.from_numpy(value) for key, value in np.load(GOLDEN / "io.npz").items()}
    weights = load_file(GOLDEN / "weights.safetensors")
    head = MixtureHead(
        config["est_channels"], config["tgt_channels"], config["n_comp"], weights_by_frame=False
    )
    state = {key: value for key, value in weights.items() if key.startswith("conv.")}
    # Their normalisation has a weight for every frame; here one for all of them.
    for name in ("weight", "bias"):
        value = weights[f"layer_norm.{name}"]
        assert (value == value[:, :1]).all()
        state[f"norm.{name}"] = value[:, 0].contiguous()
    head.load_state_dict(state)
    loss = mixture_nll(arrays["target"], *head(arrays["estimate"])).mean()
    torch.testing.assert_close(loss, arrays["loss"], atol=1e-4, rtol=0)


def test_one_component_is_the_normal_likelihood():
    target, mean = torch.randn(2, 2, 3, 50)
    sigma = torch.rand(2, 1, 3, 50) + 0.1
    loss = mixture_nll(target, mean[:, None], sigma, torch.zeros(2, 1, 1, 1))
    expected = -torch.distributions.Normal(mean, sigma[:, 0]).log_prob(target).mean(dim=(1, 2))
    torch.testing.assert_close(loss, expected)


def test_least_when_the_distribution_is_right():
    generator = torch.Generator().manual_seed(0)
    target = 0.3 * torch.randn(1, 1, 20000, generator=generator)

    def loss(mean, sigma):
        parts = torch.full((1, 1, 1, 1), mean), torch.full((1, 1, 1, 20000), sigma)
        return float(mixture_nll(target, *parts, torch.zeros(1, 1, 1, 1)))

    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.09)
    assert loss(0.0, 0.3) == pytest.approx(entropy, abs=0.02)
    assert loss(0.0, 0.3) < min(loss(0.0, 0.2), loss(0.0, 0.45), loss(0.2, 0.3))


@pytest.mark.parametrize("by_frame", [True, False])
@pytest.mark.parametrize("frames", [1, 7, 400])
def test_head_takes_any_length(frames, by_frame):
    mixture = MixtureHead(4, 3, weights_by_frame=by_frame)(torch.randn(2, 4, frames))
    assert mixture.mean.shape == mixture.sigma.shape == (2, 3, 3, frames)
    assert (mixture.sigma > 0).all()
    assert mixture.expectation().shape == (2, 3, frames)
    assert mixture_nll(torch.zeros(2, 3, frames), *mixture).isfinite().all()
