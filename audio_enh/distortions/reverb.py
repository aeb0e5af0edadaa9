"""Reverb and delay: the sound and what comes after it. The direct sound is never delayed."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import oaconvolve

from audio_enh.distortions.base import Audio, Context, Distortion, ranged
from audio_enh.distortions.recordings import Recordings
from audio_enh.dsp.signals import from_db, istft, same_level, stft, stft_size
from audio_enh.errors import DependencyError
from audio_enh.sources.rooms import direct_path

#: Up to here after its peak a response counts as direct sound, in seconds.
_DIRECT_SECONDS = 0.0025


class Reverb(Distortion):
    family = "reverb and delay"


def _convolve(audio: Audio, response: NDArray[np.floating], start: int = 0) -> Audio:
    """Response's sample ``start`` is time 0; what comes before it falls away at the beginning only."""
    wet = oaconvolve(audio, response[None].astype(np.float32), axes=-1)
    return wet[:, start : start + audio.shape[1]].astype(np.float32)


@dataclass(frozen=True)
class RecordedRoom(Reverb):
    """The reflections of a measured room response, at a ratio to the direct sound.

    The direct sound itself is left as it is: the loudspeaker of the measurement is not part of a room.
    """

    ratio: float = ranged(24, 0, "dB direct to reverberant")

    def _apply(self, audio: Audio, context: Context) -> Audio:
        response = context.recordings.rooms.whole(context.rng, context.sample_rate)
        start = direct_path(response)
        tail = response[start:].copy()
        tail[: int(_DIRECT_SECONDS * context.sample_rate)] = 0
        energy = float(np.sum(tail**2))
        if energy == 0:
            return audio
        tail *= from_db(-self.ratio) / np.sqrt(energy)
        tail[0] = 1
        return _convolve(audio, tail)


@dataclass(frozen=True)
class SimulatedRoom(Reverb):
    """A shoebox room by the image method (pyroomacoustics); ``room`` is the seed of its dimensions and places."""

    rt60: float = ranged(0.1, 0.9, "s")
    room: int = ranged(0, 199, whole=True, free=True)

    @classmethod
    def unavailable(cls, recordings: Recordings) -> str | None:
        return _missing_pyroomacoustics()

    def _apply(self, audio: Audio, context: Context) -> Audio:
        problem = self.unavailable(context.recordings)
        if problem is not None:
            raise DependencyError(f"{self.name()} {problem}")
        # Times in steps of a fiftieth of a second, so that a response can serve again.
        response = _shoebox(self.room, round(self.rt60 * 50) / 50, context.sample_rate)
        # A distant talker is no louder than a near one: without this, most would be by 10 dB.
        return same_level(_convolve(audio, response, direct_path(response)), audio)


@functools.cache
def _missing_pyroomacoustics() -> str | None:
    try:
        import pyroomacoustics  # noqa: F401
    except ImportError:
        return "needs the package pyroomacoustics: pip install pyroomacoustics"
    return None


@functools.lru_cache(maxsize=512)
def _shoebox(room: int, rt60: float, sample_rate: int) -> NDArray[np.float32]:
    """Response whose direct sound has height 1: talker and microphone 0.5 to 2.5 m apart."""
    import pyroomacoustics as pra

    rng = np.random.default_rng(room)
    size = rng.uniform([3, 3, 2.4], [9, 7, 4])
    microphone = rng.uniform([0.2] * 3, [0.8] * 3) * size
    direction = rng.standard_normal(3)
    talker = microphone + direction / np.linalg.norm(direction) * rng.uniform(0.5, 2.5)
    talker = np.clip(talker, 0.3, size - 0.3)
    try:
        absorption, order = pra.inverse_sabine(rt60, size)
    except ValueError:  # too short for this room, however soft its walls
        absorption, order = 0.95, 3
    # Beyond order 40 images take seconds and carry less than -60 dB of the energy for these times.
    box = pra.ShoeBox(size, fs=sample_rate, materials=pra.Material(absorption), max_order=min(order, 40))
    box.add_source(talker)
    box.add_microphone(microphone)
    box.compute_rir()
    response = np.asarray(box.rir[0][0], np.float32)
    return response / response[direct_path(response)]


@dataclass(frozen=True)
class AlgorithmicReverb(Reverb):
    """An artificial hall: exponentially decaying noise, the treble decaying faster (Polack's model)."""

    level: float = ranged(-24, 0, "dB re direct")
    rt60: float = ranged(0.3, 3, "s", log=True, free=True)
    predelay: float = ranged(0.002, 0.05, "s", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        rate = context.sample_rate
        n = int(fft.next_fast_len(max(2, int(self.rt60 * rate)), real=True))
        time = np.arange(n) / rate
        # Octave-wide noises of their own decay: 1.2 of the time at 250 Hz, a half at 8 kHz.
        spectrum = fft.rfft(context.rng.standard_normal(n).astype(np.float32))
        octave = np.log2(np.maximum(fft.rfftfreq(n, 1 / rate), 1.0) / 250)
        tail = np.zeros(n, np.float32)
        for band, share in zip(range(6), np.linspace(1.2, 0.5, 6), strict=True):
            low, high = band - 0.5 if band else -np.inf, band + 0.5 if band < 5 else np.inf
            part = fft.irfft(spectrum * ((octave >= low) & (octave < high)), n)
            tail += part * np.exp(-6.908 / (self.rt60 * share) * time).astype(np.float32)
        tail *= from_db(self.level) / np.sqrt(np.sum(tail**2) + 1e-12)
        response = np.concatenate([np.zeros(max(1, int(self.predelay * rate))), tail])
        response[0] = 1.0
        return _convolve(audio, response)


@dataclass(frozen=True)
class ShortDelay(Reverb):
    """An echo, or the comb filter that a very short one is, with its own repetitions."""

    level: float = ranged(-26, -1, "dB")
    delay: float = ranged(0.001, 0.25, "s", log=True, free=True)
    feedback: float = ranged(0, 0.6, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        step = max(1, round(self.delay * context.sample_rate))
        gain, start = from_db(self.level), step
        out = audio.copy()
        while gain > 1e-3 and start < audio.shape[1]:
            out[:, start:] += np.float32(gain) * audio[:, :-start]
            gain, start = gain * self.feedback, start + step
        return out


@dataclass(frozen=True)
class Chorus(Reverb):
    """Copies whose delay wavers: several voices where there was one."""

    level: float = ranged(-26, -1, "dB")
    voices: int = ranged(1, 4, whole=True, free=True)
    rate: float = ranged(0.3, 3, "Hz", log=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        time = np.arange(audio.shape[1])
        out = audio.copy()
        for _ in range(self.voices):
            base, depth, phase = context.rng.uniform([0.01, 0.001, 0], [0.03, 0.004, 2 * np.pi])
            swing = np.sin(2 * np.pi * self.rate * time / context.sample_rate + phase)
            at = time - (base + depth * swing) * context.sample_rate
            gain = from_db(self.level) / np.sqrt(self.voices)
            for channel, source in zip(out, audio, strict=True):
                channel += np.float32(gain) * np.interp(at, time, source, left=0.0).astype(np.float32)
        return out


@dataclass(frozen=True)
class Phaser(Reverb):
    """Notches that wander: the sound is added to itself behind all-pass filters that an oscillator moves."""

    depth: float = ranged(0.05, 0.8)
    rate: float = ranged(0.1, 2, "Hz", log=True, free=True)
    stages: int = ranged(2, 6, whole=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        rate = context.sample_rate
        n_fft = stft_size(rate)
        hop = n_fft // 4
        spectrum = stft(audio, n_fft)
        time = np.arange(spectrum.shape[-1]) * hop / rate
        swing = np.sin(2 * np.pi * (self.rate * time + context.rng.random()))
        corner = 800 * 4**swing  # 200 Hz to 3.2 kHz
        frequency = np.arange(spectrum.shape[-2]) * rate / n_fft
        # A first-order all-pass turns the phase by -2 atan(f / corner); the frames stand still for the filter.
        phase = -2 * self.stages * np.arctan(frequency[:, None] / corner)
        spectrum *= (1 + self.depth * np.exp(1j * phase)) / (1 + self.depth)
        return istft(spectrum, n_fft, audio.shape[1])
