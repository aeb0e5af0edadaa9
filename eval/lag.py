"""How far one signal lags another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_LAG_SECONDS = 1.0


@dataclass(frozen=True)
class Lag:
    """Where the cross-correlation peaks.

    Attributes:
        samples: positive when the estimate is late.
        correlation: normalised, at that lag: 1 for a scaled copy, negative for one of inverted polarity.
    """

    samples: int
    correlation: float


def find_lag(
    reference: NDArray[np.floating],
    estimate: NDArray[np.floating],
    sample_rate: int,
    max_seconds: float = MAX_LAG_SECONDS,
) -> Lag | None:
    """Lag of the estimate, at the largest magnitude of the cross-correlation.

    Args:
        reference, estimate: ``(samples,)``, also of different lengths.
        sample_rate: in Hz.
        max_seconds: how far to look, either way.

    Returns:
        None when one of them is silent or not finite: there is no lag to speak of.
    """
    import scipy.fft

    first, second = reference.astype(np.float64), estimate.astype(np.float64)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    energy = float(np.sqrt(np.dot(first, first) * np.dot(second, second)))
    if energy == 0:
        return None
    reach = min(round(max_seconds * sample_rate), max(first.size, second.size) - 1)
    n_fft = scipy.fft.next_fast_len(max(first.size, second.size) + reach, real=True)
    spectrum = np.conj(scipy.fft.rfft(first, n_fft)) * scipy.fft.rfft(second, n_fft)
    correlation = scipy.fft.irfft(spectrum, n_fft)
    lags = np.arange(-reach, reach + 1)
    best = int(np.argmax(np.abs(correlation[lags])))
    return Lag(int(lags[best]), float(np.clip(correlation[lags[best]] / energy, -1, 1)))


def overlap(samples: int, reference: int, estimate: int) -> tuple[slice, slice]:
    """The parts of both signals that coincide once a lag is taken out.

    Args:
        samples: lag of the estimate.
        reference, estimate: lengths in samples.

    Returns:
        Slices of the reference and of the estimate, equally long (empty when nothing coincides).
    """
    start = max(0, -samples)
    length = max(0, min(reference - start, estimate - max(0, samples)))
    return slice(start, start + length), slice(max(0, samples), max(0, samples) + length)
