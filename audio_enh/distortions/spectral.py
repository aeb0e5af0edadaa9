"""Spectral manipulation: what processing in the time-frequency plane leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from audio_enh.distortions.base import Audio, Context, Distortion, ranged
from audio_enh.dsp.signals import istft, same_level, stft, stft_size


class Spectral(Distortion):
    family = "spectral manipulation"


@dataclass(frozen=True)
class PhaseRandomisation(Spectral):
    """Each bin's phase is turned by a random angle, up to ``amount`` of half a turn: hoarse and smeared."""

    amount: float = ranged(0.05, 0.9)
    window: float = ranged(0.016, 0.064, "s", log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        n_fft = stft_size(context.sample_rate, self.window)
        spectrum = stft(audio, n_fft)
        turns = context.rng.uniform(-1, 1, spectrum.shape[1:])
        return istft(spectrum * np.exp(1j * np.pi * self.amount * turns), n_fft, audio.shape[1])


@dataclass(frozen=True)
class GriffinLim(Spectral):
    """Phases found anew from the magnitudes (Griffin and Lim 1984), as vocoders did: metallic.

    ``forgotten`` is the share of the true phase that is lost at the start: 0 none, 1 all.
    """

    forgotten: float = ranged(0.05, 0.9)
    iterations: int = ranged(1, 16, whole=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        n_fft = stft_size(context.sample_rate)
        length = audio.shape[1]
        spectrum = stft(audio, n_fft)
        magnitude = np.abs(spectrum)
        turns = context.rng.uniform(-1, 1, spectrum.shape[1:])
        estimate = spectrum * np.exp(1j * np.pi * self.forgotten * turns)
        for _ in range(self.iterations):
            again = stft(istft(estimate, n_fft, length), n_fft)
            estimate = magnitude * again / np.maximum(np.abs(again), 1e-12)
        return istft(estimate, n_fft, length)


@dataclass(frozen=True)
class SpectralHoles(Spectral):
    """Random patches of the time-frequency plane are empty."""

    share: float = ranged(0.02, 0.6)
    bandwidth: float = ranged(150, 2000, "Hz", log=True, free=True)
    duration: float = ranged(0.03, 0.2, "s", log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        rate = context.sample_rate
        n_fft = stft_size(rate)
        hop = n_fft // 4
        spectrum = stft(audio, n_fft)
        bins, frames = spectrum.shape[1:]
        high = max(1, round(self.bandwidth / rate * n_fft))
        wide = max(1, round(self.duration * rate / hop))
        # Patches at random places overlap: after n of them a share of exp(-n area) is still there.
        count = round(-np.log(1 - self.share) * (bins + high) * (frames + wide) / (high * wide))
        kept = np.ones((bins, frames))
        for low, start in context.rng.random((count, 2)):
            bottom, left = int(low * (bins + high)) - high, int(start * (frames + wide)) - wide
            kept[max(bottom, 0) : max(bottom + high, 0), max(left, 0) : max(left + wide, 0)] = 0
        return istft(spectrum * kept, n_fft, audio.shape[1])


@dataclass(frozen=True)
class SpectralGating(Spectral):
    """Noise reduction overdone: bins below a threshold are turned down, and musical noise is left.

    The threshold is relative to each bin's mean power over time.
    """

    threshold: float = ranged(-30, 12, "dB")
    reduction: float = ranged(15, 40, "dB", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        n_fft = stft_size(context.sample_rate)
        spectrum = stft(audio, n_fft)
        power = np.abs(spectrum) ** 2
        floor = power.mean(axis=-1, keepdims=True) * 10 ** (self.threshold / 10)
        # Pauses lower the mean of bins that speech seldom visits; all are gated in the same way nevertheless.
        gain = np.where(power < floor, 10 ** (-self.reduction / 20), 1.0)
        return istft(spectrum * gain, n_fft, audio.shape[1])


@dataclass(frozen=True)
class SpectralSmearing(Spectral):
    """Magnitudes blurred over time and frequency, phases kept: formants and attacks are washed out."""

    blur: float = ranged(0.3, 4, "bins", log=True)
    balance: float = ranged(0, 1, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        n_fft = stft_size(context.sample_rate)
        spectrum = stft(audio, n_fft)
        magnitude = np.abs(spectrum)
        # A balance of 0 blurs over frequency only, 1 over time only (frames are four a window).
        blurred = gaussian_filter1d(magnitude, self.blur * (1 - self.balance) + 1e-3, axis=-2)
        blurred = gaussian_filter1d(blurred, 4 * self.blur * self.balance + 1e-3, axis=-1)
        out = istft(spectrum * (blurred / np.maximum(magnitude, 1e-9)), n_fft, audio.shape[1])
        return same_level(out, audio)
