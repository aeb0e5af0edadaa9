"""Reading and writing through libsndfile (the soundfile package)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio_enh.errors import AudioFileError
from audio_enh.io.atomic import write_error
from audio_enh.io.info import AudioInfo
from audio_enh.io.samples import quantize, replace_nonfinite

#: Sample formats that take floats; all others are given integers of this many bits (16 where not listed).
_FLOATS = {"FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"}
_BITS = {
    "PCM_S8": 8,
    "PCM_U8": 8,
    "PCM_24": 24,
    "PCM_32": 32,
    "ALAC_20": 20,
    "ALAC_24": 24,
    "ALAC_32": 32,
    "DWVW_24": 24,
}


def probe_soundfile(path: Path) -> AudioInfo:
    """Read the header.

    Raises:
        soundfile.LibsndfileError: libsndfile does not know what this is.
    """
    with soundfile.SoundFile(path) as file:
        return AudioInfo(
            path=path,
            sample_rate=file.samplerate,
            channels=file.channels,
            frames=file.frames,
            format=file.format,
            subtype=file.subtype,
            endian=file.endian,
            tags={key: value for key, value in file.copy_metadata().items() if value},
        )


class SoundFileSource:
    """Samples of a file, in order."""

    def __init__(self, info: AudioInfo) -> None:
        self.info = info
        self._file = soundfile.SoundFile(info.path)

    def read(self, frames: int) -> NDArray[np.float32]:
        """Up to ``frames`` frames, ``(n, channels)``; 0 frames at the end."""
        try:
            return self._file.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioFileError(f"{self.info.name} is damaged: {error.error_string}") from error

    def close(self) -> None:
        self._file.close()


class _GuardedFile:
    """A file for libsndfile's virtual I/O that remembers the first error.

    libsndfile and its encoders may drop a short write; and an exception cannot cross the C code between. So
    after an error all writes seem to succeed and go nowhere, and ``error`` tells.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        try:
            while self.error is None and len(view):
                view = view[self._file.write(view) :]
        except OSError as error:
            self.error = error
        return len(data)

    def readinto(self, buffer: bytearray) -> int:
        return self._file.readinto(buffer) or 0

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size) or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:  # network file systems report a full disk here
            self.error = self.error or error


class SoundFileSink:
    """Encodes into ``path``; ``target`` is the name for messages.

    Attributes:
        clipped: samples beyond full scale so far, clipped (integer formats only).
    """

    def __init__(
        self,
        path: Path,
        target: Path,
        *,
        sample_rate: int,
        channels: int,
        format: str,
        subtype: str,
        endian: str = "FILE",
        tags: dict[str, str] | None = None,
    ) -> None:
        self.clipped = 0
        self._target = target
        self._bits = None if subtype in _FLOATS else _BITS.get(subtype, 16)
        self._lossy = subtype in _FLOATS and subtype not in ("FLOAT", "DOUBLE")
        try:
            self._handle = _GuardedFile(path)
        except OSError as error:
            raise write_error(error, target) from error
        try:
            self._file = soundfile.SoundFile(
                self._handle,
                "w",
                sample_rate,
                channels,
                subtype=subtype,
                endian=endian,
                format=format,
            )
        except (soundfile.LibsndfileError, ValueError) as error:
            self._handle.close()
            self._raise_if_failed()
            detail = getattr(error, "error_string", str(error))
            raise AudioFileError(
                f"{target}: {subtype} cannot hold {channels} channels at {sample_rate} Hz ({detail})"
            ) from error
        for key, value in (tags or {}).items():
            setattr(self._file, key, value)

    def _raise_if_failed(self) -> None:
        if self._handle.error is not None:
            raise write_error(self._handle.error, self._target) from self._handle.error

    def write(self, audio: NDArray[np.float32]) -> None:
        """Append ``(n, channels)`` samples."""
        # libvorbis keeps its analysis buffers on the stack: large writes have crashed it.
        for start in range(0, len(audio), 8192):
            block = np.ascontiguousarray(audio[start : start + 8192], dtype=np.float32)
            if self._bits is not None:
                integers, clipped = quantize(np.asarray(replace_nonfinite(block), np.float32), self._bits)
                self.clipped += clipped
                self._file.write(np.ascontiguousarray(integers))
            else:
                # Encoders of lossy formats hang or crash on NaN; float formats keep it.
                self._file.write(np.asarray(replace_nonfinite(block)) if self._lossy else block)
            self._raise_if_failed()

    def close(self) -> None:
        """Finish the file.

        Raises:
            AudioFileError: not all of it could be written.
        """
        self._file.close()
        self._handle.close()
        self._raise_if_failed()

    def abort(self) -> None:
        """Close, whatever state things are in."""
        self._file.close()
        self._handle.close()
