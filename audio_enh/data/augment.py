"""Random changes to a training signal. Each takes ``(samples,)`` float32 and a NumPy generator."""

from __future__ import annotations

import numpy as np
from scipy import signal

from audio_enh.dsp.signals import harmonics, peak, rms, zero_phase


def active_rms(audio: np.ndarray, frame: int = 320) -> float:
    """Root mean square over the frames within 40 dB of the loudest one.

    Pauses do not count, so that the signal-to-noise ratio means what it says while someone speaks.
    """
    n = len(audio) // frame
    if n == 0:
        return rms(audio)
    power = np.square(audio[: n * frame], dtype=np.float64).reshape(n, frame).mean(axis=1)
    loud = power[power > power.max() * 1e-4]
    return float(np.sqrt(loud.mean())) if loud.size else 0.0


def random_equaliser(audio: np.ndarray, rng: np.random.Generator, max_db: float = 8.0) -> np.ndarray:
    """A smooth random frequency response: gains at six frequencies, interpolated over log-frequency in dB.

    Zero phase, applied in the frequency domain, so the signal stays aligned.
    """
    n = len(audio)
    spectrum = np.fft.rfft(audio, signal_length := _fast_length(n))
    octave = np.log2(np.maximum(np.linspace(0, 1, len(spectrum)), 2.0**-7))
    points = np.linspace(-7, 0, 6)
    gains = rng.uniform(-max_db, max_db, 6)
    response = 10 ** (np.interp(octave, points, gains) / 20)
    return np.fft.irfft(spectrum * response, signal_length)[:n].astype(np.float32)


def random_low_pass(audio: np.ndarray, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """A steep low-pass between 3 kHz and nine tenths of the Nyquist frequency: telephones, old codecs."""
    cutoff = rng.uniform(min(3000, 0.3 * sample_rate), 0.45 * sample_rate)
    sos = signal.butter(8, cutoff, fs=sample_rate, output="sos")
    return zero_phase(sos, audio)


def random_band_stop(
    audio: np.ndarray, rng: np.random.Generator, sample_rate: int, share: float = 0.2
) -> np.ndarray:
    """Take out one random band of up to ``share`` of the mel scale: the band mask of Defossez et al. 2020
    (arXiv 2006.12847). Zero phase.

    Args:
        audio: ``(..., samples)``; the same band is taken out of all.
        rng: source of randomness.
        sample_rate: in Hz.
        share: 0 to 1.
    """
    top = np.log1p(sample_rate / 2 / 700)
    low = rng.uniform(np.log1p(40 / 700) / top, 1)
    low, high = 700 * np.expm1(top * np.array([low, min(1, low + share * rng.random())]))
    frequency = np.fft.rfftfreq(audio.shape[-1], 1 / sample_rate)
    # Edges of 50 Hz ring less than steps.
    inside = np.clip((frequency - low) / 50 + 0.5, 0, 1) * np.clip((high - frequency) / 50 + 0.5, 0, 1)
    return np.fft.irfft(np.fft.rfft(audio) * (1 - inside), audio.shape[-1]).astype(np.float32)


def clip(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hard clipping at 20 to 80 % of the peak."""
    limit = peak(audio) * rng.uniform(0.2, 0.8)
    return np.clip(audio, -limit, limit)


def coloured_noise(length: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise with power proportional to ``f ** -slope``, slope from -1 (blue) to 2 (brown)."""
    n = _fast_length(length)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.maximum(np.arange(len(spectrum)), 4.0)
    spectrum *= frequency ** (-rng.uniform(-1, 2) / 2)
    noise = np.fft.irfft(spectrum, n)[:length]
    return (noise / (np.std(noise) + 1e-12)).astype(np.float32)


def hum(length: int, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """Mains hum: 50 or 60 Hz and up to 20 harmonics of random strength and phase."""
    time = np.arange(length) / sample_rate
    base = rng.choice([50.0, 60.0]) * rng.uniform(0.995, 1.005)
    drawn = [(rng.exponential() / k, rng.random()) for k in range(1, int(rng.integers(2, 21)))]
    out = harmonics(time, float(base), drawn)
    return (out / (np.std(out) + 1e-12)).astype(np.float32)


def clicks(length: int, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """Impulsive noise: short decaying bursts at random times, as of keys, taps and bad contacts."""
    out = np.zeros(length)
    count = 1 + rng.poisson(4 * length / sample_rate)
    for start in rng.integers(0, length, count):
        n = int(sample_rate * rng.uniform(0.002, 0.03))
        burst = rng.standard_normal(n) * np.exp(-np.linspace(0, 6, n)) * rng.lognormal(0, 0.7)
        if rng.random() < 0.5:  # a body that rings
            pitch = rng.uniform(200, 4000)
            burst *= np.cos(2 * np.pi * pitch * np.arange(n) / sample_rate)
        end = min(length, start + n)
        out[start:end] += burst[: end - start]
    return (out / (np.std(out) + 1e-12)).astype(np.float32)


def rumble(length: int, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """What lies below speech: noise between 5 and 45 Hz (wind, handling), thumps, or an offset.

    Returns:
        ``(length,)`` float32 of root mean square 1.
    """
    kind = rng.integers(3)
    time = np.arange(length) / sample_rate
    if kind == 0:
        n = _fast_length(length)
        frequency = np.fft.rfftfreq(n, 1 / sample_rate)
        inside = (frequency > 5) & (frequency < rng.uniform(15, 45))
        out = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * inside, n)[:length]
    elif kind == 1:
        out = np.zeros(length)
        for start in rng.uniform(0, time[-1], 1 + rng.poisson(time[-1])):
            since = np.maximum(time - start, 0)
            out += np.exp(-since / rng.uniform(0.01, 0.1)) * np.sin(2 * np.pi * rng.uniform(15, 60) * since)
    else:
        out = np.ones(length) * rng.choice([-1.0, 1.0])
    return (out / (np.sqrt(np.mean(out**2)) + 1e-12)).astype(np.float32)


def modulate(audio: np.ndarray, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """Slow random change of level, up to 20 dB, at 0.3 to 4 Hz: noise that comes and goes."""
    n = len(audio)
    points = max(4, int(n / sample_rate * rng.uniform(0.3, 4)) + 3)
    gains = rng.uniform(-20, 0, points)
    envelope = np.interp(np.linspace(0, points - 1, n), np.arange(points), gains)
    return (audio * 10 ** (envelope / 20)).astype(np.float32)


def _fast_length(n: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(n, real=True))
