"""Band limiting: part of the spectrum is gone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from audio_enh.distortions.base import Audio, Context, Distortion, chosen, ranged
from audio_enh.dsp.signals import fit, resample, zero_phase

#: Above this share of the sample rate a filter would have nothing left to remove.
_TOP = 0.49


class BandLimiting(Distortion):
    family = "band limiting"


def _design(kind: str, order: int, cutoff: float, shape: str, sample_rate: int) -> NDArray[np.float64]:
    """Second-order sections; orders are of the filter that is run forward and backward."""
    if kind == "elliptic":
        return signal.ellip(order, 0.5, 40, cutoff, shape, fs=sample_rate, output="sos")
    if kind == "chebyshev":
        return signal.cheby1(order, 0.5, cutoff, shape, fs=sample_rate, output="sos")
    return signal.butter(order, cutoff, shape, fs=sample_rate, output="sos")


@dataclass(frozen=True)
class LowPass(BandLimiting):
    """Nothing above a cutoff frequency."""

    cutoff: float = ranged(8000, 500, "Hz", log=True, of_rate=0.5)
    order: int = ranged(3, 8, whole=True, free=True)
    filter: str = chosen("butterworth", "chebyshev", "elliptic", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        if self.cutoff >= _TOP * context.sample_rate:
            return audio
        return zero_phase(
            _design(self.filter, self.order, self.cutoff, "lowpass", context.sample_rate), audio
        )


@dataclass(frozen=True)
class HighPass(BandLimiting):
    """Nothing below a cutoff frequency: small loudspeakers, wind filters."""

    cutoff: float = ranged(20, 1500, "Hz", log=True)
    order: int = ranged(2, 6, whole=True, free=True)
    filter: str = chosen("butterworth", "chebyshev", "elliptic", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        return zero_phase(
            _design(self.filter, self.order, self.cutoff, "highpass", context.sample_rate), audio
        )


@dataclass(frozen=True)
class BandPass(BandLimiting):
    """Only a band around a centre frequency is left."""

    width: float = ranged(9, 0.8, "octaves")
    centre: float = ranged(500, 2000, "Hz", log=True, free=True)
    order: int = ranged(2, 4, whole=True, free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        half = 2 ** (self.width / 2)
        audio = zero_phase(
            signal.butter(self.order, self.centre / half, "highpass", fs=context.sample_rate, output="sos"),
            audio,
        )
        high = self.centre * half
        if high >= _TOP * context.sample_rate:
            return audio
        return zero_phase(signal.butter(self.order, high, fs=context.sample_rate, output="sos"), audio)


@dataclass(frozen=True)
class Downsample(BandLimiting):
    """A lower sample rate and back, by a good converter or by one that lets images and aliases through."""

    rate: float = ranged(16000, 2000, "Hz", log=True, of_rate=1.0)
    method: str = chosen("sinc", "linear", "hold", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        source = context.sample_rate
        if self.rate >= source:
            return audio
        length = audio.shape[1]
        if self.method == "sinc":
            return fit(resample(resample(audio, source, self.rate), self.rate, source), length)
        time = np.arange(length)
        points = np.arange(0, length + source / self.rate, source / self.rate)
        if self.method == "linear":
            low = [np.interp(points, time, channel) for channel in audio]
            return np.stack([np.interp(time, points, channel) for channel in low]).astype(np.float32)
        # Each sample is held around its own time, half before and half after, so that nothing is delayed.
        nearest = np.clip(np.round(points).astype(np.int64), 0, length - 1)
        return audio[:, nearest[np.round(time * (self.rate / source)).astype(np.int64)]]
