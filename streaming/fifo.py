"""A queue of samples in preallocated memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]


class Fifo:
    """First in, first out, for blocks of ``(channels, n)``; for one thread.

    Args:
        channels: rows.
        capacity: samples that it can hold; twice that is allocated, so that samples seldom move.
    """

    def __init__(self, channels: int, capacity: int):
        self._buffer = np.zeros((channels, 2 * max(1, capacity)), np.float32)
        self.capacity = capacity
        self.clear()

    def __len__(self) -> int:
        return self._end - self._start

    def clear(self, zeros: int = 0) -> None:
        """Empty it and put in that many zeros."""
        self._start, self._end = 0, zeros
        self._buffer[:, :zeros] = 0

    def clear_row(self, row: int) -> None:
        """Make what one row holds zero."""
        self._buffer[row, self._start : self._end] = 0

    def push(self, block: Audio) -> None:
        """Append ``(channels, n)``, or ``(1, n)`` for every row; what does not fit is an error."""
        samples = block.shape[1]
        if len(self) + samples > self.capacity:
            raise OverflowError(f"{len(self)} + {samples} samples are more than {self.capacity}")
        if self._end + samples > self._buffer.shape[1]:
            held = len(self)
            self._buffer[:, :held] = self._buffer[:, self._start : self._end]
            self._start, self._end = 0, held
        self._buffer[:, self._end : self._end + samples] = block
        self._end += samples

    def pop(self, samples: int) -> Audio:
        """Take the oldest ``samples``: a view, valid until the next ``push``."""
        if samples > len(self):
            raise IndexError(f"{samples} samples wanted, {len(self)} there")
        block = self._buffer[:, self._start : self._start + samples]
        self._start += samples
        return block
