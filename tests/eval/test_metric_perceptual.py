"""PESQ and STOI against the packages called directly, and where these misbehave."""

from __future__ import annotations

import warnings

import numpy as np
import pesq
import pystoi
import pytest

from audio_enh.eval.metrics import MetricError, estoi, pesq_nb, pesq_wb, stoi
from audio_enh.eval.metrics.utterances import count_utterances
from tests.eval.synthesis import RATE, noisy, speech


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return speech(3.0, seed=5)


@pytest.mark.parametrize("snr_db", [0, 15])
def test_same_as_the_packages(clean: np.ndarray, snr_db: float) -> None:
    degraded = noisy(clean, snr_db)
    assert pesq_wb(clean, degraded, RATE) == pesq.pesq(RATE, clean, degraded, "wb")
    assert pesq_nb(clean, degraded, RATE) == pesq.pesq(RATE, clean, degraded, "nb")
    assert pesq_nb(clean[::2], degraded[::2], 8000) == pesq.pesq(8000, clean[::2], degraded[::2], "nb")
    assert stoi(clean, degraded, RATE) == pytest.approx(pystoi.stoi(clean, degraded, RATE), rel=1e-12)
    # Sums over arrays that lie elsewhere in memory may differ in the last bit.
    assert estoi(clean, degraded, RATE) == pytest.approx(
        pystoi.stoi(clean, degraded, RATE, extended=True), rel=1e-12
    )


def test_ceilings(clean: np.ndarray) -> None:
    assert pesq_wb(clean, clean, RATE) == pytest.approx(4.644, abs=1e-3)
    assert pesq_nb(clean, clean, RATE) == pytest.approx(4.549, abs=1e-3)
    assert stoi(clean, clean, RATE) == pytest.approx(1, abs=1e-6)
    assert estoi(clean, clean, RATE) == pytest.approx(1, abs=1e-6)


def test_better_signal_to_noise_ratio_scores_better(clean: np.ndarray) -> None:
    for metric in (pesq_wb, pesq_nb, stoi, estoi):
        scores = [metric(clean, noisy(clean, snr_db), RATE) for snr_db in (-5, 5, 15, 25)]
        assert scores == sorted(scores)


def test_not_symmetric(clean: np.ndarray) -> None:
    degraded = noisy(clean, 10)
    assert abs(pesq_wb(clean, degraded, RATE) - pesq_wb(degraded, clean, RATE)) > 0.05
    assert abs(stoi(clean, degraded, RATE) - stoi(degraded, clean, RATE)) > 1e-3


def reason(metric, *arguments) -> str:
    with pytest.raises(MetricError) as caught:
        metric(*arguments)
    return caught.value.reason


@pytest.mark.parametrize("metric", [pesq_wb, pesq_nb, stoi, estoi])
def test_no_value_has_a_reason(clean: np.ndarray, metric) -> None:
    bad = clean.copy()
    bad[7] = np.inf
    assert reason(metric, 0 * clean, clean, RATE) == "silent_reference"
    assert reason(metric, clean, 0 * clean, RATE) == "silent_estimate"
    assert reason(metric, clean, clean[:-160], RATE) == "length_mismatch"
    assert reason(metric, clean, bad, RATE) == "not_finite"
    assert reason(metric, clean[None], clean[None], RATE) == "not_mono"
    assert reason(metric, clean[4000:4500], clean[4000:4500], RATE) == "too_short"


def test_stoi_says_so_instead_of_returning_1e_5(clean: np.ndarray) -> None:
    short = clean[8000:11200]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason(stoi, short, short, RATE) == "too_little_speech"
        mostly_silent = np.zeros_like(clean)
        mostly_silent[:3200] = short
        assert reason(estoi, mostly_silent, mostly_silent, RATE) == "too_little_speech"


def test_pesq_without_an_utterance() -> None:
    clicks = np.zeros(2 * RATE)
    for start in (4000, 14000, 24000):  # each shorter than an utterance, too far apart to be joined
        clicks[start : start + 1600] = 0.1 * np.random.default_rng(start).standard_normal(1600)
    with pytest.raises(pesq.NoUtterancesError):
        pesq.pesq(RATE, clicks, clicks, "wb")
    assert reason(pesq_wb, clicks, clicks, RATE) == "too_little_speech"


def test_pesq_rates(clean: np.ndarray) -> None:
    assert reason(pesq_wb, clean, clean, 8000) == "unsupported_rate"
    assert reason(pesq_nb, clean, clean, 48000) == "unsupported_rate"


def bursts(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    one = np.concatenate([0.1 * rng.standard_normal(RATE // 2), np.zeros(RATE * 2 // 5)])
    return np.tile(one, count) + 1e-4 * rng.standard_normal(one.size * count)


@pytest.mark.parametrize("count", [1, 10, 40, 60])
def test_utterances_are_counted(count: int) -> None:
    assert count_utterances(bursts(count), RATE) == count


def test_pesq_refuses_what_its_c_code_has_no_room_for() -> None:
    # 60 utterances overwrite the package's arrays of 50: called directly, the interpreter dies.
    many, fewer = bursts(60), bursts(40)
    assert reason(pesq_wb, many, noisy(many, 20), RATE) == "too_long"
    assert 1 < pesq_wb(fewer, noisy(fewer, 20), RATE) < 4.64
