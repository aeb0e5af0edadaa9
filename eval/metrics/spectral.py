"""Spectral distances: log-spectral and mel-cepstral."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .errors import as_pair, check_seconds
from .frames import hann, power_spectra

_FRAME_SECONDS = 0.032
_HOP_SECONDS = 0.008
_MIN_SECONDS = 0.25
# Spectra are floored this far below the loudest bin of the reference: a digitally silent bin has no level.
_FLOOR_DB = -80.0
_MEL_BANDS = 40
_MEL_MAX_HZ = 8000.0


def log_spectral_distance(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int
) -> float:
    """Log-spectral distance (Gray, Markel, IEEE TASSP 1976), in dB: root mean square over frequency of the
    difference of the power spectra in dB, mean over frames; 0 is best, unbounded above.

    Hann frames of 32 ms, 8 ms apart; both spectra floored 80 dB below the reference's loudest bin. Other
    programs take other frames and floors, or bels instead of dB: compare only numbers of one program.

    Args:
        reference, estimate: ``(samples,)``, equally long.
        sample_rate: any, in Hz.

    Raises:
        MetricError: ``too_short`` (under 0.25 s), or the inputs' faults: silent, not finite, of different
            lengths.
    """
    clean, other = _spectra(reference, estimate, sample_rate, "log-spectral distance")
    difference = _decibel(clean, clean.max()) - _decibel(other, clean.max())
    return float(np.sqrt(np.square(difference).mean(1)).mean())


def mel_cepstral_distance(
    reference: NDArray[np.floating],
    estimate: NDArray[np.floating],
    sample_rate: int,
    n_coefficients: int = 13,
) -> float:
    """Mel-cepstral distance (Kubichek, PACRIM 1993), in dB, mean over frames; 0 is best, unbounded above.

    ``10 / ln 10 * sqrt(2 * sum_{m=1..13} (c_m - c'_m)^2)`` with the cepstrum ``c_m`` of the log mel
    spectrum, ``ln |X_k| = c_0 / 2 + sum_m c_m cos(pi m (k + 1/2) / K)``: the root mean square difference in
    dB of two spectra smoothed over mel bands. ``c_0``, the level, does not count. K = 40 mel bands up to
    8 kHz, Hann frames of 32 ms, 8 ms apart, no time warping (the signals are aligned).

    Args:
        reference, estimate: ``(samples,)``, equally long.
        sample_rate: any, in Hz.
        n_coefficients: 1 to 39.

    Raises:
        MetricError: as ``log_spectral_distance``.
    """
    import librosa

    if not 1 <= n_coefficients < _MEL_BANDS:
        raise ValueError(f"n_coefficients must be 1 to {_MEL_BANDS - 1}, got {n_coefficients}")
    clean, other = _spectra(reference, estimate, sample_rate, "mel-cepstral distance")
    filters = librosa.filters.mel(
        sr=sample_rate,
        n_fft=2 * (clean.shape[1] - 1),
        n_mels=_MEL_BANDS,
        fmax=min(_MEL_MAX_HZ, sample_rate / 2),
        dtype=np.float64,
    )
    clean_mel, other_mel = clean @ filters.T, other @ filters.T
    # dB to natural log of magnitude; the factor is undone by the 10 / ln 10 of the definition.
    to_log = np.log(10) / 20
    difference = to_log * (_decibel(clean_mel, clean_mel.max()) - _decibel(other_mel, clean_mel.max()))
    band = np.arange(_MEL_BANDS) + 0.5
    order = np.arange(1, n_coefficients + 1)[:, None]
    cepstrum = difference @ (2 / _MEL_BANDS * np.cos(np.pi / _MEL_BANDS * order * band)).T
    return float((10 / np.log(10) * np.sqrt(2 * np.square(cepstrum).sum(1))).mean())


def _spectra(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int, metric: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    clean, other = as_pair(reference, estimate)
    check_seconds(clean.size, sample_rate, _MIN_SECONDS, metric)
    window = hann(2 * round(_FRAME_SECONDS * sample_rate / 2))
    hop = round(_HOP_SECONDS * sample_rate)
    return (
        power_spectra(clean, window, hop, window.size),
        power_spectra(other, window, hop, window.size),
    )


def _decibel(power: NDArray[np.float64], loudest: np.float64) -> NDArray[np.float64]:
    return 10 * np.log10(np.maximum(power / loudest, 10 ** (_FLOOR_DB / 10)))
