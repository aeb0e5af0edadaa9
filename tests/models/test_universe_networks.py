"""The networks of UNIVERSE against the reference implementation, and what must hold of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from audio_enh.models.universe.blocks import BinomialFilter, Downsampling
from audio_enh.models.universe.condition import ConditionNetwork
from audio_enh.models.universe.mel import MelSpectrogram, mel_filters
from audio_enh.models.universe.reference import from_reference
from audio_enh.models.universe.score import ScoreNetwork

GOLDENS = Path(__file__).parents[1] / "data" / "goldens"


def golden(name):
    folder = GOLDENS / name
    arrays = {key: torch.from_numpy(value) for key, value in np.load(folder / "io.npz").items()}
    return json.loads((folder / "config.json").read_text()), arrays, load_file(folder / "weights.safetensors")


def condition_network():
    config, arrays, weights = golden("universe_condition")
    wanted = config["kwargs"]
    network = ConditionNetwork(
        channels=wanted["n_channels"],
        rates=wanted["rate_factors"],
        mel_bands=wanted["n_mels"],
        mel_sample_rate=24000,  # to which the reference's bands are fixed
    )
    network.load_state_dict(from_reference(weights))
    return network.eval(), arrays, weights


def score_network():
    config, arrays, weights = golden("universe_score")
    wanted = config["kwargs"]
    network = ScoreNetwork(
        channels=wanted["n_channels"],
        rates=wanted["rate_factors"],
        embedding_features=wanted["n_rff"],
        embedding_dimensions=wanted["noise_cond_dim"],
    )
    network.load_state_dict(from_reference(weights))
    return network.eval(), arrays


@torch.no_grad()
def test_condition_network_gives_the_references_numbers():
    network, arrays, _ = condition_network()
    conditions, features, latent = network(arrays["x"])
    torch.testing.assert_close(features, arrays["y_hat"], atol=1e-4, rtol=0)
    torch.testing.assert_close(latent, arrays["h"], atol=1e-4, rtol=0)
    assert len(conditions) == 4
    for i, condition in enumerate(conditions):
        torch.testing.assert_close(condition, arrays[f"cond_{i}"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_score_network_gives_the_references_numbers():
    network, arrays = score_network()
    _, condition_arrays, _ = golden("universe_condition")
    conditions = [condition_arrays[f"cond_{i}"] for i in range(4)]
    out = network(arrays["x"], arrays["sigma"], conditions)
    torch.testing.assert_close(out, arrays["out"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_score_network_of_plus_plus_gives_the_references_numbers():
    config, arrays, weights = golden("universe_score_antialias")
    wanted = config["kwargs"]
    network = ScoreNetwork(
        channels=wanted["n_channels"],
        rates=wanted["rate_factors"],
        embedding="sinusoid",
        embedding_dimensions=wanted["noise_cond_dim"],
        weight_normalised=True,
        antialiasing=True,
    )
    network.load_state_dict(from_reference(weights))
    conditions = [arrays[f"cond_{i}"] for i in range(4)]
    out = network.eval()(arrays["x"], arrays["sigma"], conditions)
    torch.testing.assert_close(out, arrays["out"], atol=1e-4, rtol=0)


def test_mel_bands_are_the_references():
    _, _, weights = golden("universe_condition")
    expected = weights["input_mel.mel_spec.mel_scale.fb"]
    torch.testing.assert_close(mel_filters(20, 128, 24000), expected, atol=1e-5, rtol=0)


def test_mel_spectrogram_has_mean_power_one_and_takes_silence():
    mel = MelSpectrogram(16000, 160)
    spectrogram = mel(torch.randn(2, 8000) * torch.tensor([[1e-2], [1.0]]))
    assert spectrogram.shape == (2, 80, 50)
    torch.testing.assert_close(spectrogram.square().sum(1).mean(1), torch.ones(2))
    silence = torch.zeros(1, 1600, requires_grad=True)
    mel(silence).sum().backward()
    assert silence.grad is not None
    assert silence.grad.isfinite().all()


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_are_the_published_ones():
    plus_plus = {"embedding": "sinusoid", "antialiasing": True, "weight_normalised": True}
    wide = (48, (2, 3, 5, 8))
    with torch.device("meta"):
        assert parameters(ScoreNetwork()) == 13_077_708
        assert parameters(ConditionNetwork()) == 42_998_369 - 13_077_708
        sizes = [
            parameters(ConditionNetwork(weight_normalised=True)) + parameters(ScoreNetwork(**plus_plus)),
            parameters(ConditionNetwork(24000, *wide, 128, weight_normalised=True))
            + parameters(ScoreNetwork(*wide, **plus_plus)),
        ]
    assert [round(size / 1e6, 2) for size in sizes] == [42.85, 107.47]


@pytest.mark.parametrize(
    ("sample_rate", "rates"), [(16000, (2, 4, 4, 5)), (24000, (2, 3, 5, 8)), (48000, (3, 4, 5, 8))]
)
@pytest.mark.parametrize("plus_plus", [False, True])
@torch.no_grad()
def test_every_rate_and_form(sample_rate, rates, plus_plus):
    condition = ConditionNetwork(sample_rate, 2, rates, 16, weight_normalised=plus_plus)
    score = ScoreNetwork(
        2,
        rates,
        embedding="sinusoid" if plus_plus else "fourier",
        embedding_features=4,
        embedding_dimensions=16,
        weight_normalised=plus_plus,
        antialiasing=plus_plus,
    )
    samples = 3 * condition.rate
    audio = torch.randn(2, 1, samples)
    conditions, features, latent = condition(audio)
    assert features.shape == (2, 2, samples)
    assert latent.shape == (2, 32, 3)
    assert [c.shape[2] for c in conditions] == [3, *(3 * int(np.prod(rates[-k:])) for k in range(1, 5))]
    out = score(audio, torch.tensor([1e-3, 5.0]), conditions)
    assert out.shape == audio.shape
    assert out.isfinite().all()
    with pytest.raises(ValueError, match=f"multiples of {condition.rate}"):
        condition(audio[:, :, 1:])


def test_binomial_filter_removes_the_highest_frequency():
    low_pass = BinomialFilter(4)
    alternating = torch.tensor([1.0, -1.0]).repeat(20)[None, None]
    assert low_pass(alternating)[0, 0, 8:-8].abs().max() < 1e-5
    assert low_pass.taps.square().mean() == pytest.approx(1.0)


@pytest.mark.parametrize("channels", [10, 32])
@torch.no_grad()
def test_strides_in_half_precision(channels):
    """As a convolution this gave nonsense for few channels, on processors with AMX."""
    layer = Downsampling(channels, 160, 160, weight_normalised=False)
    frames = torch.randn(2, channels, 160 * 20)
    exact = layer(frames)
    torch.testing.assert_close(exact, layer.conv(layer.prelu(frames)), rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(frames).float()
    assert (rough - exact).norm() < 0.02 * exact.norm()
