"""New sound into a container: ffmpeg's options, and which of the other streams can come along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_enh.io.chunks import mp4_boxes
from audio_enh.io.codecs import Codec
from audio_enh.io.ffmpeg import Container, Stream, file_url, has_option

#: Container for the encoded sound on its way, by the muxer of the output: one that keeps what it needs.
_MIDDLE = {
    "ipod": "mp4",
    "mp4": "mp4",
    "mov": "mov",
    "3gp": "mp4",
    "asf": "asf",
    "webm": "webm",
    "wv": "wv",
    "tta": "tta",
}
_MP4_FAMILY = {"ipod", "mp4", "mov", "3gp"}
_TEXT_SUBTITLES = {"mov_text", "subrip", "ass", "ssa", "webvtt", "text"}
_SUBTITLE_ENCODERS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "srt", "webm": "webvtt"}
_SOUND_ONLY = {"ipod", "adts", "ac3", "mp2", "tta", "wv"}
_COVERS = {"ipod", "mp4", "mov", "matroska"}


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


def mux_arguments(
    sound: Sound,
    middle: Path,
    output: Path,
    source: Container | None,
    streams: Sequence[Stream],
    tags: dict[str, str],
    offset: float,
) -> list[str]:
    """ffmpeg options that put the encoded sound and the other ``streams`` of ``source`` together.

    Times are kept as they are in both files (``-copyts``), the sound moved by ``offset`` seconds.
    """
    muxer = sound.muxer
    end = [*sound.time_scale(), "-f", muxer, file_url(output)]
    if muxer == "mpegts":
        end = ["-muxdelay", "0", "-muxpreload", "0", *end]  # they would move all times by 1.4 s
    if muxer in ("matroska", "webm"):
        end = ["-avoid_negative_ts", "disabled", *end]  # a codec delay would move the picture, too
    if source is None:
        texts = [item for key, value in tags.items() for item in ("-metadata", f"{key}={value}")]
        return ["-i", file_url(middle), "-map", "0:a:0", "-c", "copy", "-map_metadata", "-1", *texts, *end]
    arguments = [
        "-copyts",
        "-itsoffset",
        f"{offset:.6f}",
        "-i",
        file_url(middle),
        "-i",
        file_url(source.path),
    ]
    options = ["-c", "copy"]
    sounds = 0
    subtitles = 0
    for stream in streams:
        own = stream.index == source.audio.index
        arguments += ["-map", "0:a:0" if own else f"1:{stream.index}"]
        if own:
            for key in ("language", "title", "handler_name"):
                if key in stream.tags:
                    options += [f"-metadata:s:a:{sounds}", f"{key}={stream.tags[key]}"]
            options += [f"-disposition:a:{sounds}", "+".join(stream.dispositions) or "0"]
        if stream.kind == "subtitle":
            if not _same_family(muxer, source.format):
                options += [f"-c:s:{subtitles}", _SUBTITLE_ENCODERS[muxer]]
            subtitles += 1
        sounds += stream.kind == "audio"
    if muxer in _MP4_FAMILY and _starts_fast(source.path):
        options += ["-movflags", "+faststart"]
    return [*arguments, *options, "-map_metadata", "1", "-map_chapters", "1", *end]


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
    """Streams of the input that go into the output, and warnings about those that cannot."""
    same = _same_family(muxer, source.format)
    kept: list[Stream] = []
    lost: list[str] = []
    for stream in source.streams:
        if stream.index == source.audio.index:
            keep = True
        elif muxer in _SOUND_ONLY:
            # From a film to a sound file nobody expects the picture; a cover goes where it has a place.
            keep = stream.attached_picture and muxer in _COVERS
            if not keep:
                continue
        elif stream.kind == "subtitle":
            keep = same or (stream.codec in _TEXT_SUBTITLES and muxer in _SUBTITLE_ENCODERS)
        elif stream.kind == "attachment":
            keep = muxer == "matroska"
        elif stream.kind == "data":
            if stream.codec in (
                "bin_data",
                "unknown",
            ):  # chapter titles and time code, which ffmpeg makes anew
                continue
            keep = False
        else:
            keep = stream.kind in ("video", "audio")
        if keep:
            kept.append(stream)
        else:
            lost.append(f"stream {stream.index} ({stream.kind}, {stream.codec}) does not fit and is left out")
    return kept, lost
