"""Spectral manipulation: what stays and what goes in the time-frequency plane."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from audio_enh.distortions.spectral import (
    GriffinLim,
    PhaseRandomisation,
    SpectralGating,
    SpectralHoles,
    SpectralSmearing,
)
from audio_enh.dsp.signals import istft, stft
from tests.distortions.sounds import generator, lsd, si_sdr, speech, tone, white

RATE = 16000


@pytest.mark.parametrize("length", [1, 100, 2048, 32001])
def test_transform_is_inverted_exactly_and_is_scipys(length: int):
    audio = white(seconds=3.0)[:, :length].repeat(2, axis=0)
    spectrum = stft(audio, 512)
    assert istft(spectrum, 512, length) == pytest.approx(audio, abs=1e-6)
    window = scipy.signal.windows.hann(512, sym=False)
    theirs = scipy.signal.ShortTimeFFT(window, 128, fs=1.0).stft(np.pad(audio, ((0, 0), (0, 4096))))
    size = min(spectrum.shape[-1], theirs.shape[-1])
    assert size > length // 128
    assert np.abs(np.abs(spectrum[..., :size]) - np.abs(theirs[..., :size])).max() < 1e-4


def test_phase_randomisation_keeps_most_of_the_magnitudes():
    audio = speech()
    out = PhaseRandomisation(0.9, 0.032)(audio, RATE, generator())
    assert si_sdr(audio, out) < -5  # the waveform is gone
    assert np.corrcoef(np.abs(stft(audio, 512)).ravel(), np.abs(stft(out, 512)).ravel())[0, 1] > 0.7


def test_griffin_lim_brings_the_magnitudes_back_with_iterations():
    audio = speech()
    distances = [lsd(audio, GriffinLim(0.9, n)(audio, RATE, generator())) for n in (1, 4, 16)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < distances[0] - 1


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_holes_take_their_share(share: float):
    noise = white(seconds=10.0)
    out = SpectralHoles(share, 500, 0.1)(noise, RATE, generator())
    kept = np.sum(out**2) / np.sum(noise**2)
    assert kept == pytest.approx(1 - share, abs=0.06)


def test_gating_turns_down_what_is_weak_and_nothing_else():
    audio = np.concatenate([tone(1000, level=0.5), tone(3000, level=0.5)], axis=1)
    audio[:, :16000] += tone(3000, level=0.005)  # 40 dB under the other half's
    out = SpectralGating(-20, 30)(audio, RATE, generator())

    def level(x, frequency, half):
        part = x[0, half * 16000 + 2000 : half * 16000 + 14000]
        carrier = np.exp(-2j * np.pi * frequency * np.arange(len(part)) / RATE)
        return 20 * np.log10(abs(np.mean(part * carrier)) * 2)

    assert level(out, 1000, 0) == pytest.approx(level(audio, 1000, 0), abs=0.1)
    assert level(out, 3000, 1) == pytest.approx(level(audio, 3000, 1), abs=0.1)
    assert level(out, 3000, 0) == pytest.approx(level(audio, 3000, 0) - 30, abs=1)


def test_smearing_spreads_energy_over_time_and_frequency():
    burst = 1e-3 * white()
    burst[:, 15500:16500] *= 1000
    wide = SpectralSmearing(4, 1.0)(burst, RATE, generator())
    narrow = SpectralSmearing(0.3, 1.0)(burst, RATE, generator())
    middle = np.arange(32000) - 16000

    def spread(x):
        return np.sqrt(np.sum(middle**2 * x[0] ** 2) / np.sum(x**2))

    assert spread(wide) > 1.2 * spread(narrow)
    assert np.mean(wide**2) == pytest.approx(np.mean(burst**2), rel=1e-3)
