"""Which encoder goes into which container, and at what bit rate."""

from __future__ import annotations

from dataclasses import dataclass

#: Codec to the ffmpeg encoders that make it, best first.
_ENCODERS: dict[str, tuple[str, ...]] = {
    "aac": ("aac",),
    "mp3": ("libmp3lame", "libshine"),
    "opus": ("libopus",),
    "vorbis": ("libvorbis",),
    "flac": ("flac",),
    "alac": ("alac",),
    "ac3": ("ac3",),
    "eac3": ("eac3",),
    "mp2": ("mp2",),
    "wmav1": ("wmav1",),
    "wmav2": ("wmav2",),
    "wavpack": ("wavpack",),
    "tta": ("tta",),
    "amr_nb": ("libopencore_amrnb",),
    "amr_wb": ("libvo_amrwbenc",),
}

#: Muxer to the codecs it takes; the first that can be encoded is the default.
_CONTAINERS: dict[str, tuple[str, ...]] = {
    "ipod": ("aac", "alac"),
    "mp4": ("aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac"),
    "3gp": ("aac", "amr_nb", "amr_wb"),
    "matroska": ("aac", "opus", "vorbis", "mp3", "flac", "ac3", "eac3", "mp2", "alac", "wavpack", "tta"),
    "webm": ("opus", "vorbis"),
    "avi": ("mp3", "ac3", "mp2", "aac"),
    "flv": ("aac", "mp3"),
    "mpegts": ("aac", "mp3", "ac3", "eac3", "mp2"),
    "mpeg": ("mp2", "ac3", "mp3"),
    "ogg": ("vorbis", "opus", "flac"),
    "asf": ("wmav2", "wmav1", "mp3", "aac"),
    "adts": ("aac",),
    "ac3": ("ac3",),
    "mp2": ("mp2",),
    "tta": ("tta",),
    "wv": ("wavpack",),
}
#: Muxers that take uncompressed sound.
_PCM_MUXERS = {"mov", "matroska", "avi"}
_LOSSLESS = {"flac", "alac", "wavpack", "tta"}


@dataclass(frozen=True)
class Codec:
    """An encoder and its bit rate (None for lossless or the encoder's default)."""

    encoder: str
    bit_rate: int | None

    def arguments(self) -> list[str]:
        """ffmpeg options."""
        rate = [] if self.bit_rate is None else ["-b:a", str(self.bit_rate)]
        return ["-c:a", self.encoder, *rate]


def choose_codec(
    muxer: str,
    source_codec: str | None,
    bit_rate: int | None,
    *,
    channels: int,
    available: frozenset[str],
    high_efficiency: bool = False,
) -> Codec | None:
    """The input's own codec where the container takes it and ffmpeg can encode it, else the default.

    Args:
        muxer: ffmpeg's name of the container.
        source_codec: ffmpeg's name of the input's codec.
        bit_rate: of the input, in bits per second; None if it is lossless or unknown.
        channels: number of channels.
        available: encoders of this ffmpeg.
        high_efficiency: the input is HE-AAC; plain AAC gets at least 64 kbit/s per channel to sound as well.

    Returns:
        None if this ffmpeg has no encoder for the container.
    """
    accepted = _CONTAINERS[muxer]
    if source_codec is not None and source_codec.startswith("pcm_") and muxer in _PCM_MUXERS:
        if source_codec in available:
            return Codec(source_codec, None)
        return Codec("pcm_s16le", None)
    wanted = ([source_codec] if source_codec in accepted else []) + list(accepted)
    for codec in wanted:
        encoder = next((name for name in _ENCODERS[codec] if name in available), None)
        if encoder is None:
            continue
        if codec in _LOSSLESS:
            return Codec(encoder, None)
        if bit_rate is None:
            # Transparent for speech and music alike; speech alone would do with half.
            return Codec(encoder, 32_000 + 64_000 * channels)
        if high_efficiency:
            bit_rate = max(bit_rate, 64_000 * channels)
        return Codec(encoder, bit_rate)
    return None
