"""Speech to damage, and measures of the damage."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path

import numpy as np
import soxr

from audio_enh.dsp.signals import stft
from audio_enh.io import read_audio

SAMPLES = Path(str(resources.files("audio_enh"))) / "samples"


@functools.cache
def speech(rate: int = 16000, seconds: float = 2.0, name: str = "rain") -> np.ndarray:
    """Real speech at -26 dB, ``(1, samples)``; not to be changed."""
    audio, source = read_audio(SAMPLES / "clean" / f"{name}.flac")
    audio = soxr.resample(audio[0], source, rate)[: int(seconds * rate)]
    audio = (audio * (10 ** (-26 / 20) / np.sqrt(np.mean(audio**2))))[None].astype(np.float32)
    audio.setflags(write=False)
    return audio


def tone(frequency: float, rate: int = 16000, seconds: float = 1.0, level: float = 0.1) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * frequency * time))[None].astype(np.float32)


def white(rate: int = 16000, seconds: float = 2.0, level: float = 0.05) -> np.ndarray:
    noise = np.random.default_rng(5).standard_normal((1, int(seconds * rate)))
    return (level * noise).astype(np.float32)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def si_sdr(clean: np.ndarray, damaged: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, the mean not taken off."""
    clean, damaged = clean.astype(np.float64).ravel(), damaged.astype(np.float64).ravel()
    target = clean * (np.dot(clean, damaged) / np.dot(clean, clean))
    return float(10 * np.log10(np.sum(target**2) / (np.sum((damaged - target) ** 2) + 1e-20)))


def snr(clean: np.ndarray, damaged: np.ndarray) -> float:
    error = damaged.astype(np.float64) - clean
    return float(10 * np.log10(np.sum(clean.astype(np.float64) ** 2) / np.sum(error**2)))


def lsd(clean: np.ndarray, damaged: np.ndarray) -> float:
    """Log-spectral distance in dB, with a floor 60 dB under full scale."""
    a, b = (10 * np.log10(np.maximum(np.abs(stft(x, 512)) ** 2, 1e-6)) for x in (clean, damaged))
    return float(np.sqrt(np.mean((a - b) ** 2, axis=-2)).mean())


def lag(clean: np.ndarray, damaged: np.ndarray, limit: int = 800) -> int:
    """Samples by which the first channel is late, by whitened cross-correlation (GCC-PHAT).

    The plain one finds pitch periods and strong reflections where the damage is heavy.
    """
    size = 2 * clean.shape[1]
    cross = np.fft.rfft(damaged[0], size) * np.conj(np.fft.rfft(clean[0], size))
    cross /= np.abs(cross) + 1e-9 * np.abs(cross).max()
    correlation = np.fft.irfft(cross, size)
    around = np.concatenate([correlation[-limit:], correlation[: limit + 1]])
    return int(np.argmax(around)) - limit


def power_db(audio: np.ndarray, rate: int, low: float, high: float) -> float:
    """Power in a band, in dB."""
    spectrum = np.abs(np.fft.rfft(audio[0] * np.hanning(audio.shape[1]))) ** 2
    frequency = np.fft.rfftfreq(audio.shape[1], 1 / rate)
    return float(10 * np.log10(spectrum[(frequency >= low) & (frequency < high)].sum() + 1e-20))


def strongest(audio: np.ndarray, rate: int, count: int) -> list[float]:
    """Frequencies of the ``count`` highest separate peaks of the spectrum, ascending."""
    spectrum = np.abs(np.fft.rfft(audio[0] * np.hanning(audio.shape[1])))
    found = []
    for _ in range(count):
        top = int(np.argmax(spectrum))
        found.append(top * rate / audio.shape[1])
        spectrum[max(0, top - 5) : top + 6] = 0
    return sorted(found)
