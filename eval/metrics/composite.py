"""Composite measures of overall quality, signal distortion and background intrusiveness, with their parts.

Y. Hu, P. Loizou, "Evaluation of objective quality measures for speech enhancement", IEEE TASLP 16(1), 2008.
The paper regresses listeners' ratings (ITU-T P.835) on the log-likelihood ratio (LLR), the weighted spectral
slope (WSS), the segmental SNR and PESQ. This is the variant of the VoiceBank-DEMAND literature (SEGAN, 2017,
and after), for 16 kHz: the paper's weights, with wide-band PESQ (P.862.2) where the paper had the raw score
of P.862; LLR and WSS as means of the best 95 % of frames, LLR not limited to 2; frames of 30 ms, 7.5 ms
apart; LPC order 16. Scores of other variants, and of 8 kHz, are not comparable.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import as_pair, check_rate, check_seconds
from .frames import frames, power_spectra
from .perceptual import PESQ_MIN_SECONDS, pesq_wb

# Loizou's program adds it to the samples, so that a digitally silent frame has a spectrum.
_EPS = float(np.finfo(np.float64).eps)
_KEPT_FRAMES = 0.95

# Critical bands of the WSS program: centre frequency and bandwidth in Hz.
# fmt: off
_BAND_CENTRES = np.array([
    50, 120, 190, 260, 330, 400, 470, 540, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30, 1288.72,
    1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63,
])
_BAND_WIDTHS = np.array([
    70, 70, 70, 70, 70, 70, 70, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823,
    168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136,
])
# fmt: on


class Composite(NamedTuple):
    """Predicted ratings on the five-point scales of ITU-T P.835, 1 (bad) to 5."""

    csig: float  # signal distortion
    cbak: float  # intrusiveness of the background
    covl: float  # overall


def composite(reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int) -> Composite:
    """CSIG, CBAK, COVL: wide-band variant of Hu and Loizou 2008 (see the module), 1 to 5; higher is better.

    Args:
        reference, estimate: ``(samples,)``, equally long.
        sample_rate: 16000, in Hz.

    Raises:
        MetricError: as ``pesq_wb``.
    """
    check_rate(sample_rate, (16000,), "the composite measure")
    pesq = pesq_wb(reference, estimate, sample_rate)
    llr = log_likelihood_ratio(reference, estimate, sample_rate)
    wss = weighted_spectral_slope(reference, estimate, sample_rate)
    segmental = seg_snr(reference, estimate, sample_rate)
    ratings = (
        3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss,
        1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * segmental,
        1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss,
    )
    return Composite(*(min(max(rating, 1.0), 5.0) for rating in ratings))


def seg_snr(reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int) -> float:
    """Segmental SNR (Hansen, Pellom, ICSLP 1998): mean over frames of the SNR in dB, each frame limited to
    -10 to 35 dB; higher is better.

    Frames of 30 ms, 7.5 ms apart, Hann window. Pauses count as much as speech.

    Args:
        reference, estimate: ``(samples,)``, equally long.
        sample_rate: any, in Hz.

    Raises:
        MetricError: ``too_short`` (under 0.25 s), or the inputs' faults: silent, not finite, of different
            lengths.
    """
    clean, other, window, hop = _prepare(reference, estimate, sample_rate, "segmental SNR")
    signal = np.square(frames(clean, window.size, hop) * window).sum(1)
    noise = np.square(frames(clean - other, window.size, hop) * window).sum(1)
    ratio = 10 * np.log10(signal / (noise + _EPS) + _EPS)
    # The reference program leaves out the last frame; so do all published numbers.
    return float(np.clip(ratio, -10, 35)[:-1].mean())


def log_likelihood_ratio(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int
) -> float:
    """Log-likelihood ratio of linear predictors (Quackenbush, Barnwell, Clements 1988), mean of the best 95 %
    of frames; 0 is best, unbounded above.

    Each frame's reference is predicted by the estimate's predictor and by its own; the ratio of the
    residuals' energies is at least 1.

    Args:
        reference, estimate: ``(samples,)``, equally long.
        sample_rate: in Hz; the predictor's order is 16, under 10 kHz 10.

    Raises:
        MetricError: as ``seg_snr``.
    """
    clean, other, window, hop = _prepare(reference, estimate, sample_rate, "LLR")
    order = 10 if sample_rate < 10000 else 16
    clean_correlation = _autocorrelation(frames(clean + _EPS, window.size, hop)[:-1] * window, order)
    other_correlation = _autocorrelation(frames(other + _EPS, window.size, hop)[:-1] * window, order)
    lags = np.abs(np.subtract.outer(np.arange(order + 1), np.arange(order + 1)))
    matrices = clean_correlation[:, lags]
    clean_predictor = _levinson(clean_correlation)
    other_predictor = _levinson(other_correlation)
    own = np.einsum("fi,fij,fj->f", clean_predictor, matrices, clean_predictor)
    cross = np.einsum("fi,fij,fj->f", other_predictor, matrices, other_predictor)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = cross / own
    # Rounding can turn the residual of a digitally silent frame negative: count it as lost, as the program.
    ratio[~(ratio > 0)] = 1000.0
    return _mean_of_best(np.log(ratio))


def weighted_spectral_slope(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int
) -> float:
    """Weighted spectral slope distance (Klatt, ICASSP 1982), mean of the best 95 % of frames; 0 is best,
    unbounded above.

    Squared difference of the spectral slopes in 25 critical bands up to 3.8 kHz, weighted towards bands near
    a peak.

    Args:
        reference, estimate: ``(samples,)``, equally long.
        sample_rate: at least 8000, in Hz.

    Raises:
        MetricError: as ``seg_snr``.
    """
    clean, other, window, hop = _prepare(reference, estimate, sample_rate, "WSS")
    n_fft = 2 ** int(np.ceil(np.log2(2 * window.size)))
    filters = _critical_bands(n_fft, sample_rate)

    def band_levels(audio: NDArray[np.float64]) -> NDArray[np.float64]:
        energies = power_spectra(audio + _EPS, window, hop, n_fft)[:-1, : n_fft // 2] @ filters.T
        return 10 * np.log10(np.maximum(energies, 1e-10))

    clean_levels, other_levels = band_levels(clean), band_levels(other)
    clean_slopes, other_slopes = np.diff(clean_levels), np.diff(other_levels)
    weights = (_slope_weights(clean_levels, clean_slopes) + _slope_weights(other_levels, other_slopes)) / 2
    distance = (weights * np.square(clean_slopes - other_slopes)).sum(1) / weights.sum(1)
    return _mean_of_best(distance)


def _prepare(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int, metric: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]:
    """Checked signals, the window of 30 ms and the hop of 7.5 ms."""
    clean, other = as_pair(reference, estimate)
    check_seconds(clean.size, sample_rate, PESQ_MIN_SECONDS, metric)
    length = round(0.03 * sample_rate)
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, length + 1) / (length + 1)))  # without the zero ends
    return clean, other, window, int(0.25 * 0.03 * sample_rate)


def _mean_of_best(distances: NDArray[np.float64]) -> float:
    kept = max(1, round(distances.size * _KEPT_FRAMES))
    return float(np.sort(distances)[:kept].mean())


def _autocorrelation(windowed: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Lags 0 to ``order`` of each row, ``(frames, order + 1)``."""
    length = windowed.shape[1]
    return np.stack(
        [(windowed[:, : length - lag] * windowed[:, lag:]).sum(1) for lag in range(order + 1)], axis=1
    )


def _levinson(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear predictors by the Levinson-Durbin recursion, all frames at once.

    Args:
        correlation: ``(frames, order + 1)``.

    Returns:
        ``(frames, order + 1)``, the prediction-error filter, first coefficient 1.
    """
    predictor = np.zeros_like(correlation)
    predictor[:, 0] = 1
    error = correlation[:, 0].copy()
    for order in range(1, correlation.shape[1]):
        reflection = -(predictor[:, :order] * correlation[:, order:0:-1]).sum(1) / error
        predictor[:, 1 : order + 1] += reflection[:, None] * predictor[:, order - 1 :: -1][:, :order]
        error *= 1 - reflection**2
    return predictor


def _critical_bands(n_fft: int, sample_rate: int) -> NDArray[np.float64]:
    """Gaussian-like filters of the WSS program, ``(25, n_fft / 2)``."""
    bins_per_hz = n_fft / sample_rate
    offset = np.arange(n_fft // 2) - np.floor(_BAND_CENTRES * bins_per_hz)[:, None]
    width = (_BAND_WIDTHS * bins_per_hz)[:, None]
    filters = np.exp(-11 * (offset / width) ** 2) * (_BAND_WIDTHS[0] / _BAND_WIDTHS)[:, None]
    threshold = np.exp(-30 / (2 * 2.303))  # cut below -30 dB, in the program's rounding
    return np.where(filters > threshold, filters, 0.0)


def _slope_weights(levels: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Klatt's weights, ``(frames, 24)``: large near the spectrum's maximum and near a local peak."""
    n_frames, n_slopes = slopes.shape
    rows = np.arange(n_frames)
    # Where a band's slope rises, its peak is sought upwards, else downwards. The upward search ends one band
    # short of the peak, as in the program that everybody's numbers come from.
    end = np.full(n_frames, n_slopes)
    begin = np.full(n_frames, -1)
    peaks = np.empty_like(slopes)
    for band in reversed(range(n_slopes)):
        rising = slopes[:, band] > 0
        end = np.where(rising, end, band)
        peaks[rising, band] = levels[rows, end - 1][rising]
    for band in range(n_slopes):
        rising = slopes[:, band] > 0
        begin = np.where(rising, band, begin)
        peaks[~rising, band] = levels[rows, begin + 1][~rising]
    below_maximum = levels.max(1, keepdims=True) - levels[:, :-1]
    below_peak = peaks - levels[:, :-1]
    return 20 / (20 + below_maximum) * (1 / (1 + below_peak))
