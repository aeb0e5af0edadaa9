"""Distortion in the narrow sense: an amplitude the equipment cannot hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audio_enh.distortions.base import Audio, Context, Distortion, ranged
from audio_enh.dsp.signals import apply_gain, from_db, peak, same_level

_FRAME_SECONDS = 0.001


class Overload(Distortion):
    family = "distortion"


@dataclass(frozen=True)
class Clipping(Overload):
    """Hard clipping at a level below the peak."""

    depth: float = ranged(0, 30, "dB")

    def _apply(self, audio: Audio, context: Context) -> Audio:
        limit = peak(audio) * from_db(-self.depth)
        return np.clip(audio, -limit, limit)


@dataclass(frozen=True)
class Overdrive(Overload):
    """Soft saturation, as of valves and tape; asymmetry adds even harmonics. The loudness stays."""

    drive: float = ranged(-20, 36, "dB")
    asymmetry: float = ranged(0, 0.5, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        top = peak(audio)
        if top == 0:
            return audio
        driven = np.tanh(audio * (from_db(self.drive) / top) + self.asymmetry) - np.tanh(self.asymmetry)
        return same_level(driven.astype(np.float32), audio)


@dataclass(frozen=True)
class HardLimiting(Overload):
    """A limiter far too deep, with make-up gain: no clipped peaks, but everything is equally loud and pumps."""

    depth: float = ranged(0, 30, "dB")
    release: float = ranged(0.01, 0.2, "s", log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        top = peak(audio)
        if top == 0:
            return audio
        frame = max(1, round(_FRAME_SECONDS * context.sample_rate))
        count = -(-audio.shape[1] // frame)
        padded = np.pad(np.abs(audio).max(axis=0), (0, count * frame - audio.shape[1]))
        peaks = padded.reshape(count, frame).max(axis=1)
        # Between two frames the gain runs from one to the other, so each has to know its neighbours' peaks.
        peaks = np.maximum(peaks, np.maximum(np.append(peaks[1:], 0), np.insert(peaks[:-1], 0, 0)))
        decay = float(np.exp(-frame / context.sample_rate / self.release))
        envelope, state = [], 0.0
        for value in peaks.tolist():
            state = max(value, state * decay)
            envelope.append(state)
        limit = top * from_db(-self.depth)
        gain = limit / np.maximum(np.array(envelope), limit)
        return same_level(np.clip(apply_gain(audio, gain, frame), -limit, limit), audio)


@dataclass(frozen=True)
class BitCrush(Overload):
    """Few bits a sample, without dither; the peak is full scale. Fractions of a bit are steps in between."""

    bits: float = ranged(12, 2, "bits")

    def _apply(self, audio: Audio, context: Context) -> Audio:
        step = 2 * peak(audio) / 2**self.bits
        return (np.round(audio / step) * step).astype(np.float32) if step > 0 else audio
