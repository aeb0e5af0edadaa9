"""Writing audio files block by block, whole or not at all."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from audio_enh.errors import AudioFileError
from audio_enh.io.atomic import AtomicTarget, write_error
from audio_enh.io.containers import FFMPEG_MUXERS, OGG_MUXERS, READ_ONLY, writable_suffix
from audio_enh.io.encoding import changed_codec, choose_encoding, container_for, tags_are_copied
from audio_enh.io.ffmpeg_writer import FFmpegSink
from audio_enh.io.info import AudioInfo
from audio_enh.io.libsndfile import Encoding, SoundFileSink
from audio_enh.io.metadata import copy_metadata
from audio_enh.io.reader import probe
from audio_enh.io.wavpipe import WavPipeSink

#: Formats in which a file without samples cannot be read again.
_NEVER_EMPTY = {"OPUS", "MPEG_LAYER_III"}


class Sink(Protocol):
    """Where samples go."""

    clipped: int

    def write(self, audio: NDArray[np.float32]) -> None:
        """Append ``(n, channels)`` samples."""

    def close(self) -> None: ...

    def abort(self) -> None: ...


class _Resampler:
    """Converts blocks to a rate the codec knows: no delay, and as many samples as the ratio asks for."""

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        self._stream = soxr.ResampleStream(source_rate, target_rate, channels, dtype="float32", quality="VHQ")
        self._source_rate, self._target_rate = source_rate, target_rate
        self._channels = channels
        self._taken = self.given = 0

    def process(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        self._taken += len(audio)
        out = self._stream.resample_chunk(audio)
        self.given += len(out)
        return out

    def flush(self) -> NDArray[np.float32]:
        out = self._stream.resample_chunk(np.zeros((0, self._channels), np.float32), last=True)
        missing = round(self._taken * self._target_rate / self._source_rate) - self.given
        padded = np.zeros((max(missing, 0), self._channels), np.float32)
        padded[: len(out)] = out[: len(padded)]
        return padded


class AudioWriter:
    """Writes samples under a temporary name and renames on success; a context manager.

    Leaving the ``with`` block through an exception (Ctrl-C too) removes the temporary file and leaves an
    existing target as it was. The target may be the file that is being read. Pipes and devices are written to
    directly, as WAV.

    Args:
        path: file to write, ``-`` for WAV on stdout. The extension decides the container.
        like: mirror this input: its rate, channels, sample format, bit rate, tags and, in a film, its other
            streams, as far as the container can.
        sample_rate: of what will be written, in Hz; needed without ``like``, overrides it otherwise.
        channels: the same.
        subtype: sample format by libsndfile's name (``PCM_16``, ``FLOAT``...), instead of the one mirrored.

    Attributes:
        sample_rate: of the samples that ``write`` takes.
        frames: samples per channel written so far.

    Raises:
        AudioFileError: unknown extension, a folder that cannot be written, or a combination the container
            cannot hold.
        DependencyError: it takes ffmpeg to write this container, and there is none.
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
        if like is not None:
            sample_rate = sample_rate or like.sample_rate
            channels = channels or like.channels
        if sample_rate is None or channels is None:
            raise ValueError("AudioWriter needs `like`, or `sample_rate` and `channels`")
        self.path = Path(path)
        self.sample_rate, self.channels = sample_rate, channels
        self.frames = 0
        self._like = like
        self._warnings: list[str] = []
        self._target: AtomicTarget | None = None
        self._encoding: Encoding | None = None
        self._resampler: _Resampler | None = None
        if str(path) == "-" or _is_stream(self.path):
            self._sink: Sink = self._open_pipe(subtype)
            return
        format = container_for(self.path, like)
        muxer = (FFMPEG_MUXERS | OGG_MUXERS).get(self.path.suffix.lower())
        if format is None and muxer is None:
            suffix = self.path.suffix
            if suffix.lower() in READ_ONLY:
                raise AudioFileError(
                    f"{self.path}: {suffix} can be read, but not written: name an output such as "
                    f"{writable_suffix(suffix)}"
                )
            problem = f"unknown extension {suffix}" if suffix else "no extension"
            raise AudioFileError(f"{self.path}: {problem}: name an output such as .wav, .flac, .mp3 or .mp4")
        if format is None and subtype is not None:
            raise AudioFileError(
                f"{self.path}: the sample format cannot be chosen for {self.path.suffix} files"
            )
        self._target = AtomicTarget(self.path)
        try:
            self._sink = self._open_file(self._target, format, subtype)
        except BaseException:
            self._target.discard()
            raise

    def _open_file(self, target: AtomicTarget, format: str | None, subtype: str | None) -> Sink:
        rate, channels = self.sample_rate, self.channels
        if format is None:
            return FFmpegSink(target.temporary, self.path, self._like, sample_rate=rate, channels=channels)
        encoding = choose_encoding(
            self.path, format, self._like, sample_rate=rate, channels=channels, subtype=subtype
        )
        self._encoding = encoding
        if self._like is not None and (changed := changed_codec(encoding, self._like)):
            self._warnings.append(f"{self.path}: {changed}")
        if encoding.sample_rate != rate:
            self._resampler = _Resampler(rate, encoding.sample_rate, channels)
            self._warnings.append(
                f"{self.path}: {encoding.subtype} has no {rate} Hz: written at {encoding.sample_rate} Hz"
            )
        sink = SoundFileSink(target.temporary, self.path, encoding)
        if sink.lost_tags:
            self._warnings.append(
                f"{self.path}: {encoding.format} has no place for {', '.join(sink.lost_tags)}"
            )
        return sink

    def _open_pipe(self, subtype: str | None) -> Sink:
        like = self._like
        stdout = str(self.path) == "-"
        if stdout and sys.stdout.isatty():
            raise AudioFileError(
                "stdout is a terminal: pipe it into a program or a file, or name an output file"
            )
        try:
            stream = sys.stdout.buffer if stdout else self.path.open("wb")
        except OSError as error:
            raise write_error(error, self.path) from error
        return WavPipeSink(
            stream,
            "stdout" if stdout else str(self.path),
            sample_rate=self.sample_rate,
            channels=self.channels,
            subtype=subtype or (like.subtype if like is not None else "PCM_16"),
            frames=like.frames if like is not None and self._will_be_as_long(like) else None,
            owns_stream=not stdout,
        )

    def _will_be_as_long(self, like: AudioInfo) -> bool:
        """Whether the input's number of frames is exact, and that of the output."""
        exact = like.backend != "ffmpeg" and like.format != "MP3" and like.truncated is None
        return exact and like.sample_rate == self.sample_rate

    @property
    def clipped(self) -> int:
        """Samples beyond full scale so far, clipped (integer formats only)."""
        return self._sink.clipped

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should be told, one line each; complete only after ``close``."""
        return (*self._warnings, *getattr(self._sink, "warnings", ()))

    def write(self, audio: NDArray[np.float32]) -> None:
        """Append ``(channels, n)`` samples, full scale is 1.

        Raises:
            AudioFileError: the disk is full, or a pipe's reader has gone.
        """
        if audio.ndim != 2 or audio.shape[0] != self.channels:
            raise ValueError(f"expected ({self.channels}, n) samples, got shape {audio.shape}")
        self.frames += audio.shape[1]
        frames = np.ascontiguousarray(audio.T, dtype=np.float32)
        self._sink.write(frames if self._resampler is None else self._resampler.process(frames))

    def close(self) -> None:
        """Finish and rename; only then is the file there."""
        try:
            if self._target is None:
                self._sink.close()
                return
            if self._resampler is not None:
                self._sink.write(self._resampler.flush())
            subtype = "" if self._encoding is None else self._encoding.subtype
            if self.frames == 0 and (self._encoding is None or subtype in _NEVER_EMPTY):
                raise AudioFileError(f"{self.path}: there are no samples, and only WAV or FLAC can hold that")
            self._sink.close()
            self._copy_metadata(self._target)
            if self._encoding is not None:  # the other sink looks for itself
                self._verify(self._target, self._encoding)
        except BaseException:
            self.discard()
            raise
        self._target.commit()

    def _verify(self, target: AtomicTarget, encoding: Encoding) -> None:
        """Look at what lies on the disk before it takes the place of anything.

        Raises:
            AudioFileError: it is not all there.
        """
        try:
            info = probe(target.temporary)
        except AudioFileError as error:
            raise AudioFileError(f"{self.path}: what was written cannot be read again: {error}") from error
        expected = self.frames if self._resampler is None else self._resampler.given
        found = info.truncated
        # MP3 counts whole frames, and codecs that work in blocks fill up the last one.
        if found is None and info.frames is not None and info.frames < expected:
            found = f"cut short: {info.frames} of {expected} samples are there"
        if found is not None:
            raise AudioFileError(
                f"{self.path}: what was written is {found}; is there space left on the disk?"
            )

    def _copy_metadata(self, target: AtomicTarget) -> None:
        like, encoding = self._like, self._encoding
        if like is None or like.path is None or encoding is None or not tags_are_copied(encoding, like):
            return
        try:
            copy_metadata(like.path, target.temporary, encoding.format)
        except OSError as error:
            raise write_error(error, self.path) from error
        except ValueError as error:
            self._warnings.append(f"{self.path}: the tags of {like.path} were not carried over: {error}")

    def discard(self) -> None:
        """Give up: remove what was written."""
        try:
            self._sink.abort()
        finally:
            if self._target is not None:
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


def _is_stream(path: Path) -> bool:
    """A pipe or a device such as /dev/null: nothing to rename over."""
    try:
        mode = path.stat().st_mode
    except OSError:  # not there; or AtomicTarget will say what is wrong
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


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
