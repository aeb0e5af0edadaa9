"""Pictures of sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.signal import stft

FLOOR_DB = -70.0


def spectrogram_db(audio: NDArray[np.floating], sample_rate: int) -> NDArray[np.float64]:
    """Power in dB of 32 ms Hann frames every 8 ms, ``(bins, frames)``."""
    n_fft = round(0.032 * sample_rate)
    hop = round(0.008 * sample_rate)
    _, _, spectrum = stft(audio, sample_rate, nperseg=n_fft, noverlap=n_fft - hop)
    return 20 * np.log10(np.abs(spectrum) + 1e-10)


def before_after(
    noisy: NDArray[np.floating], enhanced: NDArray[np.floating], sample_rate: int, path: Path
) -> None:
    """Two spectrograms under each other on one scale, written as PNG.

    Args:
        noisy, enhanced: ``(samples,)``, at least one frame of 32 ms.
        sample_rate: in Hz.
        path: of the picture.
    """
    pictures = [spectrogram_db(audio, sample_rate) for audio in (noisy, enhanced)]
    top = max(float(picture.max()) for picture in pictures)
    figure = Figure(figsize=(9, 5), dpi=110, layout="constrained")
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    for axis, picture, title in zip(axes, pictures, ("before", "after"), strict=True):
        mesh = axis.imshow(
            picture - top,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=FLOOR_DB,
            vmax=0,
            extent=(0, len(noisy) / sample_rate, 0, sample_rate / 2000),
        )
        axis.set_ylabel("frequency (kHz)")
        axis.set_title(title, loc="left")
    axes[1].set_xlabel("time (s)")
    figure.colorbar(mesh, ax=axes, label="level (dB)", shrink=0.8)
    figure.savefig(path)
