"""Samples out of containers: decoded by an ffmpeg that writes float32 into a pipe, each in its place in time."""

from __future__ import annotations

import re
from collections import deque

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import AudioFileError
from audio_enh.io.ffmpeg import FFmpeg, FFmpegFailure, input_arguments, last_line
from audio_enh.io.ffprobe import probe_container
from audio_enh.io.info import AudioInfo
from audio_enh.io.timeline import Piece, Timeline

#: Samples of the longest packet (ALAC, FLAC).
_LONGEST_PACKET = 8192
#: Containers in which a recording may follow another, with times that start anew.
_JOINABLE = {"ogg", "mpegts", "mpeg", "flv", "live_flv", "nut"}
#: Bytes per read of the pipe.
_STEP = 1 << 16
#: Bytes without a time after which no times are expected.
_UNTIMED = 1 << 26
#: Samples of silence per piece: holes are filled in bounded memory.
_SILENCE = 1 << 16
#: Silence that is put into holes without being asked, in seconds all together.
MOST_SILENCE = 3600.0
#: A line of ffmpeg's framecrc: stream, decoding time, time, duration, bytes, checksum.
_FRAME = re.compile(rb"0,\s*-?\d+,\s*(-?\d+),\s*\d+,\s*(\d+),\s*0x[0-9a-f]{8}")


class FFmpegSource:
    """Samples of a file, from an ffmpeg of its own.

    It writes the samples to stdout, and the times of the frames that they came in to stderr, by which holes are
    found and filled with silence.

    Args:
        info: what ``probe_ffmpeg`` says.
        any_length: fill holes of any length.

    Attributes:
        warnings: holes, and what ffmpeg complained of without giving up; complete at the end.
    """

    def __init__(self, info: AudioInfo, *, any_length: bool = False) -> None:
        assert info.path is not None
        self.info = info
        self._any_length = any_length
        container = probe_container(info.path, info.track)
        self._end = container.frames
        self._size = 4 * info.channels
        self._position = 0
        self._decoded = bytearray()  # out of the pipe
        self._placed = b""  # in its place, to be read
        self._given = 0
        joined = not _JOINABLE.isdisjoint(container.format.split(","))
        self._timeline = Timeline(info.sample_rate, joined=joined)
        self._times: deque[tuple[int, int]] = deque()
        self._pieces: deque[Piece] = deque()
        self._silence = 0
        self._holes: list[tuple[int, int]] = []
        self._ended = False
        shape = [
            "-map",
            f"0:{container.audio.index}",
            "-ar",
            str(info.sample_rate),
            "-ac",
            str(info.channels),
        ]
        # Times as they are in the file: ffmpeg takes large holes of some containers for errors, and removes them.
        arguments = [
            "-copyts",
            *input_arguments(info.path),
            *shape,
            "-f",
            "f32le",
            "-flush_packets",
            "1",
            "pipe:1",
        ]
        arguments += [*shape, "-c:a", "pcm_f32le", "-f", "framecrc", "-flush_packets", "1", "pipe:2"]
        self._process = FFmpeg(arguments, purpose=info.name, stdout=True, listen=self._listen)

    def _listen(self, line: bytes) -> bool:
        """Lines of framecrc among those of the log; called from another thread."""
        found = _FRAME.match(line)
        if found is None:
            return line.startswith(b"#")
        self._times.append((int(found[1]), int(found[2]) // self._size))
        return True

    @property
    def warnings(self) -> tuple[str, ...]:
        lines = []
        if self._holes:
            rate = self.info.sample_rate
            total = sum(length for _, length in self._holes) / rate
            place, _ = self._holes[0]
            what = "a hole" if len(self._holes) == 1 else f"{len(self._holes)} holes"
            lines.append(
                f"{self.info.name}: {what} of {total:.3f} s in its sound (from {place / rate:.3f} s on), "
                "filled with silence"
            )
        if self._ended and (said := self._process.stderr.strip()):
            lines.append(f"{self.info.name}: ffmpeg found damage while decoding ({last_line(said)})")
        return tuple(lines)

    def read(self, frames: int) -> NDArray[np.float32]:
        """Up to ``frames`` frames, ``(n, channels)``; 0 frames at the end.

        Raises:
            AudioFileError: ffmpeg failed or hangs, or a hole is too long to be filled without being asked.
        """
        size = self._size
        data = self._take(frames * size)
        self._position += len(data) // size
        if self._end is not None and self._position > self._end:
            # The decoder gives the last packet whole; only so much of it is sound. More than a packet is not
            # padding.
            rest = self._take(_LONGEST_PACKET * size)
            excess = self._position + len(rest) // size - self._end
            if len(rest) < _LONGEST_PACKET * size and excess <= _LONGEST_PACKET:
                data = data[: max(len(data) - (self._position - self._end) * size, 0)]
            else:
                self._placed = rest + self._placed
            self._end = None
        return np.frombuffer(data, "<f4").astype(np.float32).reshape(-1, self.info.channels)

    def _take(self, size: int) -> bytes:
        parts = [self._placed]
        length = len(self._placed)
        while length < size and (part := self._next_part()):
            parts.append(part)
            length += len(part)
        data = b"".join(parts)
        self._placed = data[size:]
        return data[:size]

    def _next_part(self) -> bytes:
        """The next samples in their places, or a part of the silence between; nothing at the end."""
        part = self._find_part()
        self._given += len(part) // self._size
        return part

    def _find_part(self) -> bytes:
        while True:
            if self._silence:
                count = min(self._silence, _SILENCE)
                self._silence -= count
                return bytes(count * self._size)
            if self._pieces:
                piece = self._pieces[0]
                if piece.silence:
                    self._note_hole(piece.silence)
                    self._pieces[0] = Piece(0, piece.drop, piece.take)
                    continue
                end = (piece.drop + piece.take) * self._size
                if self._ended or len(self._decoded) >= end:  # times may run ahead of the samples
                    self._pieces.popleft()
                    if part := self._cut(piece.drop * self._size, end):
                        return part
                    continue
            elif self._ended or len(self._decoded) > _UNTIMED:
                # What comes without a time (an ffmpeg that speaks otherwise) follows what was before.
                return self._cut(0, len(self._decoded) // self._size * self._size)
            self._read_more()

    def _cut(self, start: int, end: int) -> bytes:
        part = bytes(self._decoded[start:end])
        del self._decoded[:end]
        return part

    def _note_hole(self, samples: int) -> None:
        rate, info = self.info.sample_rate, self.info
        self._holes.append((self._given, samples))
        if sum(length for _, length in self._holes) > MOST_SILENCE * rate and not self._any_length:
            gigabytes = samples * info.channels * 2 / 1e9
            raise AudioFileError(
                f"{info.name} has a hole of {samples / rate / 3600:.1f} hours in its sound, at "
                f"{self._given / rate:.1f} s: as silence it would take {gigabytes:.1f} GB in 16 bits; repair the "
                "file, or allow truncated input to have the hole filled"
            )
        self._silence = samples

    def _read_more(self) -> None:
        assert self._process.stdout is not None
        with self._process.patience():
            data = self._process.stdout.read(_STEP)
        self._decoded += data
        if len(data) < _STEP:
            try:
                self._process.wait()
            except FFmpegFailure as error:
                raise AudioFileError(f"ffmpeg cannot decode {self.info.name}: {error}") from error
            self._ended = True
        while self._times:
            self._timeline.add(*self._times.popleft())
        self._pieces.extend(self._timeline.pieces(last=self._ended))

    def close(self) -> None:
        self._process.close()
