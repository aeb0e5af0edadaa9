"""Too busy for the model: the input instead of a crackle, and back when there is time again."""

from __future__ import annotations


class LoadGovernor:
    """Decides for every block whether there is time to run the model.

    The model is left out when blocks take as long as they last, or when one will take more than half of that and
    longer than the output can do without it. (An output that is empty already is not helped by it.) It is then left
    out for ``hold`` seconds; each time it has to be left out soon after it came back, twice as long, up to
    ``longest_hold``.

    Args:
        hold: seconds without the model, the first time.
        longest_hold: and at most.

    Attributes:
        overloaded: the model is left out.
        times: how often that began.
        load: seconds of work for a second of sound, smoothed over half a second.
    """

    limit = 0.9

    def __init__(self, hold: float = 0.5, longest_hold: float = 30.0):
        self.hold = hold
        self.longest_hold = longest_hold
        self.overloaded = False
        self.times = 0
        self.load = 0.0
        self._cost = 0.0  # as load, over 50 ms: what the next blocks will probably take
        self._next_hold = hold
        self._until = 0.0
        self._since = 0.0

    def may_run(self, audio: float, reserve: float, now: float) -> bool:
        """Ask before a block.

        Args:
            audio: seconds that it lasts.
            reserve: seconds until the output runs empty; infinite if there is none, or it is still filled up.
            now: seconds, by any clock.
        """
        if self.overloaded:
            if now < self._until:
                return False
            self.overloaded = False
            self._since = now
            # Neither forgotten nor held against it: half a second decides.
            self._cost = self.load = self.limit / 2
        too_late = self._cost > 0.5 and 0 < reserve < audio * self._cost
        if not too_late and self.load <= self.limit:
            if now - self._since > 2 * self._next_hold:
                self._next_hold = self.hold
            return True
        self.overloaded = True
        self.times += 1
        self._until = now + self._next_hold
        self._next_hold = min(2 * self._next_hold, self.longest_hold)
        return False

    def worked(self, spent: float, audio: float) -> None:
        """Tell after a block with the model that ``audio`` seconds took ``spent`` seconds."""
        cost = spent / audio
        self._cost += min(1.0, audio / 0.05) * (cost - self._cost)
        self.load += min(1.0, audio / 0.5) * (cost - self.load)
