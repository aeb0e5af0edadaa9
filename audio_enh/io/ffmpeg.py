"""Reading through the user's ffmpeg: what libsndfile does not know (m4a, mp4, mkv, webm, mov...)."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import AudioFileError, DependencyError
from audio_enh.io.info import AudioInfo
from audio_enh.io.integrity import Integrity

#: Samples of the longest packet (ALAC, FLAC).
_LONGEST_PACKET = 8192
#: Fill holes of 0.1 s and more in the timestamps with silence (and cut overlaps), or what follows would move.
#: Not a sample is changed otherwise.
_KEEP_TIME = "aresample=async=1:min_hard_comp=0.1"


def find_program(name: str) -> str | None:
    """Path of ``ffmpeg`` or ``ffprobe``, None if it is not installed."""
    return shutil.which(name)


def require_program(name: str, purpose: str) -> str:
    """Path of a program.

    Raises:
        DependencyError: it is not installed.
    """
    program = find_program(name)
    if program is None:
        raise DependencyError(
            f"{purpose} needs {name}, which is not installed: get it from your package manager "
            "(apt, brew or winget install ffmpeg), or convert the file to WAV or FLAC first"
        )
    return program


def file_url(path: Path) -> str:
    """How to name a file to ffmpeg: a bare name may look like an option or a protocol."""
    return f"file:{path.resolve()}"


def run_ffmpeg(arguments: Sequence[str], *, stdin: bytes | None = None) -> bytes:
    """Run ffmpeg to its end and return its stdout.

    Raises:
        DependencyError: no ffmpeg.
        AudioFileError: it failed; the message is its own last line.
    """
    program = require_program("ffmpeg", "this container")
    command = [program, "-hide_banner", "-nostdin", "-v", "error", "-y", *arguments]
    if stdin is not None:
        command.remove("-nostdin")
    result = subprocess.run(
        command, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True
    )
    if result.returncode != 0:
        raise AudioFileError(last_line(result.stderr))
    return result.stdout


def last_line(stderr: bytes) -> str:
    """What ffmpeg complained of, in one line."""
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    useful = [
        line for line in lines if not line.startswith(("Conversion failed", "Error opening output file"))
    ]
    return (useful or lines or ["ffmpeg failed without a message"])[-1].strip()


@dataclass(frozen=True)
class Stream:
    """One stream of a container; ``attached_picture`` is a cover, not a moving picture."""

    index: int
    kind: str
    codec: str
    attached_picture: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    dispositions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Container:
    """What ffprobe says of the file at ``path``.

    Attributes:
        streams: all of them, in order.
        audio: the sound that is read: the one marked as default, or the first.
        start: time of its first sample in the container, in seconds.
        frames: its length in samples where the container is that exact (MP4, QuickTime), else None.
        layout: its speaker positions in ffmpeg's words, empty if unknown.
        high_efficiency: it is HE-AAC, which makes do with half the bit rate of plain AAC.
    """

    path: Path
    format: str
    streams: tuple[Stream, ...]
    audio: Stream
    sample_rate: int
    channels: int
    layout: str
    duration: float | None
    start: float
    frames: int | None
    bit_rate: int | None
    high_efficiency: bool
    tags: dict[str, str]

    @property
    def has_video(self) -> bool:
        return any(stream.kind == "video" and not stream.attached_picture for stream in self.streams)


def _ffprobe(path: Path, *arguments: str) -> dict[str, Any]:
    program = require_program("ffprobe", str(path))
    command = [program, "-v", "error", *arguments, "-of", "json", "-i", file_url(path)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if result.returncode != 0:
        reason = last_line(result.stderr).rpartition(": ")[2]
        raise AudioFileError(f"{path} is not an audio file that libsndfile or ffmpeg can read ({reason})")
    return json.loads(result.stdout)


def probe_container(path: Path) -> Container:
    """Ask ffprobe.

    Raises:
        DependencyError: no ffprobe.
        AudioFileError: not a media file, or one without sound.
    """
    status = path.stat()
    return _probe_container(path.resolve(), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=16)
def _probe_container(path: Path, modified: int, size: int) -> Container:
    """Three runs of ffprobe, of which each takes a twentieth of a second: reader and writer share them."""
    found = _ffprobe(path, "-show_format", "-show_streams")
    streams = tuple(_stream(entry) for entry in found.get("streams", []))
    sounds = [stream for stream in streams if stream.kind == "audio"]
    if not sounds:
        raise AudioFileError(f"{path} holds no sound")
    audio = next((stream for stream in sounds if "default" in stream.dispositions), sounds[0])
    entry = next(entry for entry in found["streams"] if entry["index"] == audio.index)
    sample_rate, channels = int(entry.get("sample_rate", 0)), int(entry.get("channels", 0))
    if not sample_rate or not channels:
        raise AudioFileError(f"{path}: ffmpeg cannot decode its sound (codec {audio.codec})")
    duration = entry.get("duration") or found["format"].get("duration")
    start = first_time(path, audio.index)
    exact = entry.get("time_base") == f"1/{sample_rate}" and "duration" in entry
    return Container(
        path=path,
        format=found["format"]["format_name"],
        streams=streams,
        audio=audio,
        sample_rate=sample_rate,
        channels=channels,
        layout=entry.get("channel_layout", ""),
        duration=float(duration) if duration else None,
        start=start,
        frames=_exact_frames(path, audio.index, sample_rate, start, float(duration)) if exact else None,
        bit_rate=int(entry["bit_rate"]) if "bit_rate" in entry else _measure_bit_rate(path, audio.index),
        high_efficiency="HE-AAC" in entry.get("profile", ""),
        tags={key.lower(): value for key, value in found["format"].get("tags", {}).items()},
    )


def _stream(entry: dict[str, Any]) -> Stream:
    dispositions = tuple(name for name, on in entry.get("disposition", {}).items() if on)
    return Stream(
        index=entry["index"],
        kind=entry.get("codec_type", "unknown"),
        codec=entry.get("codec_name", "unknown"),
        attached_picture="attached_pic" in dispositions,
        tags=entry.get("tags", {}),
        dispositions=dispositions,
    )


def probe_sound(path: Path) -> tuple[int, int]:
    """Sample rate and channels of the first sound in a file."""
    entry = _ffprobe(path, "-select_streams", "a:0", "-show_entries", "stream=sample_rate,channels")
    return int(entry["streams"][0]["sample_rate"]), int(entry["streams"][0]["channels"])


def first_time(path: Path, index: int) -> float:
    """Time of the first sample that comes out of the decoder, in seconds.

    Not the stream's start time, which counts the samples that the decoder drops (Opus in WebM: -7 ms).
    """
    found = _ffprobe(
        path,
        "-select_streams",
        str(index),
        "-read_intervals",
        "%+#4",
        "-show_entries",
        "frame=pts_time,best_effort_timestamp_time",
    )
    for frame in found.get("frames", []):
        time = frame.get("pts_time", frame.get("best_effort_timestamp_time"))
        if time is not None:
            return float(time)
    return 0.0


def _exact_frames(path: Path, index: int, sample_rate: int, start: float, duration: float) -> int | None:
    """Length by the last packet, of which only a part may be sound: decoders give all of it."""
    found = _ffprobe(
        path,
        "-select_streams",
        str(index),
        "-read_intervals",
        f"{max(start + duration - 1, 0):.3f}%",
        "-show_entries",
        "packet=pts,duration",
    )
    ends = [p["pts"] + p["duration"] for p in found.get("packets", []) if "pts" in p and "duration" in p]
    return max(ends) - round(start * sample_rate) if ends else None


def _measure_bit_rate(path: Path, index: int) -> int | None:
    """Mean over the first half minute, where the container does not say (Matroska)."""
    found = _ffprobe(
        path,
        "-select_streams",
        str(index),
        "-read_intervals",
        "%+30",
        "-show_entries",
        "packet=size,duration_time",
    )
    packets = [packet for packet in found.get("packets", []) if "duration_time" in packet]
    seconds = sum(float(packet["duration_time"]) for packet in packets)
    return round(8 * sum(int(packet["size"]) for packet in packets) / seconds) if seconds > 0 else None


def probe_ffmpeg(path: Path, integrity: Integrity) -> AudioInfo:
    """Read the headers by ffprobe; raises as ``probe_container`` does."""
    container = probe_container(path)
    sounds = sum(stream.kind == "audio" for stream in container.streams)
    warnings = [f"{path}: {line}" for line in integrity.warnings]
    if sounds > 1:
        warnings.append(f"{path} has {sounds} audio tracks: number {container.audio.index} is read")
    frames = container.frames
    if frames is None and container.duration is not None:
        frames = round(container.duration * container.sample_rate)
    lossless = container.audio.codec.startswith("pcm_") or container.audio.codec in ("flac", "alac")
    return AudioInfo(
        path=path,
        sample_rate=container.sample_rate,
        channels=container.channels,
        frames=frames,
        format=container.format,
        subtype=container.audio.codec,
        backend="ffmpeg",
        bit_rate=None if lossless else container.bit_rate,
        tags=_common_tags(container.tags),
        has_video=container.has_video,
        truncated=integrity.truncated,
        warnings=tuple(warnings),
    )


def _common_tags(tags: dict[str, str]) -> dict[str, str]:
    """ffmpeg's names to libsndfile's, for outputs in another container."""
    names = {"track": "tracknumber", "encoder": "software"}
    known = {"title", "copyright", "artist", "comment", "date", "album", "license", "tracknumber", "genre"}
    renamed = {names.get(key, key): value for key, value in tags.items()}
    return {key: value for key, value in renamed.items() if key in known}


class FFmpegSource:
    """Samples of a file, decoded by an ffmpeg that writes float32 into a pipe.

    Attributes:
        warnings: what ffmpeg complained of without giving up; complete at the end.
    """

    def __init__(self, info: AudioInfo) -> None:
        assert info.path is not None
        self.info = info
        self.warnings: tuple[str, ...] = ()
        program = require_program("ffmpeg", info.name)
        container = probe_container(info.path)
        self._end = container.frames
        self._position = 0
        self._pending = b""
        arguments = ["-hide_banner", "-nostdin", "-v", "error", "-i", file_url(info.path)]
        arguments += ["-map", f"0:{container.audio.index}", "-af", _KEEP_TIME]
        arguments += ["-ar", str(info.sample_rate), "-ac", str(info.channels), "-f", "f32le", "pipe:1"]
        # A file takes what ffmpeg says: a full pipe that nobody reads would stop it.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        self._process = subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # Ctrl-C is ours to handle
        )

    def read(self, frames: int) -> NDArray[np.float32]:
        """Up to ``frames`` frames, ``(n, channels)``; 0 frames at the end.

        Raises:
            AudioFileError: ffmpeg failed.
        """
        size = 4 * self.info.channels
        data = self._take(frames * size)
        if len(data) < frames * size and self._process.wait() != 0:
            raise AudioFileError(f"ffmpeg cannot decode {self.info.name}: {self._complaint()}")
        data = data[: len(data) // size * size]
        self._position += len(data) // size
        if self._end is not None and self._position > self._end:
            # The decoder gives the last packet whole; only so much of it is sound. More than a packet is not
            # padding: holes in the timestamps have been filled.
            rest = self._take(_LONGEST_PACKET * size)
            excess = self._position + len(rest) // size - self._end
            if len(rest) < _LONGEST_PACKET * size and excess <= _LONGEST_PACKET:
                data = data[: max(len(data) - (self._position - self._end) * size, 0)]
            else:
                self._pending = rest
            self._end = None
        if not data and (complaint := self._complaint()):
            self.warnings = (f"{self.info.name}: ffmpeg found damage while decoding ({complaint})",)
        return np.frombuffer(data, "<f4").astype(np.float32).reshape(-1, self.info.channels)

    def _take(self, size: int) -> bytes:
        assert self._process.stdout is not None
        head, self._pending = self._pending[:size], self._pending[size:]
        return head + self._process.stdout.read(size - len(head))

    def _complaint(self) -> str:
        self._stderr.seek(0)
        stderr = self._stderr.read()
        return last_line(stderr) if stderr.strip() else ""

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._stderr.close()


@functools.lru_cache(maxsize=4)
def has_option(muxer: str, option: str) -> bool:
    """Whether this ffmpeg's muxer knows an option; they came with time."""
    return option in run_ffmpeg(["-h", f"muxer={muxer}"]).decode(errors="replace")


@functools.lru_cache(maxsize=1)
def encoders(program: str) -> frozenset[str]:
    """Names of the audio encoders that this ffmpeg has."""
    result = subprocess.run(
        [program, "-hide_banner", "-v", "error", "-encoders"], capture_output=True, text=True
    )
    rows = (line.split() for line in result.stdout.splitlines())
    return frozenset(row[1] for row in rows if len(row) > 1 and row[0].startswith("A") and row[1] != "=")
