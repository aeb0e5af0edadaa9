"""New sound into a container: ffmpeg's options, and which of the other streams can come along.

The rule: all that ffmpeg can copy is copied, and what it cannot is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_enh.io.chunks import mp4_boxes
from audio_enh.io.codecs import Codec, takes_codec
from audio_enh.io.containers import FFMPEG_MUXERS
from audio_enh.io.ffmpeg import ONLY_RECORDINGS, file_url, has_option, input_arguments
from audio_enh.io.ffprobe import Container, Stream, describe_track

#: Container for the encoded sound on its way, by the muxer of the output: one that keeps what it needs.
_MIDDLE = {
    "ipod": "mp4",
    "mp4": "mp4",
    "mov": "mov",
    "3gp": "mp4",
    "3g2": "mp4",
    "asf": "asf",
    "webm": "webm",
    "wv": "wv",
    "tta": "tta",
}
_MP4_FAMILY = {"ipod", "mp4", "mov", "3gp", "3g2"}
_TEXT_SUBTITLES = {"mov_text", "subrip", "ass", "ssa", "webvtt", "text"}
_SUBTITLE_ENCODERS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "srt", "webm": "webvtt"}
#: Muxers without a moving picture, and those of them that hold a single stream.
_SOUND_ONLY = {"ipod", "adts", "ac3", "eac3", "mp2", "tta", "wv"}
_SINGLE = _SOUND_ONLY - {"ipod"}
_COVERS = {"ipod", "mp4", "mov", "matroska"}
#: Muxers that may hold streams of data, such as the position of a camera.
_DATA = {"mp4", "mov", "mpegts"}
#: Data streams that ffmpeg makes anew, by their tag: titles of chapters, and time code.
_MADE_ANEW = {"text", "tmcd"}
_LONGEST_TAG = 1 << 15


@dataclass(frozen=True)
class Sound:
    """How the sound is encoded: all that its delay depends on.

    Attributes:
        late: the sound begins after time 0 (ffmpeg's MP4 muxer then does not mark the encoder's delay).
    """

    muxer: str
    codec: Codec
    sample_rate: int
    channels: int
    layout: str
    late: bool = False

    def encoder_arguments(self, output: Path) -> list[str]:
        """ffmpeg options from raw float32 on stdin to the file in between."""
        arguments = ["-f", "f32le", "-ar", str(self.sample_rate), "-ac", str(self.channels)]
        if self.layout:
            arguments += ["-channel_layout", self.layout]
        middle = _MIDDLE.get(self.muxer, "matroska")
        scale = self.time_scale() if middle in ("mp4", "mov") else []
        return [*arguments, "-i", "pipe:0", *self.codec.arguments(), *scale, "-f", middle, file_url(output)]

    def time_scale(self) -> list[str]:
        """MP4's edit list counts in this scale: at the sample rate it is exact to the sample."""
        known = self.muxer in _MP4_FAMILY and has_option("mp4", "movie_timescale")
        return ["-movie_timescale", str(self.sample_rate)] if known else []


def metadata_text(tags: dict[str, str]) -> bytes:
    """Tags in ffmpeg's own format, for its stdin: a command line has no place for long ones."""
    lines = [b";FFMETADATA1"]
    for key, value in tags.items():
        escaped = [
            b"".join(b"\\" + bytes([c]) if c in b"=;#\\\n" else bytes([c]) for c in text)
            for text in (key.encode(errors="replace"), value.encode(errors="replace").replace(b"\0", b""))
        ]
        lines.append(b"=".join(escaped))
    return b"\n".join(lines) + b"\n"


def mux_arguments(
    sound: Sound,
    middle: Path,
    output: Path,
    source: Container | None,
    streams: Sequence[Stream],
    offset: float,
    *,
    tagged: bool = False,
) -> list[str]:
    """ffmpeg options that put the encoded sound and the other ``streams`` of ``source`` together.

    Times are kept as they are in both files (``-copyts``), the sound moved by ``offset`` seconds. Without a source,
    ``tagged`` takes tags on stdin, from ``metadata_text``.
    """
    muxer = sound.muxer
    end = [*sound.time_scale(), "-f", muxer, file_url(output)]
    if muxer == "mpegts":
        end = ["-muxdelay", "0", "-muxpreload", "0", *end]  # they would move all times by 1.4 s
    if muxer in ("matroska", "webm"):
        end = ["-avoid_negative_ts", "disabled", *end]  # a codec delay would move the picture, too
    if source is None:
        tags = [*ONLY_RECORDINGS, "-f", "ffmetadata", "-i", "pipe:0"] if tagged else []
        number = "1" if tagged else "-1"
        return [*input_arguments(middle), *tags, "-map", "0:a:0", "-c", "copy", "-map_metadata", number, *end]
    arguments = [
        "-copyts",
        "-itsoffset",
        f"{offset:.6f}",
        *input_arguments(middle),
        *input_arguments(source.path),
    ]
    options = ["-c", "copy"]
    count = {"audio": 0, "subtitle": 0, "data": 0}
    for stream in streams:
        number = str(count.get(stream.kind, 0))
        own = stream.index == source.audio.index
        arguments += ["-map", "0:a:0" if own else f"1:{stream.index}"]
        if own:
            for key in ("language", "title", "handler_name"):
                if len(stream.tags.get(key, "")) in range(1, _LONGEST_TAG):
                    options += [f"-metadata:s:a:{number}", f"{key}={stream.tags[key]}"]
            options += [f"-disposition:a:{number}", "+".join(stream.dispositions) or "0"]
        if stream.kind == "subtitle" and not _same_family(muxer, source.format):
            options += [f"-c:s:{number}", _SUBTITLE_ENCODERS[muxer]]
        if stream.kind == "data" and muxer in _MP4_FAMILY:
            options += [f"-tag:d:{number}", stream.tag]
        if stream.kind in count:
            count[stream.kind] += 1
    if count["data"]:
        options.append("-copy_unknown")
    if flags := _mov_flags(muxer, source):
        options += ["-movflags", flags]
    return [*arguments, *options, "-map_metadata", "1", "-map_chapters", "1", *end]


def _mov_flags(muxer: str, source: Container) -> str:
    flags = ""
    if muxer in _MP4_FAMILY and _starts_fast(source.path):
        flags += "+faststart"
    # Cameras and phones (com.apple.quicktime.location..., com.android...) use names of their own; ffmpeg writes
    # those in a table that only takes the place of the usual one.
    if muxer in ("mp4", "mov") and any(key.startswith("com.") for key in source.tags):
        flags += "+use_metadata_tags"
    return flags


def _same_family(muxer: str, format: str) -> bool:
    """Whether what is in a file of ``format`` (ffprobe's name) fits the muxer as it is."""
    return muxer in format.split(",") or (muxer in _MP4_FAMILY and "mp4" in format.split(","))


def _starts_fast(path: Path) -> bool:
    """Whether an MP4 has its index in front, so that it plays while it loads."""
    with path.open("rb") as file:
        for box in mp4_boxes(file):
            if box.name in (b"moov", b"mdat"):
                return box.name == b"moov"
    return False


def select_streams(source: Container, muxer: str) -> tuple[list[Stream], list[str]]:
    """Streams of the input that go into the output, and what is lost of the others, one line each."""
    kept: list[Stream] = []
    lost: list[str] = []
    for stream in source.streams:
        if _is_kept(stream, source, muxer):
            kept.append(stream)
        elif not _goes_without_saying(stream, muxer):
            lost.append(f"{name_stream(stream, source)} does not fit and is left out")
    return kept, lost


def _is_kept(stream: Stream, source: Container, muxer: str) -> bool:
    if stream.index == source.audio.index:
        return True
    if muxer in _SINGLE:
        return False
    if stream.kind == "audio":
        return muxer != "ipod" or takes_codec(muxer, stream.codec)
    if stream.kind == "video":
        return (stream.attached_picture and muxer in _COVERS) or muxer not in _SOUND_ONLY
    if stream.kind == "subtitle":
        same = _same_family(muxer, source.format)
        return same or (stream.codec in _TEXT_SUBTITLES and muxer in _SUBTITLE_ENCODERS)
    if stream.kind == "attachment":
        return muxer == "matroska"
    if stream.kind == "data":
        return stream.tag not in _MADE_ANEW and muxer in _DATA and _same_family(muxer, source.format)
    return False


def _goes_without_saying(stream: Stream, muxer: str) -> bool:
    """From a film to a sound file nobody expects the picture."""
    if stream.kind == "data":
        return stream.tag in _MADE_ANEW
    return stream.kind == "video" and not stream.attached_picture and muxer in _SOUND_ONLY


def holds_several_tracks(target: str | Path) -> bool:
    """Whether a file of this name has a place for more than one sound track."""
    muxer = FFMPEG_MUXERS.get(Path(target).suffix.lower())
    return muxer is not None and muxer not in _SINGLE


def name_stream(stream: Stream, source: Container) -> str:
    """How messages call a stream; sound tracks have their number among the sound tracks."""
    if stream.kind == "audio":
        return f"sound track {source.sounds.index(stream) + 1} {describe_track(stream)}"
    if stream.attached_picture:
        return "the cover picture"
    said = stream.tag if stream.kind == "data" and stream.tag.isprintable() else stream.codec
    return f"stream {stream.index} ({stream.kind}, {said})"
