"""Recorded noise: sounds of the world beside the voice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audio_enh.distortions.base import Audio, Context, Distortion, ranged
from audio_enh.dsp.signals import active_level, add_at_snr, from_db, onsets, rms

#: Recordings have silent stretches: so often another is drawn.
_TRIES = 4


class RecordedNoise(Distortion):
    family = "recorded noise"


def _draw(context: Context, length: int) -> Audio:
    """A stretch with something in it, ``(length,)``."""
    for _ in range(_TRIES):
        noise = context.recordings.noise.draw(context.rng, length, context.sample_rate)
        if rms(noise) > 1e-4:
            break
    return noise


@dataclass(frozen=True)
class BackgroundNoise(RecordedNoise):
    """A recorded noise all along."""

    snr: float = ranged(30, -8, "dB")

    def _apply(self, audio: Audio, context: Context) -> Audio:
        noise = _draw(context, audio.shape[1])
        return add_at_snr(audio, noise[None], self.snr, context.sample_rate)


@dataclass(frozen=True)
class NoiseBursts(RecordedNoise):
    """Short pieces of recorded noise at random times; the ratio is to the loudest part of each."""

    snr: float = ranged(20, -15, "dB")
    rate: float = ranged(0.5, 4, "per second", log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        rate, rng = context.sample_rate, context.rng
        noise = np.zeros((1, audio.shape[1]), np.float32)
        for start in onsets(rng, audio.shape[1], self.rate, rate):
            size = max(16, int(rng.uniform(0.03, 0.4) * rate))
            burst = _draw(context, size) * np.exp(-np.linspace(0, 5, size)).astype(np.float32)
            fade = max(1, min(size, rate // 500))
            burst[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
            level = active_level(burst[None], rate)
            part = noise[0, start : start + size]
            part += (burst / level if level > 0 else burst)[: len(part)]
        speech = active_level(audio, rate) or from_db(-26)
        return audio + noise * np.float32(speech * from_db(-self.snr))


@dataclass(frozen=True)
class Babble(RecordedNoise):
    """Several other talkers at once."""

    snr: float = ranged(30, -6, "dB")
    talkers: int = ranged(3, 8, whole=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        rate, rng, length = context.sample_rate, context.rng, audio.shape[1]
        noise = np.zeros((1, length), np.float32)
        for _ in range(self.talkers):
            talker = context.recordings.talkers.draw(rng, length, rate)
            level = active_level(talker[None], rate)
            if level > 0:
                noise += talker / level * np.float32(from_db(rng.uniform(-8, 0)))
        return add_at_snr(audio, noise, self.snr, rate)
