"""Reading audio files block by block."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio_enh.errors import AudioFileError, DependencyError
from audio_enh.io.containers import AUDIO_EXTENSIONS, SOUNDFILE_FORMATS
from audio_enh.io.ffmpeg import find_program
from audio_enh.io.ffmpeg_reader import FFmpegSource
from audio_enh.io.ffprobe import find_track, probe_container, probe_ffmpeg
from audio_enh.io.info import AudioInfo
from audio_enh.io.integrity import Integrity, examine
from audio_enh.io.libsndfile import SoundFileSource, probe_soundfile
from audio_enh.io.mp3 import Mp3Layout, rate_and_channels
from audio_enh.io.samples import count_nonfinite
from audio_enh.io.wavpipe import WavPipeSource

#: Frames per read where the place of some damage is not known: so many at most are lost before it.
_CAREFUL = 4096
#: Samples by which an MP3 decoder and a count of its frames may differ (two frames).
_MP3_TOLERANCE = 2304


class Source(Protocol):
    """Where samples come from."""

    info: AudioInfo

    def read(self, frames: int) -> NDArray[np.float32]:
        """Up to ``frames`` frames, ``(n, channels)``; fewer only at the end."""

    def close(self) -> None: ...


def probe(path: str | Path) -> AudioInfo:
    """Say what a file holds, without decoding it.

    A file that is cut short or damaged is no error here: see ``AudioInfo.truncated``.

    Raises:
        AudioFileError: the file is missing, a folder, empty, not a regular file, or not audio.
        DependencyError: it takes ffmpeg to read it, and there is none.
    """
    path = Path(path)
    if not _is_regular(path):
        raise AudioFileError(f"{path} is a stream: it can be read, but only once")
    return _probe_file(path, _examine(path), None)


def count_tracks(path: str | Path) -> int:
    """Number of sound tracks of a file; 1 for streams, which are not opened for it."""
    if str(path) == "-" or not _is_regular(Path(path)):
        return 1
    info = probe(path)
    return len(probe_container(Path(path)).sounds) if info.backend == "ffmpeg" else 1


def _is_regular(path: Path) -> bool:
    """Check that there is something to read; False for pipes and devices."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AudioFileError(f"{path}: no such file") from error
    except OSError as error:
        raise AudioFileError(f"cannot read {path}: {error.strerror}") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioFileError(f"{path} is a folder: name a file in it")
    if not stat.S_ISREG(status.st_mode):
        return False
    if status.st_size == 0:
        raise AudioFileError(f"{path} is empty (0 bytes)")
    return True


def _examine(path: Path) -> Integrity:
    try:
        return examine(path)
    except OSError as error:
        raise AudioFileError(f"cannot read {path}: {error.strerror}") from error


def _probe_file(path: Path, integrity: Integrity, track: str | None) -> AudioInfo:
    try:
        info = _probe_content(path, integrity)
        if track is None:
            return info
        if info.backend == "ffmpeg" and integrity.mp3 is None:
            return probe_ffmpeg(path, integrity, find_track(path, track))
        if track not in ("1", "all"):
            raise AudioFileError(f"{path} has one sound track, and none called {track}")
        return info
    except AudioFileError as error:
        if integrity.truncated is None:
            raise
        raise AudioFileError(f"{path} is {integrity.truncated}; get a whole copy") from error


def _probe_content(path: Path, integrity: Integrity) -> AudioInfo:
    if source := _own_source(path, integrity):
        with source:
            return source.info
    if integrity.mp3 is not None and integrity.several_streams:
        return _probe_mixed_mp3(path, integrity, integrity.mp3)
    if integrity.several_streams:
        return probe_ffmpeg(path, integrity)
    try:
        return probe_soundfile(path, integrity)
    except soundfile.LibsndfileError as error:
        if find_program("ffprobe") is not None:
            return probe_ffmpeg(path, integrity)
        if path.suffix.lower() in AUDIO_EXTENSIONS - SOUNDFILE_FORMATS.keys():
            raise DependencyError(
                f"{path} can only be read through ffmpeg, which is not installed: get it from your package "
                "manager (apt, brew or winget install ffmpeg), or convert the file to WAV or FLAC first"
            ) from error
        raise AudioFileError(
            f"{path} is not an audio file that libsndfile can read (ffmpeg, which knows more, is missing)"
        ) from error


def _probe_mixed_mp3(path: Path, integrity: Integrity, layout: Mp3Layout) -> AudioInfo:
    """Of an MP3 file whose parts differ: ffprobe gives rate and channels of whichever it saw last."""
    info = probe_ffmpeg(path, integrity)
    rate, channels = rate_and_channels(layout.header)
    return replace(
        info,
        sample_rate=rate,
        channels=channels,
        frames=round((info.duration or 0) * rate) or None,
        format="MP3",
        subtype="MPEG_LAYER_III",
    )


def _own_source(path: Path, integrity: Integrity) -> WavPipeSource | None:
    """Our own reader, for WAV files whose header misleads libsndfile or is not known to it."""
    if not integrity.unfinished and integrity.data_bytes is None:
        return None
    file = path.open("rb")
    try:
        source = WavPipeSource(file, path, unfinished=integrity.unfinished, data_bytes=integrity.data_bytes)
    except AudioFileError:
        file.close()
        if integrity.unfinished:
            raise
        return None  # no plain samples: whoever can read them reads what the header says
    lines = [f"{path}: {line}" for line in integrity.warnings]
    frames = source.info.frames
    if integrity.unfinished:
        frames = (path.stat().st_size - file.tell()) // source.frame_bytes
        lines.append(f"{path}: its recorder never finished the header; everything after it is taken as audio")
    info = replace(
        source.info, frames=frames, warnings=tuple(lines), truncated=integrity.truncated, backend="own"
    )
    with path.open("rb") as again:
        wide = again.read(4) == b"BW64"
    source.info = replace(info, format="RF64") if wide else info
    return source


def _open(path: str | Path, allow_truncated: bool, track: str | None) -> Source:
    if str(path) == "-":
        if sys.stdin.isatty():
            raise AudioFileError("stdin is a terminal: pipe a WAV stream into it, or name a file")
        return WavPipeSource(sys.stdin.buffer, None)
    path = Path(path)
    if not _is_regular(path):  # a named pipe, or <(command) in a shell
        return WavPipeSource(path.open("rb"), path)
    integrity = _examine(path)
    if source := _own_source(path, integrity):
        return source
    info = _probe_file(path, integrity, track)
    if info.backend == "ffmpeg":
        return FFmpegSource(info, any_length=allow_truncated)
    return SoundFileSource(info, integrity)


class AudioReader:
    """A file's samples in blocks; a context manager.

    Args:
        path: file to read, ``-`` for WAV on stdin; a named pipe is read as WAV too.
        allow_truncated: read what is there of a file that is cut short or damaged, and warn, instead of
            raising; fill holes of more than an hour.
        track: which sound of a file that has several: its number from 1, title or language. By default the one that
            players choose.

    Attributes:
        info: what the file holds.
        frames_read: samples per channel read so far.
        nonfinite: NaN and infinite samples seen so far; they are passed on as they are.

    Raises:
        AudioFileError: see ``probe``; or the file is cut short.
    """

    def __init__(self, path: str | Path, *, allow_truncated: bool = False, track: str | None = None) -> None:
        self._source = _open(path, allow_truncated, track)
        self.info = self._source.info
        self.frames_read = 0
        self.nonfinite = 0
        self._allow_truncated = allow_truncated
        self._damage: list[str] = []
        self._ended = False
        if self.info.truncated is not None:
            try:
                self._report(f"{self.info.name} is {self.info.truncated}")
            except AudioFileError:
                self.close()
                raise

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should be told, one line each; complete only at the end of the file."""
        return (*self.info.warnings, *self._damage, *getattr(self._source, "warnings", ()))

    def _report(self, damage: str) -> None:
        if not self._allow_truncated:
            raise AudioFileError(f"{damage}; get a whole copy, or allow truncated input to use what is there")
        self._damage.append(damage)

    def blocks(self, block_seconds: float = 10.0) -> Iterator[NDArray[np.float32]]:
        """Yield ``(channels, n)`` float32 blocks, full scale is 1; only the last one may be shorter.

        Raises:
            AudioFileError: the file is damaged, or ends before its header says.
        """
        frames = max(1, round(block_seconds * self.info.sample_rate))
        while len(block := self._read(frames)):
            self.frames_read += len(block)
            self.nonfinite += count_nonfinite(block)
            yield np.ascontiguousarray(block.T)
        if not self._ended:
            self._ended = True
            self._check_length()

    def _read(self, frames: int) -> NDArray[np.float32]:
        if not self._allow_truncated:
            return self._source.read(frames)
        pieces: list[NDArray[np.float32]] = []
        left = 0 if self._ended else frames
        while left > 0:
            try:
                piece = self._source.read(min(left, _CAREFUL))
            except AudioFileError as error:
                self._damage.append(str(error))
                self._ended = True
                break
            if not len(piece):
                break
            pieces.append(piece)
            left -= len(piece)
        return np.concatenate(pieces) if pieces else np.zeros((0, self.info.channels), np.float32)

    def _check_length(self) -> None:
        expected = self.info.frames
        if expected is None or self.info.backend == "ffmpeg" or self._damage:  # ffmpeg's is an estimate
            return
        tolerance = _MP3_TOLERANCE if self.info.subtype.startswith("MPEG_LAYER") else 0
        if self.frames_read < expected - tolerance:
            rate = self.info.sample_rate
            found = f"{self.frames_read / rate:.2f} of its {expected / rate:.2f} s could be decoded"
            self._report(f"{self.info.name} is damaged or cut short: {found}")

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
        AudioFileError: see ``probe`` and ``AudioReader``.
    """
    with AudioReader(path) as reader:
        blocks = list(reader.blocks())
        if not blocks:
            return np.zeros((reader.info.channels, 0), np.float32), reader.info.sample_rate
        return np.concatenate(blocks, axis=1), reader.info.sample_rate
