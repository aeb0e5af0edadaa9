"""The lag is found, and taking it out restores the scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_enh.eval.lag import find_lag, overlap
from audio_enh.eval.metrics import si_sdr
from tests.eval.synthesis import RATE, noisy, speech

CLEAN = speech(1.5, seed=3)


def delayed(audio: np.ndarray, samples: int) -> np.ndarray:
    """Late by so many samples (early when negative), same length."""
    if samples >= 0:
        return np.concatenate([np.zeros(samples), audio])[: audio.size]
    return np.concatenate([audio[-samples:], np.zeros(-samples)])


@given(st.integers(-8000, 8000), st.sampled_from([1.0, 0.01, -0.5]))
@settings(max_examples=25, deadline=None)
def test_lag_is_found(samples: int, gain: float) -> None:
    lag = find_lag(CLEAN, gain * delayed(noisy(CLEAN, 5), samples), RATE)
    assert lag is not None
    assert lag.samples == samples
    assert np.sign(lag.correlation) == np.sign(gain)


@given(st.integers(-4000, 4000))
@settings(max_examples=25, deadline=None)
def test_overlap_restores_the_score(samples: int) -> None:
    late = delayed(noisy(CLEAN, 15), samples)
    here, there = overlap(samples, CLEAN.size, late.size)
    assert CLEAN[here].size == late[there].size == CLEAN.size - abs(samples)
    assert si_sdr(CLEAN[here], late[there]) == pytest.approx(15, abs=0.8)


def test_of_different_lengths() -> None:
    longer = np.concatenate([np.zeros(300), CLEAN, np.zeros(500)])
    assert find_lag(CLEAN, longer, RATE).samples == 300
    assert find_lag(longer, CLEAN, RATE).samples == -300
    here, there = overlap(300, CLEAN.size, longer.size)
    np.testing.assert_array_equal(CLEAN[here], longer[there])


def test_correlation_of_a_copy_is_one_and_beyond_the_reach_nothing_is_found() -> None:
    assert find_lag(CLEAN, 3 * CLEAN, RATE).correlation == pytest.approx(1)
    late = delayed(CLEAN, 3000)
    assert abs(find_lag(CLEAN, late, RATE, max_seconds=0.1).samples) <= 1600


def test_no_lag_of_silence_or_nan() -> None:
    bad = CLEAN.copy()
    bad[0] = np.nan
    assert find_lag(CLEAN, 0 * CLEAN, RATE) is None
    assert find_lag(bad, CLEAN, RATE) is None
    assert find_lag(CLEAN, CLEAN[:1], RATE) is not None


def test_nothing_coincides() -> None:
    here, there = overlap(50, 30, 40)
    assert np.arange(30)[here].size == np.arange(40)[there].size == 0
