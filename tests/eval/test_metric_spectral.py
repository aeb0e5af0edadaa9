"""Composite, segmental SNR, log-spectral and mel-cepstral distance against theory and independent code."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import scipy.linalg
import scipy.signal

from audio_enh.eval.metrics import (
    MetricError,
    composite,
    log_likelihood_ratio,
    log_spectral_distance,
    mel_cepstral_distance,
    pesq_wb,
    seg_snr,
    weighted_spectral_slope,
)
from tests.eval.synthesis import RATE, noisy, speech


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return speech(2.0, seed=2)


def congruential_noise(samples: int, seed: int) -> np.ndarray:
    """Uniform in -1 to 1, the same on every machine and library version."""
    values = np.empty(samples)
    for index in range(samples):
        seed = (1664525 * seed + 1013904223) % 2**32
        values[index] = seed / 2**31 - 1
    return values


@pytest.mark.parametrize(
    ("sample_rate", "expected"),
    [
        (16000, (16.913369274524285, 2.198963367203572, 60.54677176086632)),
        (8000, (16.28785368660667, 2.7846694549170286, 66.2300637840446)),
    ],
)
def test_parts_of_composite_as_pysepm(sample_rate: int, expected: tuple[float, float, float]) -> None:
    # Numbers from pysepm (schmiph2, commit 3143ccc), a port of Loizou's composite.m checked against it.
    time = np.arange(16000) / 16000
    tones = sum(
        gain * np.sin(2 * np.pi * hertz * time) for gain, hertz in ((1, 180), (0.5, 900), (0.2, 2500))
    )
    reference = 0.3 * np.sin(2 * np.pi * 3 * time) ** 2 * tones + 1e-3 * congruential_noise(16000, 1)
    estimate = reference + 0.02 * congruential_noise(16000, 2)
    parts = (seg_snr, log_likelihood_ratio, weighted_spectral_slope)
    assert [part(reference, estimate, sample_rate) for part in parts] == pytest.approx(expected, rel=1e-9)


def test_composite_is_the_regression_of_its_parts(clean: np.ndarray) -> None:
    estimate = noisy(clean, 15)
    pesq, llr = pesq_wb(clean, estimate, RATE), log_likelihood_ratio(clean, estimate, RATE)
    wss, segmental = weighted_spectral_slope(clean, estimate, RATE), seg_snr(clean, estimate, RATE)
    scores = composite(clean, estimate, RATE)
    assert scores.cbak == pytest.approx(1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * segmental)
    assert scores.csig == pytest.approx(3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss)
    assert scores.covl == pytest.approx(1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss)
    assert all(1 < score < 5 for score in scores)


def test_composite_bounds(clean: np.ndarray) -> None:
    assert composite(clean, clean, RATE) == (5, 5, 5)
    assert composite(clean, noisy(clean, -20), RATE).csig == 1


def test_llr_is_the_ratio_of_prediction_errors(clean: np.ndarray) -> None:
    # One frame at a time with scipy's Toeplitz solver, not Levinson's recursion.
    estimate = noisy(clean, 10)
    window = scipy.signal.windows.hann(482)[1:-1]
    ratios = []
    for start in range(0, clean.size - 480 - 120 + 1, 120):
        predictors, matrices = [], []
        for audio in (clean, estimate):
            frame = audio[start : start + 480] * window
            lags = np.correlate(frame, frame, "full")[479 : 479 + 17]
            predictors.append(np.concatenate([[1], scipy.linalg.solve_toeplitz(lags[:-1], -lags[1:])]))
            matrices.append(scipy.linalg.toeplitz(lags))
        own, cross = predictors[0], predictors[1]
        ratios.append(np.log((cross @ matrices[0] @ cross) / (own @ matrices[0] @ own)))
    kept = np.sort(ratios)[: round(0.95 * len(ratios))]
    assert log_likelihood_ratio(clean, estimate, RATE) == pytest.approx(kept.mean(), rel=1e-6)


def test_distances_of_identical_signals_are_zero(clean: np.ndarray) -> None:
    for metric in (
        log_likelihood_ratio,
        weighted_spectral_slope,
        log_spectral_distance,
        mel_cepstral_distance,
    ):
        assert metric(clean, clean, RATE) == pytest.approx(0, abs=1e-9)
    assert seg_snr(clean, clean, RATE) == pytest.approx(35, abs=0.5)  # the limit, but for silent frames


def test_seg_snr_of_a_scaled_copy() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE) * 0.1
    assert seg_snr(noise, 0.9 * noise, RATE) == pytest.approx(20, abs=1e-6)
    assert seg_snr(noise, 11 * noise, RATE) == -10


@pytest.mark.parametrize("gain_db", [-20, -1, 6])
def test_gain_moves_lsd_by_itself_and_leaves_mcd(gain_db: float) -> None:
    noise = np.random.default_rng(1).standard_normal(RATE) * 0.05
    scaled = noise * 10 ** (gain_db / 20)
    assert log_spectral_distance(noise, scaled, RATE) == pytest.approx(abs(gain_db), abs=1e-3)
    assert mel_cepstral_distance(noise, scaled, RATE) == pytest.approx(0, abs=1e-9)


def test_lsd_of_a_filter_is_its_response() -> None:
    # A circular one-zero filter multiplies each frame's spectrum: nearly, as the filter is short.
    noise = np.random.default_rng(2).standard_normal(4 * RATE) * 0.05
    filtered = scipy.signal.lfilter([1, -0.5], 1, noise)
    response = scipy.signal.freqz([1, -0.5], worN=4096)[1]
    expected = np.sqrt(np.mean((20 * np.log10(np.abs(response))) ** 2))
    assert log_spectral_distance(noise, filtered, RATE) == pytest.approx(expected, rel=0.02)


def test_mcd_against_librosa_cepstra(clean: np.ndarray) -> None:
    estimate = noisy(clean, 15)

    def cepstra(audio: np.ndarray, loudest: float) -> np.ndarray:
        power = librosa.feature.melspectrogram(
            y=audio, sr=RATE, n_fft=512, hop_length=128, center=False, n_mels=40, fmax=8000
        )
        decibel = 10 * np.log10(np.maximum(power / loudest, 1e-8))
        orthonormal = librosa.feature.mfcc(S=decibel * np.log(10) / 20, n_mfcc=14)
        return np.sqrt(2 / 40) * orthonormal[1:]

    loudest = librosa.feature.melspectrogram(
        y=clean, sr=RATE, n_fft=512, hop_length=128, center=False, n_mels=40, fmax=8000
    ).max()
    difference = cepstra(clean, loudest) - cepstra(estimate, loudest)
    expected = (10 / np.log(10) * np.sqrt(2 * (difference**2).sum(0))).mean()
    assert mel_cepstral_distance(clean, estimate, RATE) == pytest.approx(expected, rel=1e-4)


def test_mcd_with_all_coefficients_is_the_spread_of_the_mel_difference() -> None:
    # Parseval: with all 39 coefficients, the root mean square over bands of the difference without its mean
    # (the last coefficient counts twice in the formula, once in the sum: hence the tolerance).
    noise = np.random.default_rng(4).standard_normal(RATE) * 0.1
    tilted = scipy.signal.lfilter([1, -0.9], 1, noise)
    filters = librosa.filters.mel(sr=RATE, n_fft=512, n_mels=40, fmax=8000)

    def levels(audio: np.ndarray) -> np.ndarray:
        spectra = np.abs(librosa.stft(audio, n_fft=512, hop_length=128, center=False)) ** 2
        return 10 * np.log10(filters @ spectra)

    expected = (levels(noise) - levels(tilted)).std(0).mean()
    full = mel_cepstral_distance(noise, tilted, RATE, n_coefficients=39)
    assert full == pytest.approx(expected, rel=0.01)
    assert mel_cepstral_distance(noise, tilted, RATE) < full


def test_digital_silence_in_places_is_no_accident(clean: np.ndarray) -> None:
    gated = clean.copy()
    gated[: RATE // 2] = 0
    for metric in (
        seg_snr,
        log_likelihood_ratio,
        weighted_spectral_slope,
        log_spectral_distance,
        mel_cepstral_distance,
    ):
        for pair in ((gated, clean), (clean, gated), (gated, gated)):
            assert np.isfinite(metric(*pair, RATE))


def test_no_value_has_a_reason(clean: np.ndarray) -> None:
    for metric in (composite, seg_snr, log_spectral_distance, mel_cepstral_distance):
        for wanted, arguments in {
            "too_short": (clean[:3999], clean[:3999]),
            "silent_reference": (0 * clean, clean),
            "silent_estimate": (clean, 0 * clean),
            "length_mismatch": (clean, clean[:-1]),
        }.items():
            with pytest.raises(MetricError) as caught:
                metric(*arguments, RATE)
            assert caught.value.reason == wanted
    with pytest.raises(MetricError) as caught:
        composite(clean, clean, 8000)
    assert caught.value.reason == "unsupported_rate"
