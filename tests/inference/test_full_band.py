"""Full-band signals: the right part of the right model, and upper bands for models that have none."""

import numpy as np
import pytest
import torch

from audio_enh.inference.catalog import DEFAULT_MODEL, FULL_BAND_MODEL, default_model
from audio_enh.inference.checkpoint import load_model, save_checkpoint
from audio_enh.inference.enhancer import Enhancer
from audio_enh.models.base import EnhancementModel
from audio_enh.models.full_band import FullBandUNet, UpperBands
from tests.models.test_full_band import LOW, small


def sound(rate: int, seconds: float = 1.5) -> np.ndarray:
    return (0.05 * np.random.default_rng(0).standard_normal(round(seconds * rate))).astype(np.float32)


def power(audio: np.ndarray, rate: int, low: float, high: float) -> float:
    spectrum = np.abs(np.fft.rfft(audio)) ** 2
    frequency = np.fft.rfftfreq(len(audio), 1 / rate)
    return float(10 * np.log10(spectrum[(frequency >= low) & (frequency < high)].sum() + 1e-20))


class Half(EnhancementModel):
    """A model of 16 kHz that is not causal."""

    sample_rate = 16000

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return audio * self.gain


@pytest.fixture
def checkpoint(tmp_path):
    """A full-band checkpoint with lively weights."""
    arguments = {"low": {**LOW, "high_pass": 70.0}, "bands": 4, "hidden": 12}
    save_checkpoint(tmp_path / "wide", small(), {}, arguments=arguments)
    return tmp_path / "wide"


@pytest.mark.parametrize("rate", [8000, 16000])
def test_signals_without_upper_bands_go_to_the_lower_part_alone(rate):
    model = small()
    whole, part = Enhancer(model), Enhancer(model.low)
    assert whole.working_rate(rate) == 16000
    np.testing.assert_array_equal(whole.enhance(sound(rate), rate), part.enhance(sound(rate), rate))


@pytest.mark.parametrize("rate", [22050, 44100, 48000, 96000])
def test_wider_signals_keep_their_upper_bands(rate):
    audio = sound(rate)
    enhanced = Enhancer(small()).enhance(audio, rate)
    assert enhanced.shape == audio.shape
    top = min(rate / 2, 24000)
    change = power(enhanced, rate, 8500, top - 800) - power(audio, rate, 8500, top - 800)
    assert -15 < change <= 0.2


def test_a_model_that_knows_no_upper_bands_is_given_them(checkpoint):
    audio = sound(48000)
    alone, with_bands = (
        Enhancer(Half(), window_seconds=0.5, overlap_seconds=0.1, upper_bands=upper).enhance(audio, 48000)
        for upper in (None, str(checkpoint))
    )
    assert power(alone, 48000, 9000, 20000) < power(audio, 48000, 9000, 20000) - 60
    assert power(with_bands, 48000, 9000, 20000) > power(audio, 48000, 9000, 20000) - 15
    assert power(with_bands, 48000, 0, 7000) == pytest.approx(power(alone, 48000, 0, 7000), abs=0.1)
    # And they are where they were: the same as the full-band model's own, but for the crossing.
    whole, _ = load_model(checkpoint, "cpu")
    own = Enhancer(whole).enhance(audio, 48000)
    from scipy.signal import butter, sosfiltfilt

    high = butter(8, 9500, "highpass", fs=48000, output="sos")
    np.testing.assert_allclose(sosfiltfilt(high, with_bands), sosfiltfilt(high, own), atol=2e-3)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("block", [1, 777, 48000])
def test_given_upper_bands_do_not_depend_on_blocks(checkpoint, channels, block):
    audio = np.stack([sound(48000, 0.7 if block == 1 else 1.5)] * channels)
    audio = audio[:, : 3000 if block == 1 else None]
    enhancer = Enhancer(Half(), window_seconds=0.5, overlap_seconds=0.1, upper_bands=str(checkpoint))
    stream = enhancer.stream(48000, channels)
    pieces = [stream.process(audio[:, start : start + block]) for start in range(0, audio.shape[1], block)]
    out = np.concatenate([*pieces, stream.flush()], axis=1)
    assert out.shape == audio.shape
    np.testing.assert_allclose(out, enhancer.enhance(audio, 48000), atol=1e-6)


def test_upper_bands_alone_are_causal_and_aligned():
    """What the whole model gives is the U-Net's part and theirs."""
    model = small()
    audio = torch.from_numpy(sound(48000))[None]
    with torch.no_grad():
        lower, upper, _ = model.hear_parts(audio[:, :48000], model.init_hearing(1))
        out = UpperBands(model)(audio[:, :48000])
        whole = model(audio[:, :48000])
    torch.testing.assert_close(out[:, :40000], upper[:, model.delay : 40000 + model.delay], atol=1e-6, rtol=0)
    below = lower[:, model.delay : 40000 + model.delay]
    torch.testing.assert_close(whole[:, :40000], out[:, :40000] + below, atol=1e-6, rtol=0)


def test_the_default_fits_the_rate():
    expected = {None: DEFAULT_MODEL, 8000: DEFAULT_MODEL, 16000: DEFAULT_MODEL, 44100: FULL_BAND_MODEL}
    assert {rate: default_model(rate) for rate in expected} == expected


def test_the_shipped_model_holds_the_smaller_one():
    """Files up to 16 kHz come back the same, whichever of the two is named."""
    whole, _ = load_model(FULL_BAND_MODEL, "cpu")
    part, _ = load_model(DEFAULT_MODEL, "cpu")
    assert isinstance(whole, FullBandUNet)
    assert whole.latency / whole.sample_rate <= 0.032
    for name, value in part.state_dict().items():
        assert torch.equal(value, whole.low.state_dict()[name]), name
