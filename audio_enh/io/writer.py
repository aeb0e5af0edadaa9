"""Writing audio files block by block, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio_enh.errors import AudioFileError
from audio_enh.io.atomic import AtomicTarget
from audio_enh.io.info import SOUNDFILE_FORMATS, AudioInfo
from audio_enh.io.libsndfile import SoundFileSink


class AudioWriter:
    """Writes samples under a temporary name and renames on success; a context manager.

    Leaving the ``with`` block through an exception (Ctrl-C too) removes the temporary file and leaves an
    existing target as it was. The target may be the file that is being read.

    Args:
        path: file to write, ``-`` for WAV on stdout. The extension decides the container.
        like: mirror this input: its rate, channels, sample format, bit rate and tags, as far as the
            container can.
        sample_rate: in Hz; needed without ``like``, overrides it otherwise.
        channels: the same.
        subtype: sample format by libsndfile's name (``PCM_16``, ``FLOAT``...), instead of the one mirrored.

    Attributes:
        frames: samples per channel written so far.
        clipped: samples beyond full scale so far, clipped.
        warnings: what a user should be told, one line each.

    Raises:
        AudioFileError: unknown extension, a folder that cannot be written, or a combination the container
            cannot hold.
    """

    def __init__(
        self,
        path: str | Path,
        like: AudioInfo | None = None,
        *,
        sample_rate: int | None = None,
        channels: int | None = None,
        subtype: str | None = None,
    ) -> None:
        path = Path(path)
        if like is not None:
            sample_rate = sample_rate or like.sample_rate
            channels = channels or like.channels
        if sample_rate is None or channels is None:
            raise ValueError("AudioWriter needs `like`, or `sample_rate` and `channels`")
        format = SOUNDFILE_FORMATS.get(path.suffix.lower())
        if format is None:
            raise AudioFileError(f"{path}: unknown extension {path.suffix!r}: use one such as .wav or .flac")
        endian = "FILE"
        if subtype is None:
            subtype = "OPUS" if path.suffix.lower() == ".opus" else soundfile.default_subtype(format)
            if like is not None and soundfile.check_format(format, like.subtype):
                subtype = like.subtype
        self.channels = channels
        self.sample_rate = sample_rate
        self.frames = 0
        self.warnings: list[str] = []
        self._target = AtomicTarget(path)
        try:
            self._sink = SoundFileSink(
                self._target.temporary,
                path,
                sample_rate=sample_rate,
                channels=channels,
                format=format,
                subtype=str(subtype),
                endian=endian,
                tags=dict(like.tags) if like is not None else None,
            )
        except BaseException:
            self._target.discard()
            raise

    @property
    def clipped(self) -> int:
        return self._sink.clipped

    def write(self, audio: NDArray[np.float32]) -> None:
        """Append ``(channels, n)`` samples, full scale is 1.

        Raises:
            AudioFileError: the disk is full.
        """
        if audio.ndim != 2 or audio.shape[0] != self.channels:
            raise ValueError(f"expected ({self.channels}, n) samples, got shape {audio.shape}")
        self._sink.write(np.ascontiguousarray(audio.T, dtype=np.float32))
        self.frames += audio.shape[1]

    def close(self) -> None:
        """Finish and rename; only then is the file there."""
        try:
            self._sink.close()
        except BaseException:
            self._target.discard()
            raise
        self._target.commit()

    def discard(self) -> None:
        """Give up: remove what was written."""
        try:
            self._sink.abort()
        finally:
            self._target.discard()

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def write_audio(
    path: str | Path,
    audio: NDArray[np.float32],
    sample_rate: int,
    *,
    subtype: str | None = None,
    like: AudioInfo | None = None,
) -> None:
    """Write a whole file.

    Args:
        path: file to write; see ``AudioWriter``.
        audio: ``(samples,)`` or ``(channels, samples)``, full scale is 1.
        sample_rate: in Hz.
        subtype: sample format by libsndfile's name; the container's default if None.
        like: mirror this input's sample format and tags.
    """
    audio = np.atleast_2d(audio)
    with AudioWriter(path, like, sample_rate=sample_rate, channels=audio.shape[0], subtype=subtype) as writer:
        writer.write(audio)
