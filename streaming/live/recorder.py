"""Recording what is heard, without the disk ever holding up the sound."""

from __future__ import annotations

import stat
import threading
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import UserError
from audio_enh.io import AudioWriter

from .ring import Ring
from .spool import Spool

# As long as a disk may be busy before sound is lost from the recording.
BUFFER_SECONDS = 10


class Writer(Protocol):
    """Where samples go."""

    path: Path

    def write(self, audio: NDArray[np.float32]) -> None: ...
    def close(self) -> None: ...
    def discard(self) -> None: ...


class Recorder:
    """Writes blocks to a file from a thread of its own.

    The file appears under its name when `close` is called, or when the disk is full: what was recorded until then
    is kept in any case. See `Spool`. A named pipe or a device is written to as WAV.

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
        self.sample_rate = sample_rate
        self.dropped = 0
        self.error: UserError | None = None
        self._ring = Ring(channels, BUFFER_SECONDS * sample_rate)
        self._writer: Writer
        if _is_stream(path):
            self._writer = AudioWriter(path, sample_rate=sample_rate, channels=channels)
        else:
            self._writer = Spool(path, sample_rate, channels)
        self._written = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The file; where the recording really is once it has been closed."""
        return self._writer.path

    @property
    def seconds(self) -> float:
        """Recorded so far; after an error what was kept."""
        return (self._ring.written if self.error is None else self._written) / self.sample_rate

    def add(self, audio: NDArray[np.float32]) -> None:
        """Take the next block, ``(channels, n)``. Does not wait."""
        if self.error is None:
            self.dropped += audio.shape[1] - self._ring.write(audio.T)

    def close(self) -> None:
        """Write the rest and finish the file.

        Raises:
            UserError: something went wrong, now or earlier; it says what was kept and where.
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
                    self._written += count
                if last:
                    return
        except (UserError, OSError) as error:
            self.error = self._salvage(error)

    def _salvage(self, error: UserError | OSError) -> UserError:
        """Keep what was written before ``error``; what to tell."""
        writer = self._writer
        try:
            if isinstance(writer, Spool) and self._written:
                writer.salvage()
            else:
                writer.discard()
                return UserError(f"{error}; nothing could be recorded")
        except (UserError, OSError) as another:
            return UserError(f"{error}; {another}")
        return UserError(f"{error}; what was recorded until then, {self.seconds:.1f} s, is in {writer.path}")


def _is_stream(path: Path) -> bool:
    if str(path) == "-":
        return True
    try:
        mode = path.stat().st_mode
    except OSError:  # not there yet
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
