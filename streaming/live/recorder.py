"""Recording what is heard, without the disk ever holding up the sound."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import UserError
from audio_enh.io import AudioWriter

from .ring import Ring

# As long as a disk may be busy before sound is lost from the recording.
BUFFER_SECONDS = 10


class Recorder:
    """Writes blocks to a file from a thread of its own.

    The file appears when `close` is called, under its name, complete; see `audio_enh.io.AudioWriter`.

    Args:
        path: the file, in any format that can be written.
        sample_rate: in Hz.
        channels: rows of the blocks.

    Attributes:
        dropped: frames for which the disk was too slow.
        error: what went wrong, None if nothing did; recording has stopped then.

    Raises:
        AudioFileError: the file cannot be written.
    """

    def __init__(self, path: Path, sample_rate: int, channels: int):
        self.path = path
        self.sample_rate = sample_rate
        self.dropped = 0
        self.error: UserError | None = None
        self._ring = Ring(channels, BUFFER_SECONDS * sample_rate)
        self._writer = AudioWriter(path, sample_rate=sample_rate, channels=channels)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Recorded so far."""
        return self._ring.written / self.sample_rate

    def add(self, audio: NDArray[np.float32]) -> None:
        """Take the next block, ``(channels, n)``. Does not wait."""
        if self.error is None:
            self.dropped += audio.shape[1] - self._ring.write(audio.T)

    def close(self) -> None:
        """Write the rest and finish the file.

        Raises:
            UserError: something went wrong, now or earlier.
        """
        self._ending.set()
        self._thread.join()
        if self.error is None:
            self._writer.close()
        else:
            raise self.error

    def discard(self) -> None:
        """Give up; no file is left."""
        self._ending.set()
        self._thread.join()
        if self.error is None:
            self._writer.discard()

    def _run(self) -> None:
        frames = np.empty((self.sample_rate, self._ring.channels), np.float32)
        try:
            while True:
                last = self._ending.wait(0.2)
                while count := self._ring.read_into(frames):
                    self._writer.write(frames[:count].T)
                if last:
                    return
        except UserError as error:
            self.error = error
            self._writer.discard()
