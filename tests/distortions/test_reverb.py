"""Reverb and delay: responses that can be measured."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from audio_enh.distortions import Recordings, reverb
from audio_enh.distortions.reverb import (
    AlgorithmicReverb,
    Chorus,
    Phaser,
    RecordedRoom,
    ShortDelay,
    SimulatedRoom,
)
from audio_enh.errors import DependencyError
from tests.distortions.sounds import generator, tone, white

RATE = 16000


def response(distortion, seconds: float = 4.0, recordings: Recordings | None = None) -> np.ndarray:
    impulse = np.zeros((1, int(seconds * RATE)), np.float32)
    impulse[0, 0] = 1
    return distortion(impulse, RATE, generator(), recordings)[0].astype(np.float64)


def decay_time(h: np.ndarray, high: float = -5.0, low: float = -25.0) -> float:
    """RT60 by Schroeder's backward integration."""
    energy = np.cumsum(h[::-1] ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0] + 1e-20)
    start, end = int(np.argmax(level < high)), int(np.argmax(level < low))
    return (end - start) / RATE * 60 / (high - low)


@pytest.mark.parametrize("ratio", [0.0, 12.0])
def test_recorded_room_has_its_ratio_and_an_untouched_direct_sound(ratio: float):
    h = response(RecordedRoom(ratio))
    assert h[0] == 1
    assert np.all(np.abs(h[1:40]) < 1e-6)  # 2.5 ms
    assert -10 * np.log10(np.sum(h[1:] ** 2)) == pytest.approx(ratio, abs=0.01)


def test_recorded_room_takes_the_responses_it_is_given():
    class Flutter:
        def whole(self, rng, sample_rate):
            h = np.zeros(2000, np.float32)
            h[[100, 600, 1100]] = 0.5, -0.2, 0.2  # the direct sound arrives at sample 100
            return h

        draw = None

    h = response(RecordedRoom(0), recordings=Recordings(rooms=Flutter()))
    assert h[500] == pytest.approx(-np.sqrt(0.5), rel=1e-4)
    assert h[1000] == pytest.approx(np.sqrt(0.5), rel=1e-4)
    assert np.sum(np.abs(h) > 1e-6) == 3


@pytest.mark.parametrize("rt60", [0.3, 0.6, 0.9])
def test_simulated_room_decays_in_its_time(rt60: float):
    times = [decay_time(response(SimulatedRoom(rt60, room))) for room in range(6)]
    assert np.median(times) == pytest.approx(rt60, rel=0.3)  # Sabine's formula is no better
    assert np.std(times) > 0.005  # rooms differ


def test_simulated_room_needs_pyroomacoustics_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    reverb._missing_pyroomacoustics.cache_clear()
    try:
        with pytest.raises(DependencyError, match="pip install pyroomacoustics"):
            SimulatedRoom()(white(), RATE, generator())
    finally:
        reverb._missing_pyroomacoustics.cache_clear()


@pytest.mark.parametrize("rt60", [0.5, 1.5])
def test_algorithmic_reverb_has_its_level_and_time(rt60: float):
    h = response(AlgorithmicReverb(-6, rt60, 0.02))
    assert h[0] == pytest.approx(1, abs=1e-6)
    assert np.all(np.abs(h[1:310]) < 1e-6)
    assert 10 * np.log10(np.sum(h[1:] ** 2)) == pytest.approx(-6, abs=0.1)
    # Most of white noise's power is in the upper octaves, whose time is 0.5 to 0.7 of it.
    assert 0.4 * rt60 < decay_time(h[310:]) < 1.0 * rt60


def test_short_delay_repeats():
    h = response(ShortDelay(-6.0206, 0.01, 0.5))
    assert h[[0, 160, 320, 480]] == pytest.approx([1, 0.5, 0.25, 0.125], rel=1e-4)
    assert np.sum(np.abs(h) > 0) < 12


def test_chorus_adds_wavering_copies_at_its_level():
    audio = white(seconds=4.0)
    added = Chorus(-6.0206, 2, 1.0)(audio, RATE, generator()) - audio
    # Linear interpolation between samples takes up to 3 dB off the treble.
    assert 10 * np.log10(np.mean(added**2) / np.mean(audio**2)) == pytest.approx(-7, abs=1.5)
    assert np.all(added[:, :80] == 0)  # nothing before 5 ms


def test_phaser_is_between_its_notch_and_one():
    audio = tone(1000, seconds=8.0, level=1.0)
    out = Phaser(0.6, 0.5, 4)(audio, RATE, generator())[0]
    envelope = np.sqrt(np.mean(out[: len(out) // 160 * 160].reshape(-1, 160) ** 2, axis=1) * 2)[10:-10]
    assert envelope.max() == pytest.approx(1, abs=0.03)
    assert envelope.min() == pytest.approx((1 - 0.6) / (1 + 0.6), abs=0.05)
