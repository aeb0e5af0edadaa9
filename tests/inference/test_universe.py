"""UNIVERSE through the Enhancer: rates, channels, long signals, silence, several draws, no steps."""

import numpy as np
import pytest
import torch

from audio_enh.errors import UserError
from audio_enh.inference.enhancer import Enhancer
from audio_enh.models.universe import Universe
from audio_enh.options import EnhanceOptions


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Universe(channels=2, mel_bands=16, embedding_features=4, embedding_dimensions=16, steps=2)


@pytest.fixture
def enhancer(model):
    return Enhancer(model, window_seconds=1.0, overlap_seconds=0.4)


def signal(channels, samples):
    return (0.1 * np.random.default_rng(0).standard_normal((channels, samples))).astype(np.float32)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_any_rate_in_stereo_and_several_windows(enhancer, rate, steps):
    audio = signal(2, 2 * rate + 17)
    enhanced = enhancer.enhance(audio, rate, steps=steps)
    assert enhanced.shape == audio.shape
    assert enhanced.dtype == np.float32
    assert np.isfinite(enhanced).all()


def test_does_not_depend_on_blocks(enhancer):
    audio = signal(1, 40000)
    whole = enhancer.enhance(audio, 16000, seed=3)
    stream = enhancer.stream(16000, 1, EnhanceOptions().changed(seed=3))
    cuts = np.cumsum([1, 7000, 160, 16000])
    pieces = [stream.process(block) for block in np.split(audio, cuts, axis=1)] + [stream.flush()]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


def test_silence_gives_silence_and_equal_channels_stay_equal(enhancer):
    assert not enhancer.enhance(np.zeros((1, 24000), np.float32), 16000).any()
    audio = np.repeat(signal(1, 24000), 2, axis=0)
    left, right = enhancer.enhance(audio, 16000)
    np.testing.assert_allclose(left, right, atol=1e-5)


def test_several_draws_and_their_spread(enhancer):
    audio = signal(1, 24000)
    options = {"draws": 3, "combine": "median"}
    median, curve = enhancer.enhance_with_uncertainty(audio, 16000, **options)
    assert np.isfinite(median).all()
    assert len(curve.times) == 75
    assert (curve.spread > 0).any()


def test_options_are_checked(enhancer):
    with pytest.raises(UserError, match="at least 0"):
        enhancer.enhance(signal(1, 1600), 16000, steps=-1)
    with pytest.raises(UserError, match="langevin, warm"):
        enhancer.enhance(signal(1, 1600), 16000, sampler="pc")
