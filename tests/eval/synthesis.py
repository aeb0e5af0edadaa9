"""Synthetic speech: voiced syllables with moving formants, consonant bursts and pauses. Metrics find
utterances in it, and nothing has to be shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.signal
import soundfile
from numpy.typing import NDArray

RATE = 16000


def speech(seconds: float, seed: int = 0, sample_rate: int = RATE) -> NDArray[np.float64]:
    """``(samples,)``, peak 0.5."""
    rng = np.random.default_rng(seed)
    pieces: list[NDArray[np.float64]] = []
    samples = round(seconds * sample_rate)
    while sum(piece.size for piece in pieces) < samples:
        pieces.append(_syllable(rng, sample_rate))
        if rng.random() < 0.2:
            pieces.append(np.zeros(round(rng.uniform(0.15, 0.4) * sample_rate)))
    audio = np.concatenate(pieces)[:samples]
    audio += 1e-4 * rng.standard_normal(samples)
    return 0.5 * audio / np.abs(audio).max()


def noisy(clean: NDArray[np.float64], snr_db: float, seed: int = 1) -> NDArray[np.float64]:
    """White noise added at this SNR."""
    noise = np.random.default_rng(seed).standard_normal(clean.size)
    return clean + noise * np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)


def write(path: Path, audio: NDArray[np.floating], sample_rate: int = RATE) -> None:
    """A file (WAV: float), folders made as needed; ``audio`` is ``(samples,)`` or ``(channels, samples)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.T, sample_rate, subtype="FLOAT" if path.suffix == ".wav" else None)


def _syllable(rng: np.random.Generator, sample_rate: int) -> NDArray[np.float64]:
    burst = rng.standard_normal(round(rng.uniform(0.02, 0.06) * sample_rate)) * 0.1
    length = round(rng.uniform(0.12, 0.28) * sample_rate)
    pitch = rng.uniform(90, 220) * (1 + 0.1 * np.sin(np.linspace(0, np.pi, length)))
    phase = np.cumsum(pitch / sample_rate)
    voice = scipy.signal.sawtooth(2 * np.pi * phase) + 0.02 * rng.standard_normal(length)
    for centre in (rng.uniform(300, 800), rng.uniform(900, 2200), rng.uniform(2400, 3300)):
        voice = scipy.signal.lfilter(*scipy.signal.iirpeak(centre, 6, fs=sample_rate), voice) + 0.1 * voice
    voice *= scipy.signal.windows.tukey(length, 0.4) / (np.abs(voice).max() + 1e-9)
    return np.concatenate([burst, voice])
