"""Levels, filters, envelopes and time-frequency transforms that mixing and distortions share; NumPy only."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import fft, signal

#: ``(channels, samples)``, full scale is 1.
Audio: TypeAlias = NDArray[np.float32]


#: Level in dB, RMS against full scale, of speech in training (Serra et al. 2022) and of what is added to silence.
NOMINAL_DB = -26.0
_SILENCE = 1e-6


def from_db(level: float) -> float:
    """Amplitude of a level in dB."""
    return float(10 ** (level / 20))


def rms(audio: NDArray[np.floating]) -> float:
    """Root mean square of all samples of all channels."""
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if audio.size else 0.0


def frame_rms(audio: Audio, frame: int) -> NDArray[np.float64]:
    """Root mean square of consecutive frames over all channels, ``(frames,)``; the last frame may be partial."""
    power = np.mean(np.square(audio, dtype=np.float64), axis=0)
    starts = np.arange(0, len(power), frame)
    sizes = np.minimum(frame, len(power) - starts)
    return np.sqrt(np.add.reduceat(power, starts) / sizes)


def active_level(audio: Audio, sample_rate: int) -> float:
    """RMS while someone speaks: over the 20 ms frames within 40 dB of the loudest; 0 for silence."""
    power = frame_rms(audio, max(1, sample_rate // 50)) ** 2
    top = float(power.max())
    return float(np.sqrt(power[power >= top * 1e-4].mean())) if top > _SILENCE**2 else 0.0


def reference_level(audio: Audio, sample_rate: int) -> float:
    """The active level, or the nominal one where there is none: noise in silence has to have some level."""
    return active_level(audio, sample_rate) or from_db(NOMINAL_DB)


def same_level(audio: Audio, like: Audio) -> Audio:
    """``audio`` scaled to the RMS of ``like``."""
    level = rms(audio)
    return (audio * (rms(like) / level)).astype(np.float32) if level > _SILENCE else audio


def peak(audio: Audio) -> float:
    """Largest magnitude."""
    return float(np.abs(audio).max(initial=0.0))


def fit(audio: Audio, length: int) -> Audio:
    """Cut or extend by silence to ``length`` samples."""
    if audio.shape[-1] >= length:
        return audio[..., :length]
    return np.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(0, length - audio.shape[-1])])


def resample(audio: Audio, source_rate: float, target_rate: float) -> Audio:
    """Other sample rate, no delay, ``(channels, samples)``."""
    if source_rate == target_rate:
        return audio
    return np.ascontiguousarray(soxr.resample(audio.T, source_rate, target_rate).T, dtype=np.float32)


def zero_phase(sos: NDArray[np.float64], audio: Audio) -> Audio:
    """A filter run forward and backward: no delay, its response squared."""
    return signal.sosfiltfilt(sos, audio, axis=-1).astype(np.float32)


def harmonics(
    time: NDArray[np.float64], base: float, partials: Iterable[tuple[float, float]]
) -> NDArray[np.float64]:
    """A sum of sines at multiples of ``base``.

    Args:
        time: in seconds.
        base: frequency of the first, in Hz.
        partials: amplitude and phase (in periods) of the first, the second and so on.
    """
    out = np.zeros(len(time))
    for k, (strength, phase) in enumerate(partials, 1):
        out += strength * np.sin(2 * np.pi * (k * base * time + phase))
    return out


def spectral_gain(
    audio: Audio, sample_rate: int, frequencies: Sequence[float], gains_db: Sequence[float]
) -> Audio:
    """A zero-phase filter given by gains in dB at frequencies in Hz, linear in between over log-frequency."""
    length = audio.shape[-1]
    # A tail as long as the filter's ringing keeps the end from leaking into the beginning.
    size = int(fft.next_fast_len(length + sample_rate // 20, real=True))
    axis = np.log2(np.maximum(fft.rfftfreq(size, 1 / sample_rate), 1.0))
    gain = 10 ** (np.interp(axis, np.log2(np.maximum(frequencies, 1.0)), gains_db) / 20)
    spectrum = fft.rfft(audio, size, axis=-1) * gain.astype(np.float32)
    return fft.irfft(spectrum, size, axis=-1)[..., :length].astype(np.float32)


def stft_size(sample_rate: int, seconds: float = 0.032) -> int:
    """The power of two nearest to ``seconds``."""
    return int(2 ** max(5, round(np.log2(sample_rate * seconds))))


@functools.lru_cache(maxsize=32)
def _window(n_fft: int) -> NDArray[np.float32]:
    """Periodic Hann window. At a hop of a quarter its squares add up to 1.5."""
    return signal.windows.hann(n_fft, sym=False).astype(np.float32)


def stft(audio: Audio, n_fft: int) -> NDArray[np.complex64]:
    """Spectra of Hann frames every quarter of a frame, ``(channels, bins, frames)``."""
    hop = n_fft // 4
    frames = -(-audio.shape[1] // hop) + 3  # each sample lies in four frames
    padded = np.pad(audio, ((0, 0), (3 * hop, (frames + 3) * hop - 3 * hop - audio.shape[1])))
    cut = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=1)[:, ::hop]
    return np.ascontiguousarray(fft.rfft(cut * _window(n_fft), axis=-1).swapaxes(1, 2))


def istft(spectrum: NDArray[np.complexfloating], n_fft: int, length: int) -> Audio:
    """Least-squares inverse of :func:`stft`, ``(channels, length)``."""
    hop = n_fft // 4
    channels, _, frames = spectrum.shape
    pieces = fft.irfft(spectrum.swapaxes(1, 2), n_fft, axis=-1) * (_window(n_fft) / 1.5)
    out = np.zeros((channels, frames + 3, hop), np.float32)
    for quarter in range(4):
        out[:, quarter : quarter + frames] += pieces[:, :, quarter * hop : (quarter + 1) * hop]
    return out.reshape(channels, -1)[:, 3 * hop : 3 * hop + length]


def follow(
    level: NDArray[np.float64], attack: float, release: float, frame_seconds: float
) -> NDArray[np.float64]:
    """One-pole smoothing with one time constant on the way up and another on the way down.

    Args:
        level: one value a frame.
        attack, release: time constants in seconds.
        frame_seconds: length of a frame.
    """
    up = 1 - np.exp(-frame_seconds / max(attack, 1e-9))
    down = 1 - np.exp(-frame_seconds / max(release, 1e-9))
    out = []
    state = float(level[0])
    for value in level.tolist():
        state += (up if value > state else down) * (value - state)
        out.append(state)
    return np.array(out)


def apply_gain(audio: Audio, gain: NDArray[np.float64], frame: int) -> Audio:
    """Multiply by a gain given once a frame (at its middle), linear in between."""
    at = np.arange(len(gain)) * frame + (frame - 1) / 2
    return (audio * np.interp(np.arange(audio.shape[-1]), at, gain)).astype(np.float32)


def add_at_snr(audio: Audio, noise: Audio, snr_db: float, sample_rate: int) -> Audio:
    """Add noise so that the active speech level over the noise's RMS is ``snr_db``."""
    level = rms(noise)
    if level < 1e-9:
        return audio
    gain = reference_level(audio, sample_rate) / level * from_db(-snr_db)
    return audio + (noise * gain).astype(np.float32)


def onsets(rng: np.random.Generator, length: int, per_second: float, sample_rate: int) -> list[int]:
    """Random times of a Poisson process, in samples, at least one."""
    count = max(1, int(rng.poisson(per_second * length / sample_rate)))
    return sorted(int(start) for start in rng.integers(0, length, count))
