"""Where decoded sound lies in time: holes in a recording's timestamps, and what lies twice.

A decoder gives frames one after the other; their timestamps tell of packets that are missing (a dropped network
packet, a paused recorder). What comes after a hole must keep its place, or it would come early against the
picture. Timestamps also jitter (phones, screen recorders) and drift against the samples (two clocks), which must
not be taken for holes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

#: Frames to look ahead, in seconds: what is a hole stays, jitter comes back.
AHEAD = 0.5
#: Smallest jump in the timestamps that is a hole, in seconds.
_HOLE = 0.001
#: Deviation from which sound is moved even without a jump (two clocks that drift), in seconds.
_DRIFT = 0.1
#: Seconds that timestamps may go back, in any container; more, and they start anew.
_ANEW = 10.0


@dataclass(frozen=True)
class Piece:
    """A frame: ``silence`` samples to put in front of it, samples to ``drop`` from its start, samples to ``take``."""

    silence: int
    drop: int
    take: int


class Timeline:
    """Turns timestamps of decoded frames into :class:`Piece` objects; times are in samples.

    Args:
        sample_rate: in Hz.
        joined: the container may hold recordings one after the other, each with times of its own (Ogg, transport
            streams): what goes back in time follows what was before. Elsewhere it lies twice, and is dropped.
    """

    def __init__(self, sample_rate: int, *, joined: bool = False) -> None:
        self._rate = sample_rate
        self._back = _DRIFT if joined else _ANEW
        self._frames: deque[tuple[int, int]] = deque()
        self._waiting = 0
        self._base: int | None = None
        self._position = 0
        self._before: deque[tuple[int, int]] = deque()  # deviations of the frames before, and their lengths
        self._excess = 0

    def add(self, time: int, samples: int) -> None:
        """The next frame of the decoder."""
        self._frames.append((time, samples))
        self._waiting += samples

    def pieces(self, *, last: bool = False) -> Iterator[Piece]:
        """What can be decided by now; at the end (``last``) all of the rest."""
        while self._frames and (last or self._waiting > AHEAD * self._rate):
            yield self._next()

    def _next(self) -> Piece:
        time, samples = self._frames[0]
        if self._base is None:
            self._base = time
        low, high = self._deviations()
        now = time - self._base - self._position
        usual = max((deviation for deviation, _ in self._before), default=0)
        silence = 0
        if high < -self._back * self._rate:
            self._base = time - self._position
            now = 0
        elif low > _HOLE * self._rate and (low - usual > _HOLE * self._rate or low > _DRIFT * self._rate):
            silence = low
        elif high < -_DRIFT * self._rate:
            self._excess = -high
        drop = min(self._excess, samples)
        self._excess -= drop
        self._frames.popleft()
        self._waiting -= samples
        self._remember(now - silence + drop, samples)
        self._position += silence + samples - drop
        return Piece(silence, drop, samples - drop)

    def _remember(self, deviation: int, samples: int) -> None:
        """As much as is looked ahead: what is a jump is told by both sides."""
        self._before.append((deviation, samples))
        while len(self._before) > 1 and sum(length for _, length in self._before) > AHEAD * self._rate:
            self._before.popleft()

    def _deviations(self) -> tuple[int, int]:
        """Least and greatest deviation of the next frames' times from where their samples would come."""
        assert self._base is not None
        expected = self._base + self._position
        found = []
        ahead = 0
        for time, samples in self._frames:
            found.append(time - expected - ahead)
            ahead += samples
            if ahead > AHEAD * self._rate:
                break
        return min(found), max(found)
