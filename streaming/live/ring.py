"""The one thing audio threads share: a ring buffer with one writer and one reader, without locks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]


class Ring:
    """First in, first out, for one thread that writes and one that reads.

    Two counters only ever grow, and each is stored by one side only, after the samples it speaks of were copied:
    whoever reads a counter that is a moment old sees less to read, or less room, than there is, never more.
    (Python stores an attribute as one operation, with the global interpreter lock or without it.) All memory is
    taken at the start. Reading and writing never wait: they say how many frames they could move.

    Args:
        channels: samples per frame.
        capacity: in frames.

    Attributes:
        written: frames written since the start.
        taken: frames read since the start.
    """

    def __init__(self, channels: int, capacity: int):
        if channels < 1 or capacity < 1:
            raise ValueError("channels and capacity must be positive")
        self.channels = channels
        self.capacity = capacity
        self._buffer = np.zeros((capacity, channels), np.float32)
        self.written = 0
        self.taken = 0

    @property
    def fill(self) -> int:
        """Frames that wait to be read."""
        return self.written - self.taken

    def write(self, frames: Frames) -> int:
        """Append ``(n, channels)``; what finds no room is dropped. Returns the number of frames that did."""
        count = min(len(frames), self.capacity - self.fill)
        start = self.written % self.capacity
        first = min(count, self.capacity - start)
        self._buffer[start : start + first] = frames[:first]
        if count > first:
            self._buffer[: count - first] = frames[first:count]
        self.written += count
        return count

    def read_into(self, out: Frames) -> int:
        """Fill ``out``, ``(n, channels)``, from its front. Returns how many frames there were."""
        count = min(len(out), self.fill)
        start = self.taken % self.capacity
        first = min(count, self.capacity - start)
        out[:first] = self._buffer[start : start + first]
        if count > first:
            out[first:count] = self._buffer[: count - first]
        self.taken += count
        return count

    def skip(self, count: int) -> int:
        """Drop up to ``count`` of the oldest frames; the reader's right. Returns how many there were."""
        count = min(count, self.fill)
        self.taken += count
        return count
