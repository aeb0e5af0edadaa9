"""The two ends that PortAudio calls: their callbacks copy and count, and do nothing else.

They run on PortAudio's own threads and must be back within a block. So they wait for nothing, log nothing, and
take no memory beyond the small change of the interpreter. What is to be decided is decided by the worker, which
leaves its wishes in attributes that the callbacks look at.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .drift import Beat
from .ring import Ring

# A worker that is away for longer than this loses sound.
RING_SECONDS = 1.0


class Capture:
    """What the microphone's callback fills.

    Args:
        sample_rate: in Hz.
        channels: of the device as opened.
        block: frames per callback.

    Attributes:
        ring: what was captured and not yet taken.
        beat: of the callbacks.
        dropped: frames for which the ring had no room.
        flagged: blocks before which PortAudio says that input was lost.
        device_latency: seconds from the microphone to the callback, by PortAudio's account.
        thread: number of the callback's thread by the system, 0 before the first call.
    """

    def __init__(self, sample_rate: int, channels: int, block: int):
        self.sample_rate = sample_rate
        self.channels = channels
        self.block = block
        self.ring = Ring(channels, max(round(RING_SECONDS * sample_rate), 4 * block))
        self.beat = Beat()
        self.dropped = 0
        self.flagged = 0
        self.device_latency = 0.0
        self.thread = 0
        # Held while nothing new is there. Only the callback releases it, only the worker acquires it.
        self._news = threading.Lock()
        self._news.acquire()

    def callback(self, indata: NDArray[np.float32], frames: int, when: Any, status: Any) -> None:
        """For `sounddevice.InputStream`."""
        if status:
            self.flagged += 1
        self.dropped += frames - self.ring.write(indata)
        self.device_latency = when.currentTime - when.inputBufferAdcTime
        self.beat.tick()
        if not self.thread:
            self.thread = threading.get_native_id()
        if self._news.locked():
            self._news.release()

    def wait(self, timeout: float) -> None:
        """Sleep until something new is there, or ``timeout`` seconds; for the worker."""
        self._news.acquire(timeout=timeout)


class Playback:
    """What the loudspeaker's callback empties.

    Until the worker sets ``playing`` it plays silence, and again after the ring ran empty: then the worker fills up
    anew, and there is one gap instead of a crackle at every block.

    Args:
        sample_rate: in Hz.
        channels: of the device as opened.
        block: frames per callback.

    Attributes:
        ring: what waits to be played.
        beat: of the callbacks.
        playing: set by the worker, cleared by the callback.
        idle: set while nothing is expected to come, so that running empty is not counted.
        skip: frames to drop unheard, a wish of the worker; the callback sets it back to 0.
        underruns: times the ring ran empty.
        emptied: when it last did, by `time.perf_counter`, put back by what it had too little.
        flagged: blocks before which PortAudio says that output came too late.
        device_latency: seconds from the callback to the loudspeaker, by PortAudio's account.
        thread: number of the callback's thread by the system, 0 before the first call.
    """

    def __init__(self, sample_rate: int, channels: int, block: int):
        self.sample_rate = sample_rate
        self.channels = channels
        self.block = block
        self.ring = Ring(channels, max(round(RING_SECONDS * sample_rate), 4 * block))
        self.beat = Beat()
        self.playing = False
        self.idle = False
        self.skip = 0
        self.underruns = 0
        self.emptied = 0.0
        self.flagged = 0
        self.device_latency = 0.0
        self.thread = 0
        self._least = self.ring.capacity

    def callback(self, outdata: NDArray[np.float32], frames: int, when: Any, status: Any) -> None:
        """For `sounddevice.OutputStream`."""
        if status:
            self.flagged += 1
        if self.skip:
            self.ring.skip(self.skip)
            self.skip = 0
        if self.playing:
            count = self.ring.read_into(outdata)
            left = self.ring.fill
            if left < self._least:
                self._least = left
            if count < frames:
                outdata[count:] = 0
                self.playing = False
                if not self.idle:
                    self.emptied = time.perf_counter() - (frames - count) / self.sample_rate
                    self.underruns += 1
        else:
            outdata.fill(0)
        self.device_latency = when.outputBufferDacTime - when.currentTime
        self.beat.tick()
        if not self.thread:
            self.thread = threading.get_native_id()

    def take_margin(self) -> float:
        """Seconds that a callback left in the ring at the least, since this was last asked."""
        least, self._least = self._least, self.ring.capacity
        return least / self.sample_rate

    def reserve(self, now: float) -> float:
        """Seconds of sound until the device has nothing to play, counted from ``now``."""
        return self.ring.fill / self.sample_rate - self.beat.since(now)
