"""The table of metrics, and several metrics at once."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from audio_enh.errors import UserError
from audio_enh.eval import METRICS as ALL_METRICS
from audio_enh.eval import MetricError, evaluate_arrays, select_metrics
from audio_enh.eval.arrays import missing_packages
from audio_enh.eval.metrics import Signals, measure, pesq_wb, si_sdr, stoi
from tests.eval.synthesis import RATE, noisy, speech

# Those of the extra speech-metrics, which are slow, have tests of their own; the table is the same code for all.
SLOW = ("distillmos", "wer", "dwer")
METRICS = [m for m in ALL_METRICS if m.name not in SLOW and not missing_packages(m.name)]


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return speech(4.6, seed=11)  # twice this is one window of DNSMOS: quick


def test_every_metric_gives_a_value_within_its_bounds(clean: np.ndarray) -> None:
    mixture = noisy(clean, 10)
    estimate = np.tanh(3 * (0.3 * clean + 0.7 * mixture)) / 3  # bent, so that there are artifacts
    result = measure(Signals(estimate, RATE, clean, mixture), METRICS)
    assert result.failures == {}
    assert set(result.scores) == {metric.name for metric in METRICS}
    for metric in METRICS:
        low, high = metric.bounds
        value = result.scores[metric.name]
        assert low is None or value >= low, metric.name
        assert high is None or value <= high, metric.name


def test_needs_are_what_is_declared(clean: np.ndarray) -> None:
    without = measure(Signals(clean, RATE), METRICS)
    assert set(without.scores) == {metric.name for metric in METRICS if metric.needs == "estimate"}
    assert {error.reason for error in without.failures.values()} == {"missing_input"}
    with_reference = measure(Signals(noisy(clean, 20), RATE, clean), METRICS)
    assert set(with_reference.failures) == {metric.name for metric in METRICS if metric.needs == "noisy"}


def test_a_transcript_is_all_that_wer_needs() -> None:
    metric = next(metric for metric in ALL_METRICS if metric.name == "wer")
    assert not metric.needs_reference
    with pytest.raises(MetricError, match="no transcript is given"):
        metric.compute(Signals(speech(1), RATE))


def test_direction_is_what_is_declared(clean: np.ndarray) -> None:
    mixture = noisy(clean, 0)
    worse = measure(Signals(0.4 * clean + 0.6 * mixture, RATE, clean, mixture), METRICS).scores
    better = measure(Signals(0.9 * clean + 0.1 * mixture, RATE, clean, mixture), METRICS).scores
    for metric in METRICS:
        # Not about noise, or of real speech only; SI-SAR has no artifacts.
        if metric.name not in ("plcmos", "dnsmos_p808", "si_sar", "phoneme_similarity"):
            sign = 1 if metric.higher_is_better else -1
            assert sign * better[metric.name] > sign * worse[metric.name], metric.name


def test_resampled_once_with_soxr(clean: np.ndarray, monkeypatch) -> None:
    wide, wide_mixture = (soxr.resample(audio, RATE, 48000) for audio in (clean, noisy(clean, 10)))
    calls = []
    original = soxr.resample
    monkeypatch.setattr("soxr.resample", lambda *a, **k: calls.append(a[1:]) or original(*a, **k))
    scores = evaluate_arrays(wide, wide_mixture, 48000, ("pesq_wb", "pesq_nb", "csig", "si_sdr", "stoi"))
    assert calls == [(48000, 16000)] * 2  # reference and estimate
    narrow = [original(audio, 48000, 16000, quality="VHQ") for audio in (wide, wide_mixture)]
    assert scores["pesq_wb"] == pesq_wb(*narrow, 16000)
    assert scores["si_sdr"] == si_sdr(wide, wide_mixture)
    assert scores["stoi"] == stoi(wide, wide_mixture, 48000)


def test_never_upsampled(clean: np.ndarray) -> None:
    result = measure(
        Signals(noisy(clean, 10), 8000, clean), select_metrics(["pesq_wb", "pesq_nb", "dnsmos_sig"])
    )
    assert set(result.scores) == {"pesq_nb"}
    assert {error.reason for error in result.failures.values()} == {"unsupported_rate"}


def test_infinite_is_a_failure_not_a_score(clean: np.ndarray) -> None:
    result = measure(Signals(clean, RATE, clean), select_metrics(["snr", "pesq_wb"]))
    assert result.failures["snr"].reason == "infinite"
    assert set(result.scores) == {"pesq_wb"}


def test_a_package_that_breaks_down_costs_its_metric_only(clean: np.ndarray, monkeypatch) -> None:
    import pystoi

    def broken(*_: object, **__: object) -> float:
        raise ValueError("a case\nnobody foresaw")

    monkeypatch.setattr(pystoi, "stoi", broken)
    result = measure(Signals(noisy(clean, 5), RATE, clean), select_metrics(["stoi", "snr"]))
    assert set(result.scores) == {"snr"}
    assert str(result.failures["stoi"]) == "broke_down: STOI broke down: ValueError: a case nobody foresaw"


def test_rounding_is_no_score(clean: np.ndarray) -> None:
    mixture = noisy(clean, 5)
    # The mixture itself has no artifacts, a scaled copy no error: what float64 leaves of them is not a ratio.
    result = measure(Signals(mixture, RATE, clean, mixture), select_metrics(["si_sar", "si_sir"]))
    assert result.failures["si_sar"].reason == "infinite"
    assert np.isfinite(result.scores["si_sir"])
    scaled = measure(Signals(0.3 * clean, RATE, clean), select_metrics(["si_sdr"]))
    assert scaled.failures["si_sdr"].reason == "infinite"


def test_evaluate_arrays_raises_what_it_cannot_score(clean: np.ndarray) -> None:
    assert set(evaluate_arrays(clean, noisy(clean, 5), RATE)) == {"pesq_wb", "stoi", "si_sdr"}
    with pytest.raises(MetricError):
        evaluate_arrays(clean, 0 * clean, RATE)
    with pytest.raises(UserError, match=r"unknown metric 'pesq'.*pesq_wb"):
        evaluate_arrays(clean, clean, RATE, ("pesq",))


def test_importing_the_metrics_does_not_import_torch_or_librosa() -> None:
    import subprocess
    import sys

    code = "import sys, audio_enh.eval; print(sorted({'torch', 'librosa', 'speechmos'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
