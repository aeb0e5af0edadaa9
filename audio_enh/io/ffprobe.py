"""What ffprobe says of a container: its streams, and where the sound lies in time.

Each run of ffprobe takes a twentieth of a second: a file with nothing but sound costs one, a film two.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_enh.errors import AudioFileError
from audio_enh.io.ffmpeg import FFmpegFailure, input_arguments, last_line, run_ffmpeg
from audio_enh.io.info import AudioInfo
from audio_enh.io.integrity import Integrity

#: The first packets, and those at the end: to seek beyond it leads to the last ones, where a container can seek.
_START = "%+#4"
_ENDS = _START + ",1000000000%"
_TIMES = "frame=media_type,stream_index,pts_time,best_effort_timestamp_time:packet=stream_index,pts,duration"
_LOSSLESS = {"flac", "alac", "wavpack", "tta", "ape", "tak", "shorten", "mlp", "truehd", "wmalossless"}
#: Bits of ffmpeg's sample formats, for codecs that say nothing else.
_FORMAT_BITS = {"u8": 8, "s16": 16, "s32": 32, "flt": 32, "dbl": 64}


@dataclass(frozen=True)
class Stream:
    """One stream of a container; ``attached_picture`` is a cover, not a moving picture."""

    index: int
    kind: str
    codec: str
    attached_picture: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    dispositions: tuple[str, ...] = ()
    tag: str = ""


@dataclass(frozen=True)
class Container:
    """What ffprobe says of the file at ``path``.

    Attributes:
        streams: all of them, in order.
        audio: the sound that is read: the one asked for, the one marked as default, or the first.
        start: time of its first sample in the container, in seconds.
        frames: its length in samples where the container is that exact (MP4, QuickTime), else None.
        layout: its speaker positions in ffmpeg's words, empty if unknown.
        bits: of a sample of lossless sound; floats have 32 or 64, and ``sample_format`` tells.
        sample_format: of the decoder, in ffmpeg's words, without the ``p`` for planes.
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
    bits: int | None
    sample_format: str
    bit_rate: int | None
    high_efficiency: bool
    tags: dict[str, str]

    @property
    def has_video(self) -> bool:
        return any(stream.kind == "video" and not stream.attached_picture for stream in self.streams)

    @property
    def sounds(self) -> list[Stream]:
        """Sound tracks, in order: the first has number 1."""
        return [stream for stream in self.streams if stream.kind == "audio"]

    @property
    def track(self) -> int:
        """Number of the sound track that is read, from 1."""
        return self.sounds.index(self.audio) + 1


def _ffprobe(path: Path, *arguments: str) -> dict[str, Any]:
    try:
        out = run_ffmpeg(
            [*arguments, "-of", "json", *input_arguments(path)], program="ffprobe", purpose=str(path)
        )
        return json.loads(out)
    except FFmpegFailure as error:
        if b"whitelist" in error.stderr:
            raise AudioFileError(
                f"{path} is not a recording: it is a list that names other files or addresses, or a format that "
                "is not taken for sound"
            ) from error
        reason = last_line(error.stderr).rpartition(": ")[2]
        raise AudioFileError(
            f"{path} is not an audio file that libsndfile or ffmpeg can read ({reason})"
        ) from error
    except ValueError as error:
        raise AudioFileError(f"{path}: ffprobe gave no sensible answer") from error


def probe_container(path: Path, track: int | None = None) -> Container:
    """Ask ffprobe.

    Args:
        path: the file.
        track: number of the sound track to read, from 1; None for the one that players choose.

    Raises:
        DependencyError: no ffprobe.
        AudioFileError: not a media file, or one without (this) sound.
    """
    status = path.stat()
    return _probe_container(path.resolve(), status.st_mtime_ns, status.st_size, track)


@functools.lru_cache(maxsize=16)
def _describe(path: Path, modified: int, size: int) -> dict[str, Any]:
    return _probe_times(path, "-show_format", "-show_streams")


def _probe_times(path: Path, *arguments: str) -> dict[str, Any]:
    """Packets and frames at both ends, where there is a way to the other end."""
    options = [*arguments, "-show_entries", _TIMES, "-read_intervals"]
    try:
        return _ffprobe(path, *options, _ENDS)
    except AudioFileError:
        return _ffprobe(path, *options, _START)


@functools.lru_cache(maxsize=16)
def _probe_container(path: Path, modified: int, size: int, track: int | None) -> Container:
    """Reader and writer share it."""
    found = _describe(path, modified, size)
    streams = tuple(_stream(entry) for entry in found.get("streams", []))
    sounds = [stream for stream in streams if stream.kind == "audio"]
    if not sounds:
        raise AudioFileError(f"{path} holds no sound")
    if track is not None and track > len(sounds):
        raise AudioFileError(f"{path} has no sound track {track}: it has {len(sounds)}")
    audio = next((stream for stream in sounds if "default" in stream.dispositions), sounds[0])
    if track is not None:
        audio = sounds[track - 1]
    entry = next(entry for entry in found["streams"] if entry["index"] == audio.index)
    sample_rate, channels = int(entry.get("sample_rate", 0)), int(entry.get("channels", 0))
    if not sample_rate or not channels or audio.codec == "unknown":
        raise AudioFileError(f"{path}: ffmpeg cannot decode its sound (codec {audio.codec})")
    duration = entry.get("duration") or found["format"].get("duration")
    if len(streams) > 1:
        found["packets_and_frames"] = _times(path, audio.index)
    start = _first_time(found.get("packets_and_frames", []))
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
        frames=_exact_frames(found.get("packets_and_frames", []), sample_rate, start) if exact else None,
        bits=_bits(entry, audio.codec),
        sample_format=entry.get("sample_fmt", "").removesuffix("p"),
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
        tag=entry.get("codec_tag_string", ""),
    )


def _bits(entry: dict[str, Any], codec: str) -> int | None:
    if codec not in _LOSSLESS and not codec.startswith("pcm_"):
        return None
    said = entry.get("bits_per_raw_sample") or entry.get("bits_per_sample")
    return int(said or 0) or _FORMAT_BITS.get(entry.get("sample_fmt", "").removesuffix("p"))


def probe_sound(path: Path) -> tuple[int, int]:
    """Sample rate and channels of the first sound in a file."""
    entry = _ffprobe(path, "-select_streams", "a:0", "-show_entries", "stream=sample_rate,channels")
    return int(entry["streams"][0]["sample_rate"]), int(entry["streams"][0]["channels"])


def _times(path: Path, index: int) -> list[dict[str, Any]]:
    """Packets and frames at both ends of a stream."""
    return _probe_times(path, "-select_streams", str(index)).get("packets_and_frames", [])


def first_time(path: Path, index: int) -> float:
    """Time of the first sample that comes out of the decoder, in seconds.

    Not the stream's start time, which counts the samples that the decoder drops (Opus in WebM: -7 ms).
    """
    return _first_time(_times(path, index))


def _first_time(entries: Sequence[dict[str, Any]]) -> float:
    for entry in entries:
        if entry["type"] == "frame":
            time = entry.get("pts_time", entry.get("best_effort_timestamp_time"))
            if time is not None:
                return float(time)
    return 0.0


def _exact_frames(entries: Sequence[dict[str, Any]], sample_rate: int, start: float) -> int | None:
    """Length by the last packet, of which only a part may be sound: decoders give all of it."""
    packets = [entry for entry in entries if entry["type"] == "packet"]
    ends = [p["pts"] + p["duration"] for p in packets if "pts" in p and "duration" in p]
    return max(ends) - round(start * sample_rate) if ends else None


def last_time(path: Path, index: int, near: float) -> float | None:
    """Time at which the last packet of a stream ends, in seconds; None if there is no packet with a time.

    Args:
        path: the file.
        index: the stream's.
        near: where to look, in seconds; all of the file is read where nothing is found there.
    """
    for interval in (f"{max(near, 0):.3f}%", "%"):
        found = _ffprobe(
            path,
            "-select_streams",
            str(index),
            "-read_intervals",
            interval,
            "-show_entries",
            "packet=pts_time,duration_time",
        )
        ends = [
            float(packet["pts_time"]) + float(packet.get("duration_time", 0))
            for packet in found.get("packets", [])
            if "pts_time" in packet
        ]
        if ends:
            return max(ends)
    return None


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


def find_track(path: Path, wanted: str) -> int:
    """Number of the sound track that a user named: by its number from 1, title, or language.

    Raises:
        AudioFileError: there is no such track, or more than one.
    """
    if wanted.isdecimal():
        return int(wanted)
    sounds = probe_container(path).sounds
    names = [
        {
            value.casefold()
            for key, value in stream.tags.items()
            if key in ("title", "handler_name", "language")
        }
        for stream in sounds
    ]
    matching = [number for number, each in enumerate(names, 1) if wanted.casefold() in each]
    if len(matching) != 1:
        known = "; ".join(f"{number} {describe_track(stream)}" for number, stream in enumerate(sounds, 1))
        problem = "no sound track" if not matching else f"{len(matching)} sound tracks"
        raise AudioFileError(f"{path} has {problem} called {wanted}: it has {known}")
    return matching[0]


def describe_track(stream: Stream) -> str:
    """Title and language of a track, or its codec."""
    said = [stream.tags[key] for key in ("title", "handler_name", "language") if stream.tags.get(key)]
    return f"({', '.join(said)})" if said else f"({stream.codec})"


def probe_ffmpeg(path: Path, integrity: Integrity, track: int | None = None) -> AudioInfo:
    """Read the headers by ffprobe; raises as ``probe_container`` does."""
    container = probe_container(path, track)
    warnings = [f"{path}: {line}" for line in integrity.warnings]
    sounds = container.sounds
    if len(sounds) > 1 and track is None:
        warnings.append(
            f"{path} has {len(sounds)} sound tracks: number {container.track} "
            f"{describe_track(container.audio)} is read (--track chooses)"
        )
    frames = container.frames
    if frames is None and container.duration is not None:
        frames = round(container.duration * container.sample_rate)
    return AudioInfo(
        path=path,
        sample_rate=container.sample_rate,
        channels=container.channels,
        frames=frames,
        format=container.format,
        subtype=container.audio.codec,
        backend="ffmpeg",
        bits=container.bits,
        bit_rate=None if container.bits is not None else container.bit_rate,
        tags=_common_tags(container.tags),
        has_video=container.has_video,
        track=track,
        truncated=integrity.truncated,
        warnings=tuple(warnings),
    )


def _common_tags(tags: dict[str, str]) -> dict[str, str]:
    """ffmpeg's names to libsndfile's, for outputs in another container."""
    names = {"track": "tracknumber", "encoder": "software"}
    known = {"title", "copyright", "artist", "comment", "date", "album", "license", "tracknumber", "genre"}
    renamed = {names.get(key, key): value for key, value in tags.items()}
    return {key: value for key, value in renamed.items() if key in known}
