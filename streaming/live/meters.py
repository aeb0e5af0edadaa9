"""What is shown while it runs: levels, noise reduction, frame times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SILENT = -100.0  # dB full scale; nothing lower is shown


def decibels(power: float) -> float:
    """Of a mean square, full scale 1; no less than -100."""
    return max(SILENT, 10 * float(np.log10(max(power, 1e-12))))


class History:
    """The last ``length`` numbers, in fixed memory. One thread adds, others may look."""

    def __init__(self, length: int):
        self._values = np.zeros(length)
        self._count = 0

    def add(self, value: float) -> None:
        self._values[self._count % len(self._values)] = value
        self._count += 1

    def values(self, last: int | None = None) -> NDArray[np.float64]:
        """The newest ``last``, or all, the newest at the end."""
        length = len(self._values)
        kept = min(self._count, length)
        wanted = kept if last is None else min(last, kept)
        newest = np.arange(self._count - wanted, self._count) % length
        return self._values[newest]

    def clear(self) -> None:
        self._count = 0


class LevelMeter:
    """Root mean square and peak of a signal.

    Args:
        blocks: blocks of ten seconds, which are kept.
    """

    def __init__(self, blocks: int):
        self._powers = History(max(10, blocks))
        self._peaks = History(max(10, blocks))
        self._recent = max(1, blocks // 50)  # 200 ms

    def add(self, audio: NDArray[np.float32]) -> None:
        """Take the next block, ``(channels, n)``, ``n > 0``."""
        self._powers.add(float(np.mean(np.square(audio))))
        self._peaks.add(float(np.max(np.abs(audio))))

    @property
    def level(self) -> float:
        """Over the last 200 ms, in dB full scale."""
        powers = self._powers.values(self._recent)
        return decibels(float(powers.mean())) if powers.size else SILENT

    @property
    def peak(self) -> float:
        """Of the last two seconds, in dB full scale."""
        peaks = self._peaks.values(10 * self._recent)
        return decibels(float(peaks.max()) ** 2) if peaks.size else SILENT

    @property
    def powers(self) -> NDArray[np.float64]:
        """Mean square of each of the last blocks, the newest last."""
        return self._powers.values()


def percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    """Of frame times; zeros where there are none yet."""
    if not values.size:
        return {"p50": 0.0, "p95": 0.0, "p99": 0.0}
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}
