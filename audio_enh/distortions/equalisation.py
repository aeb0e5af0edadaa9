"""Equalisation: the wrong balance of frequencies, all the time or in some sounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import signal

from audio_enh.distortions.base import Audio, Context, Distortion, ranged
from audio_enh.dsp.signals import (
    active_level,
    frame_rms,
    from_db,
    istft,
    same_level,
    spectral_gain,
    stft,
    stft_size,
)


class Equalisation(Distortion):
    family = "equalisation"


@dataclass(frozen=True)
class RandomEqualiser(Equalisation):
    """A smooth random frequency response, loudness kept.

    Gains are drawn at points evenly spaced on a logarithmic axis from 60 Hz on.
    """

    gain: float = ranged(1, 30, "dB")
    points: int = ranged(5, 12, whole=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        frequencies = np.geomspace(60, max(context.sample_rate / 2, 3000), self.points)
        gains = context.rng.uniform(-1, 1, self.points) * self.gain
        out = spectral_gain(audio, context.sample_rate, frequencies.tolist(), gains.tolist())
        return same_level(out, audio)


@dataclass(frozen=True)
class BandReject(Equalisation):
    """A band in the middle is missing."""

    width: float = ranged(0.05, 3, "octaves", log=True)
    centre: float = ranged(300, 3000, "Hz", log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        half = 2 ** (self.width / 2)
        high = min(self.centre * half, 0.49 * context.sample_rate)
        sos = signal.butter(2, [self.centre / half, high], "bandstop", fs=context.sample_rate, output="sos")
        # Forward and backward a filter this narrow rings on beyond the padding of filtfilt.
        padding = min(audio.shape[1] - 1, context.sample_rate // 10)
        return signal.sosfiltfilt(sos, audio, axis=-1, padlen=padding).astype(np.float32)


@dataclass(frozen=True)
class Resonance(Equalisation):
    """A two-pole resonance: the sound of a tin, a tube or a cheap loudspeaker. Loudness stays."""

    gain: float = ranged(1, 36, "dB")
    frequency: float = ranged(250, 3500, "Hz", log=True, free=True)
    quality: float = ranged(1, 8, log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        # The magnitude of an analogue peaking filter, by which the gain is right at any rate and there is
        # no delay: |H|^2 = (d^2 + (g/Q)^2) / (d^2 + 1/Q^2), d = f/f0 - f0/f.
        frequencies = np.geomspace(20, context.sample_rate / 2, 400)
        detune = (frequencies / self.frequency - self.frequency / frequencies) * self.quality
        gain = 10 * np.log10((detune**2 + from_db(self.gain) ** 2) / (detune**2 + 1))
        out = spectral_gain(audio, context.sample_rate, frequencies.tolist(), gain.tolist())
        return same_level(out, audio)


@dataclass(frozen=True)
class Plosives(Equalisation):
    """Breath on the microphone: low thumps where the level jumps up, as at a p or a b."""

    level: float = ranged(-24, 18, "dB re speech")
    count: float = ranged(1, 3, "per second", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        rate, rng = context.sample_rate, context.rng
        speech = active_level(audio, rate)
        if speech == 0:
            return audio
        frame = max(1, rate // 50)
        levels = 20 * np.log10(np.maximum(frame_rms(audio, frame) / speech, 1e-3))
        rise = np.diff(levels, prepend=levels[0])
        wanted = max(1, round(self.count * audio.shape[1] / rate))
        starts = np.argsort(-rise, kind="stable")[:wanted]
        out = audio.copy()
        for start in sorted(int(each) for each in starts):
            seconds, pitch, sign = rng.uniform(0.05, 0.15), rng.uniform(25, 90), rng.choice([-1.0, 1.0])
            time = np.arange(int(seconds * rate)) / rate
            thump = sign * np.sin(2 * np.pi * pitch * time) * np.sin(np.pi * time / seconds) ** 2
            part = out[:, start * frame : start * frame + len(time)]
            part += (thump * (speech * 2 * from_db(self.level))).astype(np.float32)[: part.shape[1]]
        return out


@dataclass(frozen=True)
class Sibilance(Equalisation):
    """Sharp s and sh: where the upper band dominates, it is turned up."""

    gain: float = ranged(0, 20, "dB")
    frequency: float = ranged(3000, 5000, "Hz", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        rate = context.sample_rate
        n_fft = stft_size(rate, 0.016)
        spectrum = stft(audio, n_fft)
        cut = round(min(self.frequency, 0.3 * rate) / rate * n_fft)
        power = np.mean(np.abs(spectrum) ** 2, axis=0)
        upper, whole = power[cut:].sum(axis=0), power.sum(axis=0)
        # From 0 to 1 as the share of the upper band goes from a fifth to a half; quiet frames stay.
        share = np.clip((upper / (whole + 1e-12) - 0.2) / 0.3, 0, 1) * (whole > whole.max() * 1e-5)
        spectrum[:, cut:] *= 10 ** (self.gain * share / 20)
        return istft(spectrum, n_fft, audio.shape[1])
