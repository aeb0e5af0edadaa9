"""Two devices, two clocks: how much sound lies between them, and the trim that keeps it constant.

No two crystals agree; 50 to 200 parts in a million between a microphone and a pair of headphones is usual, which
fills or empties a buffer of 20 ms within minutes. The sound in between is measured, smoothed, and held by a
proportional-integral controller that trims the output's resampling.
"""

from __future__ import annotations

import math
import time


class Beat:
    """When a device's last callback was, to know where it is between two of them.

    A callback moves a whole block at once. Taken as it is, the fill of a buffer between two devices swings by a
    block with the beat of their callbacks, which for clocks 200 ppm apart takes a minute: no filter can remove
    it. So what has happened since the last callback is counted in, at the nominal rate.

    Attributes:
        blocks: callbacks so far.
    """

    def __init__(self) -> None:
        self.blocks = 0
        self._at = time.perf_counter()

    def tick(self) -> None:
        """Called by the callback, after it has moved its block."""
        self._at = time.perf_counter()
        self.blocks += 1

    def since(self, now: float) -> float:
        """Seconds since the last callback, or the start, at ``now`` by `time.perf_counter`."""
        return max(0.0, now - self._at)


class DriftController:
    """From the seconds of sound between two clocks to a trim in parts per million.

    With trim ``u`` and drift ``d`` the sound in between changes by ``(u + d) * 1e-6`` seconds per second. A
    proportional gain ``2 * omega`` and an integral gain ``omega ** 2`` damp that critically; at the default
    ``omega`` a drift of 200 ppm moves the buffer by 0.7 ms at most and is corrected within a minute. The limit of
    1000 ppm is 1.7 cents, a third of what a trained ear hears; the slew of 100 ppm/s makes no vibrato.

    Args:
        target: seconds of sound to hold.
        omega: natural frequency of the loop, in rad/s.
        smoothing: time constant of the filter on the measurement, in seconds.
        limit: largest trim, in ppm.
        slew: fastest change, in ppm per second.

    Attributes:
        ppm: the trim to apply now.
        drift: the integral part: what the clocks differ by, in ppm, once settled.
    """

    def __init__(
        self,
        target: float,
        *,
        omega: float = 0.1,
        smoothing: float = 2.0,
        limit: float = 1000.0,
        slew: float = 100.0,
    ):
        self.target = target
        self.omega = omega
        self.smoothing = smoothing
        self.limit = limit
        self.slew = slew
        self.ppm = 0.0
        self.drift = 0.0
        self.filtered: float | None = None

    def retarget(self, target: float) -> None:
        """Start again from another amount of sound, keeping what is known about the clocks."""
        self.target = target
        self.filtered = None

    def update(self, seconds: float, elapsed: float) -> float:
        """One measurement.

        Args:
            seconds: sound between the clocks now.
            elapsed: since the last measurement, in seconds.

        Returns:
            The trim in ppm: positive asks for more output.
        """
        if self.filtered is None:
            self.filtered = seconds
        self.filtered += (1 - math.exp(-elapsed / self.smoothing)) * (seconds - self.filtered)
        error = (self.target - self.filtered) * 1e6
        wanted = 2 * self.omega * error + self.drift
        if abs(wanted) < self.limit or error * self.drift < 0:  # no wind-up while limited
            self.drift += self.omega**2 * error * elapsed
            self.drift = min(max(self.drift, -self.limit), self.limit)
        wanted = min(max(wanted, -self.limit), self.limit)
        step = self.slew * elapsed
        self.ppm += min(max(wanted - self.ppm, -step), step)
        return self.ppm
