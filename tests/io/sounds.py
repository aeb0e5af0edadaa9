"""Signals for tests, and how far two of them are apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from audio_enh.io import AudioInfo, AudioReader, AudioWriter


def noise(frames: int, sample_rate: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """Noise from 200 Hz up to 3 kHz, which every codec keeps, ``(channels, frames)``."""
    rng = np.random.default_rng(seed)
    band = [200, min(3000, 0.35 * sample_rate)]
    sections = signal.butter(4, band, "bandpass", fs=sample_rate, output="sos")
    audio = signal.sosfilt(sections, rng.standard_normal((channels, frames)))
    return (0.1 * audio / max(audio.std(), 1e-9)).astype(np.float32) if frames else audio.astype(np.float32)


def lag(reference: NDArray[np.float32], other: NDArray[np.float32]) -> int:
    """Samples by which ``other`` is late, by the peak of the cross-correlation of the first channels."""
    n = min(reference.shape[-1], other.shape[-1])
    correlation = signal.correlate(other[0, :n], reference[0, :n], method="fft")
    return int(np.argmax(correlation)) - (n - 1)


def copy_through(source, target, block_seconds: float = 0.3, **options) -> tuple[AudioInfo, AudioWriter]:
    """Read and write again, as an enhancer that does nothing would."""
    with AudioReader(source) as reader, AudioWriter(target, reader.info, **options) as writer:
        for block in reader.blocks(block_seconds):
            writer.write(block)
    return reader.info, writer
