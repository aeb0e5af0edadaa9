"""The file that a recording is written to, which outlives whatever happens to the disk or this process."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import AudioFileError, UserError
from audio_enh.io import AtomicTarget, AudioReader, AudioWriter
from audio_enh.io.atomic import write_error
from audio_enh.io.libsndfile import Encoding, SoundFileSink

from .leftovers import Note, free_name

#: So often the disk is made to keep what was recorded; a power cut takes no more than that.
SYNC_SECONDS = 5.0
# A file of these kinds that was never finished can be read to where it ends.
_SAFE = {".wav": "WAV", ".flac": "FLAC"}


class Spool:
    """Samples under a hidden name beside the file to be, and noted as a leftover until that is there.

    WAV and FLAC are written as they are to be. For anything else the sound is written as FLAC and encoded at the
    end: a compressed container that was not finished, because the disk was full or the process killed, often
    cannot be read at all.

    Args:
        path: the file to be, in any format that can be written.
        sample_rate: in Hz.
        channels: rows of the blocks.

    Attributes:
        path: where the recording is, once it is finished: the file to be, another name where that was taken
            meanwhile, or where the disk was full the FLAC beside it.
        frames: samples per channel written.

    Raises:
        AudioFileError: the file cannot be written.
        DependencyError: it takes ffmpeg, and there is none.
    """

    def __init__(self, path: Path, sample_rate: int, channels: int):
        self.path = path
        self.frames = 0
        self._taken = path.exists()
        self._converted = path.suffix.lower() not in _SAFE
        if self._converted:
            # What can be wrong with the name and the format is wrong at the start, not after an hour.
            AudioWriter(path, sample_rate=sample_rate, channels=channels).discard()
        kept = path.with_suffix(".flac") if self._converted else path
        encoding = Encoding(sample_rate, channels, _SAFE[kept.suffix.lower()], "PCM_16")
        self._target = AtomicTarget(kept, "recording")
        try:
            self._sink = SoundFileSink(self._target.temporary, path, encoding)
        except BaseException:
            self._target.discard()
            raise
        self._note = Note(self._target.temporary, self._target.path.with_name(path.name))
        self._synced = time.monotonic()

    def write(self, audio: NDArray[np.float32]) -> None:
        """Append ``(channels, n)``.

        Raises:
            AudioFileError: the disk is full, or the file too large; `salvage` keeps what was written.
        """
        self._sink.write(audio.T)
        self.frames += audio.shape[1]
        if time.monotonic() - self._synced > SYNC_SECONDS:
            try:
                self._sink.sync()
            except OSError as error:
                raise write_error(error, self.path) from error
            self._synced = time.monotonic()

    def close(self) -> None:
        """Finish the file; it appears under its name.

        Raises:
            UserError: not all of it could be written; ``path`` is what there is.
        """
        try:
            self._sink.close()
        except AudioFileError:
            self.salvage()
            raise
        if self._converted:
            self._convert()
        else:
            self._keep(self.path)

    def salvage(self) -> None:
        """After `write` has failed: finish a file with what was written until then."""
        self._sink.salvage()
        if not self._converted:
            self._keep(self.path)
            return
        with contextlib.suppress(UserError):
            self._convert()

    def discard(self) -> None:
        """Give up; no file is left."""
        self._sink.abort()
        self._target.discard()
        self._note.remove()

    def _convert(self) -> None:
        part = self._target.temporary
        path = self._free(self.path)
        try:
            with AudioReader(part, allow_truncated=True) as reader:
                info = reader.info
                with AudioWriter(path, sample_rate=info.sample_rate, channels=info.channels) as writer:
                    for block in reader.blocks(1.0):
                        writer.write(block)
        except UserError as error:
            self._keep(free_name(self.path.with_suffix(".flac")))
            raise AudioFileError(f"{error}; the recording is {self.path}") from error
        self.path = path
        self._target.discard()
        self._note.remove()

    def _keep(self, path: Path) -> None:
        """Give the spool a name that is seen."""
        path = self._free(path)
        part = self._target.temporary
        try:
            with contextlib.suppress(OSError):  # what the disk has is more than nothing
                handle = os.open(part, os.O_RDWR)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
            part.replace(path.resolve())
        except OSError as error:
            self.path = part
            raise AudioFileError(f"{write_error(error, path)}; the recording is {part}") from error
        self._target.discard()  # of which only the lock is left
        self.path = path
        self._note.remove()

    def _free(self, path: Path) -> Path:
        """What was not there at the start belongs to somebody else."""
        return path if self._taken else free_name(path)
