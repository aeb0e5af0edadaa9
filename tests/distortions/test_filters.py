"""Band limiting and equalisation against their frequency responses."""

from __future__ import annotations

import numpy as np
import pytest

from audio_enh.distortions.band_limiting import BandPass, Downsample, HighPass, LowPass
from audio_enh.distortions.equalisation import BandReject, Plosives, RandomEqualiser, Resonance, Sibilance
from tests.distortions.sounds import generator, power_db, speech, strongest, tone, white

RATE = 16000


def response(distortion, frequencies, rate: int = RATE) -> np.ndarray:
    """Gain in dB, measured by an impulse in the middle of silence; checks that the response is even in time."""
    impulse = np.zeros((1, 2 * rate + 1), np.float32)
    impulse[0, rate] = 1
    out = distortion(impulse, rate, generator())
    assert np.abs(out - out[:, ::-1]).max() < 2e-3 * np.abs(out).max()
    spectrum = np.abs(np.fft.rfft(out[0]))
    bins = np.round(np.asarray(frequencies) / rate * out.shape[1]).astype(int)
    return 20 * np.log10(np.maximum(spectrum[bins], 1e-9))


@pytest.mark.parametrize("kind", ["butterworth", "chebyshev", "elliptic"])
@pytest.mark.parametrize("rate", [16000, 48000])
def test_low_pass_removes_what_is_above(kind: str, rate: int):
    gains = response(LowPass(3000, 6, kind), [500, 2000, 4500, 6000], rate)
    assert np.all(np.abs(gains[:2]) < 1.1)  # a ripple of 0.5 dB, twice
    assert np.all(gains[2:] < -40)


@pytest.mark.parametrize("kind", ["butterworth", "chebyshev", "elliptic"])
def test_high_pass_removes_what_is_below(kind: str):
    gains = response(HighPass(1000, 5, kind), [300, 500, 1500, 4000])
    assert np.all(gains[:2] < -40)
    assert np.all(np.abs(gains[2:]) < 1.1)


def test_a_cutoff_beyond_the_band_does_nothing():
    audio = speech(8000)
    assert np.array_equal(LowPass(6000)(audio, 8000, generator()), audio)


def test_butterworth_is_down_six_decibels_at_the_cutoff():  # three, forward and backward
    assert response(LowPass(2000, 4, "butterworth"), [2000])[0] == pytest.approx(-6.02, abs=0.1)


def test_band_pass_keeps_its_octaves():
    gains = response(BandPass(2, 1000, 4), [1000, 250, 4000])
    assert abs(gains[0]) < 0.5
    assert np.all(gains[1:] < -40)


def test_downsample_by_sinc_leaves_nothing_above_half_the_rate():
    noise = white()
    out = Downsample(6000, "sinc")(noise, RATE, generator())
    assert power_db(out, RATE, 3300, 8000) < power_db(noise, RATE, 3300, 8000) - 60
    assert power_db(out, RATE, 100, 2700) == pytest.approx(power_db(noise, RATE, 100, 2700), abs=0.2)


def test_downsample_by_hold_makes_images_and_aliases():
    # A tone at 1 kHz in a rate of 4 kHz has its images at 3, 5 and 7 kHz; one at 3 kHz its alias at 1 kHz.
    images = strongest(Downsample(4000, "hold")(tone(1000), RATE, generator()), RATE, 4)
    assert images == pytest.approx([1000, 3000, 5000, 7000], abs=2)
    alias = Downsample(4000, "linear")(tone(3000), RATE, generator())
    assert strongest(alias, RATE, 1) == pytest.approx([1000], abs=2)


def test_random_equaliser_stays_within_its_gain():
    gains = response(RandomEqualiser(12, 8), np.geomspace(60, 7500, 200))
    assert 6 < np.ptp(gains) < 24.1


def test_band_reject():
    gains = response(BandReject(1, 1000), [1000, 250, 4000])
    assert gains[0] < -60
    assert np.all(np.abs(gains[1:]) < 0.5)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_resonance_is_that_of_an_analogue_peaking_filter(rate: int):
    gain, centre, quality = 20.0, 1000.0, 4.0
    frequencies = np.array([1000.0, 800, 1250, 100, 5000])
    # H(s) = (s^2 + s A/Q + 1) / (s^2 + s/Q + 1), s = j f/f0
    s = 1j * frequencies / centre
    expected = 20 * np.log10(np.abs((s**2 + s * 10 / quality + 1) / (s**2 + s / quality + 1)))
    gains = response(Resonance(gain, centre, quality), frequencies, rate)
    # The whole is turned down to the loudness that was.
    assert gains - gains[3] == pytest.approx(expected - expected[3], abs=0.5)


def test_plosives_are_low_and_follow_onsets():
    audio = speech()
    added = Plosives(0, 1)(audio, RATE, generator()) - audio
    assert power_db(added, RATE, 0, 150) > power_db(added, RATE, 150, 8000) + 20
    # Two in two seconds, of twice the speech's RMS at the top.
    assert 0.02 < np.mean(np.abs(added) > 1e-4) < 0.2


def test_sibilance_leaves_vowels_alone():
    low = tone(300)
    assert Sibilance(20, 4000)(low, RATE, generator()) == pytest.approx(low, abs=1e-4)
    noise = white()
    out = Sibilance(12, 4000)(noise, RATE, generator())  # half of its power is above: fully a sibilant
    assert power_db(out, RATE, 4200, 8000) - power_db(noise, RATE, 4200, 8000) == pytest.approx(12, abs=1)
    assert power_db(out, RATE, 0, 3800) == pytest.approx(power_db(noise, RATE, 0, 3800), abs=0.2)
