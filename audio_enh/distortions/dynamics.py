"""Loudness dynamics: the level does what it should not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio_enh.distortions.base import Audio, Context, Distortion, chosen, ranged
from audio_enh.dsp.signals import active_level, apply_gain, follow, frame_rms, same_level

#: Resolution of level detectors: 2 ms.
_FRAMES_PER_SECOND = 500


class Dynamics(Distortion):
    family = "loudness dynamics"


def _relative_levels(audio: Audio, sample_rate: int) -> tuple[NDArray[np.float64], int] | None:
    """Level of each frame in dB over the active speech level, and the frame's samples; None for silence."""
    frame = max(1, sample_rate // _FRAMES_PER_SECOND)
    level = active_level(audio, sample_rate)
    if level == 0:
        return None
    return 20 * np.log10(np.maximum(frame_rms(audio, frame) / level, 1e-5)), frame


def _decibels(gain: NDArray[np.float64]) -> NDArray[np.float64]:
    return 10 ** (gain / 20)


@dataclass(frozen=True)
class Compressor(Dynamics):
    """Loud parts are turned down, then all is turned up: quiet noises come forward. Loudness stays."""

    threshold: float = ranged(6, -30, "dB re speech")
    ratio: float = ranged(1, 20, log=True)
    attack: float = ranged(0.001, 0.03, "s", log=True, free=True)
    release: float = ranged(0.03, 0.4, "s", log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        found = _relative_levels(audio, context.sample_rate)
        if found is None:
            return audio
        levels, frame = found
        smooth = follow(levels, self.attack, self.release, frame / context.sample_rate)
        over = np.maximum(smooth - self.threshold, 0)
        return same_level(apply_gain(audio, _decibels(-over * (1 - 1 / self.ratio)), frame), audio)


@dataclass(frozen=True)
class Expander(Dynamics):
    """Quiet parts are turned down further: word endings and consonants fade."""

    threshold: float = ranged(-30, 6, "dB re speech")
    ratio: float = ranged(1, 6)
    attack: float = ranged(0.001, 0.03, "s", log=True, free=True)
    release: float = ranged(0.02, 0.2, "s", log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        found = _relative_levels(audio, context.sample_rate)
        if found is None:
            return audio
        levels, frame = found
        smooth = follow(levels, self.attack, self.release, frame / context.sample_rate)
        under = np.minimum(smooth - self.threshold, 0)
        return apply_gain(audio, _decibels(np.maximum(under * (self.ratio - 1), -60)), frame)


@dataclass(frozen=True)
class NoiseGate(Dynamics):
    """What is below a threshold is cut off, abruptly and often in the middle of a word."""

    threshold: float = ranged(-40, 0, "dB re speech")
    attack: float = ranged(0.001, 0.01, "s", log=True, free=True)
    release: float = ranged(0.01, 0.1, "s", log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        found = _relative_levels(audio, context.sample_rate)
        if found is None:
            return audio
        levels, frame = found
        seconds = frame / context.sample_rate
        opened = (follow(levels, 0.002, self.release, seconds) > self.threshold).astype(np.float64)
        return apply_gain(audio, follow(opened, self.attack, self.release / 2, seconds), frame)


@dataclass(frozen=True)
class DestroyLevels(Dynamics):
    """The level jumps at random, as by a hand on the fader or a cable that comes and goes."""

    depth: float = ranged(1, 40, "dB")
    jumps: float = ranged(1, 6, "per second", log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        length, rate = audio.shape[1], context.sample_rate
        # A fixed number of draws a second, whatever the rate: other sample rates get the same jumps.
        count = int(length / rate * self.jumps) + 2
        ends = np.cumsum(context.rng.exponential(1 / self.jumps, count))
        steps = -self.depth * context.rng.random(count)
        frame = max(1, rate // _FRAMES_PER_SECOND)
        time = np.arange(-(-length // frame)) * frame / rate
        gain = steps[np.minimum(np.searchsorted(ends, time), count - 1)]
        return apply_gain(audio, _decibels(gain), frame)


@dataclass(frozen=True)
class Tremolo(Dynamics):
    """The level swings periodically."""

    depth: float = ranged(0.05, 1)
    rate: float = ranged(1, 12, "Hz", log=True, free=True)
    shape: str = chosen("sine", "triangle", "square", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        phase = (np.arange(audio.shape[1]) * (self.rate / context.sample_rate) + context.rng.random()) % 1
        if self.shape == "sine":
            swing = 0.5 - 0.5 * np.cos(2 * np.pi * phase)
        elif self.shape == "triangle":
            swing = 1 - np.abs(2 * phase - 1)
        else:  # a square with edges of a twentieth of a period, so that it does not click
            swing = np.clip(10 * (np.abs(2 * phase - 1) - 0.5) + 0.5, 0, 1)
        return (audio * (1 - self.depth * swing)).astype(np.float32)


@dataclass(frozen=True)
class AutomaticGain(Dynamics):
    """A gain control that levels everything: pauses are pumped up, each first syllable bursts in."""

    strength: float = ranged(0, 0.95)
    attack: float = ranged(0.02, 0.3, "s", log=True, free=True)
    release: float = ranged(0.3, 2, "s", log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        found = _relative_levels(audio, context.sample_rate)
        if found is None:
            return audio
        levels, frame = found
        smooth = follow(np.maximum(levels, -50), self.attack, self.release, frame / context.sample_rate)
        return same_level(apply_gain(audio, _decibels(-self.strength * smooth), frame), audio)
