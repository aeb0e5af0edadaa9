"""What a model's band leaves out is noticed."""

import numpy as np
import pytest
import soxr

from audio_enh.inference.band import UpperBand

RATE = 48000


def measure(audio: np.ndarray, rate: int = RATE, edge: float = 8000) -> bool:
    band = UpperBand(rate, edge)
    for start in range(0, audio.shape[1], 4800):
        band.add(audio[:, start : start + 4800])
    return band.audible


@pytest.mark.parametrize(("level_db", "heard"), [(-30, True), (-45, True), (-55, False), (-90, False)])
def test_a_tone_above_the_edge_is_noticed_by_its_level(level_db: float, heard: bool) -> None:
    t = np.arange(2 * RATE) / RATE
    low, high = np.sin(2 * np.pi * 500 * t), np.sin(2 * np.pi * 12000 * t)
    assert measure((low + 10 ** (level_db / 20) * high)[None]) is heard


def test_what_was_band_limited_before_is_not_noticed() -> None:
    """16-bit rounding and the skirts of a resampler's filter lie above the edge, but nothing that one hears."""
    narrow = 0.1 * np.random.default_rng(0).standard_normal((2, 16000))
    wide = soxr.resample(narrow.T, 16000, RATE).T
    assert not measure(np.round(wide * 32768) / 32768)
    assert measure(0.1 * np.random.default_rng(0).standard_normal((2, RATE)))


def test_silence_nothing_and_low_rates() -> None:
    assert not measure(np.zeros((1, RATE)))
    assert not measure(np.zeros((1, 0)))
    assert not measure(np.random.default_rng(0).standard_normal((1, 16000)), rate=16000)
