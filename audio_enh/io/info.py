"""What a file holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Backend = Literal["soundfile", "ffmpeg", "own", "pipe"]


@dataclass(frozen=True)
class AudioInfo:
    """Everything about an audio file but its samples.

    Attributes:
        path: the file; None for a stream without a name (stdin).
        sample_rate: in Hz.
        channels: number of channels.
        frames: samples per channel. Exact with libsndfile, an estimate for progress bars with ffmpeg
            (containers such as Matroska keep time in milliseconds), None where only the end of the stream
            will tell.
        format: container: libsndfile's name (``WAV``, ``FLAC``, ...) or ffmpeg's demuxer (``mov,mp4,...``).
        subtype: sample format: libsndfile's name (``PCM_16``, ``VORBIS``, ...) or ffmpeg's codec (``aac``).
        backend: what reads it; ``own`` for WAV files that libsndfile would misread, ``pipe`` for what can be read
            only once.
        endian: byte order as libsndfile names it: ``FILE`` (the container's default), ``LITTLE``, ``BIG``.
        bits: of a sample, where the sound is lossless and that is known.
        bit_rate: of the audio in bits per second; None for uncompressed audio or when unknown.
        constant_bit_rate: every frame has that bit rate (known for MP3 only).
        tags: title, artist, date and so on, as text.
        has_video: the container has a moving picture beside the sound.
        track: number of the sound track that is read, from 1; None for the one that players choose.
        truncated: "cut short: ..." or "damaged: ..."; None if it is whole as far as one can tell.
        warnings: what a user should be told, one line each.
    """

    path: Path | None
    sample_rate: int
    channels: int
    frames: int | None
    format: str
    subtype: str
    backend: Backend = "soundfile"
    endian: str = "FILE"
    bits: int | None = None
    bit_rate: int | None = None
    constant_bit_rate: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    has_video: bool = False
    track: int | None = None
    truncated: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> float | None:
        """Length in seconds, None where unknown."""
        return None if self.frames is None else self.frames / self.sample_rate

    @property
    def name(self) -> str:
        """How messages call it."""
        return "stdin" if self.path is None else str(self.path)
