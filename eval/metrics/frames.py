"""Short-time frames, shared by the metrics that are means over frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def frames(audio: NDArray[np.float64], length: int, hop: int) -> NDArray[np.float64]:
    """All whole frames of a signal, a read-only view.

    Args:
        audio: ``(samples,)``, at least ``length`` samples.

    Returns:
        ``(frames, length)``.
    """
    return np.lib.stride_tricks.sliding_window_view(audio, length)[::hop]


def power_spectra(
    audio: NDArray[np.float64], window: NDArray[np.float64], hop: int, n_fft: int
) -> NDArray[np.float64]:
    """Squared magnitude of the windowed short-time spectra.

    Returns:
        ``(frames, n_fft // 2 + 1)``.
    """
    spectra = np.fft.rfft(frames(audio, window.size, hop) * window, n_fft)
    return spectra.real**2 + spectra.imag**2


def hann(length: int) -> NDArray[np.float64]:
    """Periodic Hann window, ``(length,)``."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
