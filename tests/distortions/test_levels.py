"""Distortion in the narrow sense and loudness dynamics against their curves."""

from __future__ import annotations

import numpy as np
import pytest

from audio_enh.distortions.dynamics import (
    AutomaticGain,
    Compressor,
    DestroyLevels,
    Expander,
    NoiseGate,
    Tremolo,
)
from audio_enh.distortions.overload import BitCrush, Clipping, HardLimiting, Overdrive
from tests.distortions.sounds import generator, power_db, snr, speech, tone

RATE = 16000


def steps(*levels_db: float) -> np.ndarray:
    """A tone of one second at each level, in dB."""
    return np.concatenate([tone(500, level=0.1 * 10 ** (level / 20)) for level in levels_db], axis=1)


def middle_levels(audio: np.ndarray, count: int) -> np.ndarray:
    """Level in dB in the second half of each second."""
    seconds = audio[0].reshape(count, RATE)[:, RATE // 2 :]
    return 10 * np.log10(np.mean(seconds**2, axis=1) + 1e-20)


def test_clipping_is_at_its_depth():
    audio = speech()
    out = Clipping(6.0206)(audio, RATE, generator())
    top = np.abs(audio).max()
    assert np.abs(out).max() == pytest.approx(top / 2, rel=1e-4)
    quiet = np.abs(audio) < 0.49 * top
    assert np.array_equal(out[quiet], audio[quiet])


@pytest.mark.parametrize(("asymmetry", "even"), [(0.0, False), (0.4, True)])
def test_overdrive_makes_odd_harmonics_and_even_ones_by_asymmetry(asymmetry: float, even: bool):
    audio = tone(500)
    out = Overdrive(12, asymmetry)(audio, RATE, generator())
    first, second, third = (power_db(out, RATE, f - 20, f + 20) for f in (500, 1000, 1500))
    assert third > first - 40
    assert (second > first - 40) == even
    assert np.mean(out**2) == pytest.approx(np.mean(audio**2), rel=1e-3)


def test_hard_limiting_flattens_without_clipping():
    audio = speech()
    out = HardLimiting(20, 0.05)(audio, RATE, generator())
    assert np.mean(out**2) == pytest.approx(np.mean(audio**2), rel=1e-3)

    def crest(x):
        return 20 * np.log10(np.abs(x).max() / np.sqrt(np.mean(x**2)))

    assert crest(out) < crest(audio) - 5
    # Clipping at the same depth would hold a tone's top flat; here a tone stays one.
    limited = HardLimiting(20, 0.05)(steps(0), RATE, generator())
    assert power_db(limited, RATE, 1400, 1600) < power_db(limited, RATE, 450, 550) - 30


@pytest.mark.parametrize("bits", [4.0, 8.0, 12.0])
def test_bit_crush_has_six_decibels_a_bit(bits: float):
    audio = np.random.default_rng(0).uniform(-1, 1, (1, 32000)).astype(np.float32)
    assert snr(audio, BitCrush(bits)(audio, RATE, generator())) == pytest.approx(6.02 * bits, abs=0.3)


def test_compressor_divides_level_differences_by_its_ratio():
    # Both levels are over the threshold of -30 dB re the active level, which is close to the louder one.
    out = Compressor(-30, 4, 0.005, 0.05)(steps(0, -16), RATE, generator())
    assert np.diff(middle_levels(out, 2))[0] == pytest.approx(-16 / 4, abs=0.3)


def test_compressor_leaves_what_is_under_the_threshold():
    out = Compressor(6, 20)(steps(0, -16), RATE, generator())
    assert np.diff(middle_levels(out, 2))[0] == pytest.approx(-16, abs=0.1)


def test_expander_multiplies_them():
    out = Expander(6, 2, 0.005, 0.05)(steps(0, -10), RATE, generator())
    assert np.diff(middle_levels(out, 2))[0] == pytest.approx(-20, abs=0.3)


def test_noise_gate_shuts_out_the_quiet_and_passes_the_loud():
    audio = steps(0, -30)
    out = NoiseGate(-20, 0.002, 0.02)(audio, RATE, generator())
    assert middle_levels(out, 2)[0] == pytest.approx(middle_levels(audio, 2)[0], abs=0.01)
    assert middle_levels(out, 2)[1] < middle_levels(audio, 2)[1] - 60


def test_destroy_levels_holds_gains_between_its_depth_and_none():
    audio = np.ones((1, 10 * RATE), np.float32)
    gains = 20 * np.log10(DestroyLevels(30, 2)(audio, RATE, generator())[0])
    assert -30 <= gains.min() < -15
    assert -10 < gains.max() <= 0
    held = np.mean(np.abs(np.diff(gains)) < 1e-6)
    assert held > 0.9
    jumps = np.sum(np.diff((np.abs(np.diff(gains)) > 1e-6).astype(int)) == 1)
    assert 8 <= jumps <= 35  # 20 expected, Poisson: within three deviations


@pytest.mark.parametrize("shape", ["sine", "triangle", "square"])
def test_tremolo_has_its_rate_and_depth(shape: str):
    audio = np.ones((1, 4 * RATE), np.float32)
    envelope = Tremolo(0.6, 5, shape)(audio, RATE, generator())[0]
    assert envelope.max() == pytest.approx(1, abs=1e-3)
    assert envelope.min() == pytest.approx(0.4, abs=1e-3)
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean()))
    assert np.argmax(spectrum) / 4 == 5


def test_automatic_gain_takes_its_share_of_the_differences():
    out = AutomaticGain(0.75, 0.02, 0.3)(steps(0, -20, 0, -20), RATE, generator())
    levels = middle_levels(out, 4)
    assert np.diff(levels)[0] == pytest.approx(-20 * 0.25, abs=2)
