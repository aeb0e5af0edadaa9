"""One channel out of several, without what cancels out in their mean."""

from __future__ import annotations

import numpy as np

# Unrelated channels lose 10 log10(channels) dB in their mean. Further below that, they oppose each other.
_CANCELLED = 0.1


class Downmix:
    """The mean of a file's channels, block by block, and whether that was the right thing to take.

    The mean of two channels of opposite polarity is silence. Where the mean of the whole file has less than a
    tenth of the power that the mean of unrelated channels would have, the loudest channel stands for the file.
    """

    def __init__(self, channels: int):
        self._powers = np.zeros(channels)
        self._mean_power = 0.0

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """``(channels, n)`` in, their mean ``(n,)`` out."""
        if len(block) == 1:
            return block[0]
        mean: np.ndarray = block.mean(axis=0)
        self._powers += np.square(block, dtype=np.float64).sum(axis=1)
        self._mean_power += float(np.square(mean, dtype=np.float64).sum())
        return mean

    @property
    def instead(self) -> int | None:
        """The loudest channel, where the channels seen so far cancel out; otherwise None."""
        unrelated = float(self._powers.sum()) / len(self._powers) ** 2
        return int(np.argmax(self._powers)) if self._mean_power < _CANCELLED * unrelated else None


def to_mono(audio: np.ndarray) -> tuple[np.ndarray, bool]:
    """One channel for all, ``(samples,)``, of ``(channels, samples)``; and whether their mean cancelled out."""
    downmix = Downmix(len(audio))
    mean = downmix(audio)
    instead = downmix.instead
    return (mean, False) if instead is None else (audio[instead], True)
