"""Recorded and synthetic noise: levels, spectra, times."""

from __future__ import annotations

import numpy as np
import pytest

from audio_enh.distortions import Recordings
from audio_enh.distortions.recorded_noise import Babble, BackgroundNoise, NoiseBursts
from audio_enh.distortions.synthetic_noise import Clicks, ColouredNoise, DcOffset, Hum, Tones
from audio_enh.dsp.signals import active_level
from tests.distortions.sounds import generator, power_db, speech, strongest, white

RATE = 16000
KINDS = [BackgroundNoise(7), Babble(7, 5), ColouredNoise(7, 1), Hum(7), Tones(7)]


class OneTone:
    """Recordings of nothing but a tone."""

    def draw(self, rng, length, sample_rate):
        return np.sin(2 * np.pi * 1000 * np.arange(length) / sample_rate).astype(np.float32)

    whole = None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name())
def test_snr_is_that_of_the_active_speech(kind):
    audio = speech(seconds=3.0)
    noise = kind(audio, RATE, generator()) - audio
    ratio = 20 * np.log10(active_level(audio, RATE) / np.sqrt(np.mean(noise**2)))
    assert ratio == pytest.approx(7, abs=0.05)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name())
def test_silence_gets_noise_as_if_speech_were_at_its_nominal_level(kind):
    noise = kind(np.zeros((1, 32000), np.float32), RATE, generator())
    assert 20 * np.log10(np.sqrt(np.mean(noise**2))) == pytest.approx(-26 - 7, abs=0.1)


def test_recordings_are_those_that_were_passed():
    for kind, place in ((BackgroundNoise(0), "noise"), (NoiseBursts(0), "noise"), (Babble(0), "talkers")):
        recordings = Recordings(**{place: OneTone()})
        noise = kind(np.zeros((1, 32000), np.float32), RATE, generator(), recordings)
        assert power_db(noise, RATE, 900, 1100) > power_db(noise, RATE, 1500, 8000) + 20, kind


def test_bursts_are_short_and_as_many_as_asked():
    audio = np.zeros((1, 30 * RATE), np.float32)
    noise = NoiseBursts(0, 1)(audio, RATE, generator(), Recordings(noise=OneTone()))[0]
    # 30 bursts of 215 ms on the average that decay to a hundredth: some tenth of the time above a third of the top.
    assert 0.02 < np.mean(np.abs(noise) > 0.3 * np.abs(noise).max()) < 0.25
    assert np.mean(noise == 0) > 0.6


@pytest.mark.parametrize("slope", [-1.0, 0.0, 1.0, 2.0])
def test_coloured_noise_has_its_slope(slope: float):
    noise = ColouredNoise(0, slope)(np.zeros((1, 20 * RATE), np.float32), RATE, generator())
    octaves = [power_db(noise, RATE, f, 2 * f) for f in (125, 250, 500, 1000, 2000)]
    # An octave is twice as wide as the one below: +3 dB, less 3 dB for each unit of slope.
    assert np.diff(octaves) == pytest.approx(np.full(4, 3.01 * (1 - slope)), abs=0.5)


def test_coloured_noise_is_independent_in_each_channel():
    noise = ColouredNoise(0, 0)(np.zeros((2, 32000), np.float32), RATE, generator())
    assert abs(np.corrcoef(noise)[0, 1]) < 0.03


@pytest.mark.parametrize("base", [50, 60])
def test_hum_is_at_the_mains_and_its_harmonics(base: int):
    hum = Hum(0, base, 6)(np.zeros((1, 4 * RATE), np.float32), RATE, generator())
    spectrum = np.abs(np.fft.rfft(hum[0])) ** 2  # whole periods: lines fall onto bins
    lines = spectrum[[4 * base * k for k in range(1, 7)]]
    assert lines.sum() == pytest.approx(spectrum.sum(), rel=1e-3)
    assert np.all(lines > 0)


def test_clicks_come_at_their_rate():
    audio = np.zeros((1, 20 * RATE), np.float32)
    clicks = Clicks(20, 5)(audio, RATE, generator())[0]
    starts = np.sum((clicks[1:] != 0) & (clicks[:-1] == 0))
    assert 70 <= starts <= 130  # 100 expected, Poisson
    assert np.mean(clicks != 0) < 0.02


def test_tones_are_lines():
    tones = Tones(0, 3, "steady")(np.zeros((1, 4 * RATE), np.float32), RATE, generator())
    lines = strongest(tones, RATE, 3)
    inside = sum(10 ** (power_db(tones, RATE, f - 3, f + 3) / 10) for f in lines)
    assert inside == pytest.approx(10 ** (power_db(tones, RATE, 0, 8000) / 10), rel=1e-3)
    assert min(lines) >= 99


def test_beeping_tones_pause():
    tones = Tones(0, 1, "beeping")(np.zeros((1, 4 * RATE), np.float32), RATE, generator())
    assert 0.2 < np.mean(tones == 0) < 0.9


def test_dc_offset():
    audio = white()
    out = DcOffset(-6.0206)(audio, RATE, generator())
    shift = np.mean(out - audio)
    assert abs(shift) == pytest.approx(active_level(audio, RATE) / 2, rel=1e-3)
    assert np.ptp(out - audio) < 1e-6
