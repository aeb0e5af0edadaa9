"""Synthetic noise: what electronics add."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from audio_enh.distortions.base import Audio, Context, Distortion, chosen, ranged
from audio_enh.dsp.signals import add_at_snr, from_db, harmonics, onsets, reference_level


class SyntheticNoise(Distortion):
    family = "synthetic noise"


@dataclass(frozen=True)
class ColouredNoise(SyntheticNoise):
    """Gaussian noise, independent in each channel, of power proportional to ``f ** -slope``: blue to brown."""

    snr: float = ranged(40, -5, "dB")
    slope: float = ranged(-1, 2, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        channels, length = audio.shape
        size = int(fft.next_fast_len(length, real=True))
        spectrum = fft.rfft(context.rng.standard_normal((channels, size)).astype(np.float32), axis=-1)
        # Level below 20 Hz, or brown noise would be all rumble.
        frequency = np.maximum(fft.rfftfreq(size, 1 / context.sample_rate), 20.0)
        noise = fft.irfft(spectrum * (frequency ** (-self.slope / 2)).astype(np.float32), size, axis=-1)
        return add_at_snr(audio, noise[:, :length], self.snr, context.sample_rate)


@dataclass(frozen=True)
class Hum(SyntheticNoise):
    """Mains hum: the base frequency and its harmonics."""

    snr: float = ranged(40, -5, "dB")
    base: int = chosen(50, 60, unit="Hz", free=True)
    harmonics: int = ranged(1, 20, whole=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        time = np.arange(audio.shape[1]) / context.sample_rate
        strength = context.rng.exponential(1, self.harmonics) / np.arange(1, self.harmonics + 1)
        phases = context.rng.random(self.harmonics)
        hum = harmonics(time, self.base, zip(strength, phases, strict=True))
        return add_at_snr(audio, hum[None].astype(np.float32), self.snr, context.sample_rate)


@dataclass(frozen=True)
class Clicks(SyntheticNoise):
    """Ticks of a tenth of a millisecond to two: dust, bad contacts, digital glitches."""

    level: float = ranged(-20, 30, "dB re speech")
    rate: float = ranged(2, 40, "per second", log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        rate, rng = context.sample_rate, context.rng
        out = audio.copy()
        top = reference_level(audio, rate) * from_db(self.level)
        for start in onsets(rng, audio.shape[1], self.rate, rate):
            seconds, pitch, gain = rng.uniform([0.0001, 500, 0.3], [0.002, 8000, 1])
            sign = 1 if rng.random() < 0.5 else -1
            time = np.arange(max(1, round(seconds * rate))) / rate
            click = sign * gain * top * np.exp(-3 * time / seconds) * np.cos(2 * np.pi * pitch * time)
            part = out[:, start : start + len(time)]
            part += click[: part.shape[1]].astype(np.float32)
        return out


@dataclass(frozen=True)
class Tones(SyntheticNoise):
    """Steady or beeping tones: interference, whistling equipment."""

    snr: float = ranged(40, -5, "dB")
    count: int = ranged(1, 4, whole=True, free=True)
    kind: str = chosen("steady", "beeping", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        rate, rng = context.sample_rate, context.rng
        time = np.arange(audio.shape[1]) / rate
        tones = np.zeros(len(time))
        for _ in range(self.count):
            place, phase, gain = rng.uniform([0, 0, 0.3], [1, 1, 1])
            frequency = 100 * (0.45 * rate / 100) ** place
            tones += gain * np.sin(2 * np.pi * (frequency * time + phase))
        if self.kind == "beeping":
            speed, duty, phase = rng.uniform([0.5, 0.2, 0], [4, 0.7, 1])
            swing = (time * speed + phase) % 1
            tones *= np.clip(np.minimum(swing, duty - swing) / (0.005 * speed), 0, 1)  # edges of 5 ms
        return add_at_snr(audio, tones[None].astype(np.float32), self.snr, rate)


@dataclass(frozen=True)
class DcOffset(SyntheticNoise):
    """A constant on top, of either sign."""

    level: float = ranged(-40, 10, "dB re speech")

    def _apply(self, audio: Audio, context: Context) -> Audio:
        sign = 1 if context.rng.random() < 0.5 else -1
        return audio + np.float32(sign * reference_level(audio, context.sample_rate) * from_db(self.level))
