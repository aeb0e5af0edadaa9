"""Reading audio files block by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio_enh.errors import AudioFileError
from audio_enh.io.info import AudioInfo
from audio_enh.io.libsndfile import SoundFileSource, probe_soundfile
from audio_enh.io.samples import count_nonfinite


def probe(path: str | Path) -> AudioInfo:
    """Say what ``path`` holds, without decoding it.

    Raises:
        AudioFileError: the file is missing, a folder, empty, or not audio.
    """
    path = Path(path)
    if not path.exists():
        raise AudioFileError(f"{path}: no such file")
    if path.is_dir():
        raise AudioFileError(f"{path} is a folder: name a file in it")
    if path.stat().st_size == 0:
        raise AudioFileError(f"{path} is empty (0 bytes)")
    try:
        return probe_soundfile(path)
    except soundfile.LibsndfileError as error:
        raise AudioFileError(f"{path} is not an audio file: {error.error_string}") from error


class AudioReader:
    """A file's samples in blocks; a context manager.

    Args:
        path: file to read, ``-`` for WAV on stdin.

    Attributes:
        info: what the file holds.
        frames_read: samples per channel read so far.
        nonfinite: NaN and infinite samples seen so far; they are passed on as they are.
    """

    def __init__(self, path: str | Path) -> None:
        self.info = probe(path)
        self._source = SoundFileSource(self.info)
        self.frames_read = 0
        self.nonfinite = 0

    def blocks(self, block_seconds: float = 10.0) -> Iterator[NDArray[np.float32]]:
        """Yield ``(channels, n)`` float32 blocks, full scale is 1; only the last one may be shorter."""
        frames = max(1, round(block_seconds * self.info.sample_rate))
        while len(block := self._source.read(frames)):
            self.frames_read += len(block)
            self.nonfinite += count_nonfinite(block)
            yield np.ascontiguousarray(block.T)

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_audio(path: str | Path) -> tuple[NDArray[np.float32], int]:
    """Read a whole file.

    Returns:
        Samples ``(channels, n)``, float32, full scale is 1, and the sample rate in Hz.

    Raises:
        AudioFileError: see ``probe``.
    """
    with AudioReader(path) as reader:
        blocks = list(reader.blocks())
        if not blocks:
            return np.zeros((reader.info.channels, 0), np.float32), reader.info.sample_rate
        return np.concatenate(blocks, axis=1), reader.info.sample_rate
