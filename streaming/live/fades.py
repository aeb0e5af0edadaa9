"""Changes without clicks: gains that glide, cuts that are cross-faded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]


class Fader:
    """A gain that moves to its target in a straight line.

    Args:
        samples: length of the way from 0 to 1, in samples.
        value: gain at the start.
    """

    def __init__(self, samples: int, value: float = 1.0):
        self.value = value
        self.target = value
        self._step = 1 / max(1, samples)

    @property
    def settled(self) -> bool:
        return self.value == self.target

    def gains(self, samples: int) -> Audio | float:
        """Gains of the next samples: ``(samples,)`` on the way, a number once there."""
        if self.settled:
            return self.value
        direction = self._step if self.target > self.value else -self._step
        path = self.value + direction * np.arange(1, samples + 1, dtype=np.float32)
        low, high = min(self.value, self.target), max(self.value, self.target)
        path = np.clip(path, low, high).astype(np.float32)
        if samples:
            last = float(path[-1])
            self.value = self.target if abs(last - self.target) < 1e-6 else last
        return path


def cut(audio: Audio, frames: int, fade: int) -> Audio:
    """Take ``frames`` out of ``(channels, n)`` near its front, cross-fading over ``fade``; less if it is short."""
    frames = min(frames, audio.shape[1] - fade)
    if frames <= 0:
        return audio
    rise = np.linspace(0, 1, fade, dtype=np.float32)
    seam = audio[:, :fade] * (1 - rise) + audio[:, frames : frames + fade] * rise
    return np.concatenate([seam, audio[:, frames + fade :]], axis=1)
