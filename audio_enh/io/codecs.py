"""Which encoder goes into which container, and at what bit rate."""

from __future__ import annotations

from dataclasses import dataclass

from audio_enh.io.ffmpeg import sample_formats
from audio_enh.io.info import AudioInfo

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
    "3g2": ("aac", "amr_nb", "amr_wb"),
    "matroska": ("aac", "opus", "vorbis", "mp3", "flac", "ac3", "eac3", "mp2", "alac", "wavpack", "tta"),
    "webm": ("opus", "vorbis"),
    "avi": ("mp3", "ac3", "mp2", "aac"),
    "flv": ("aac", "mp3"),
    "mpegts": ("aac", "mp3", "ac3", "eac3", "mp2"),
    "mpeg": ("mp2", "ac3", "mp3"),
    "vob": ("ac3", "mp2"),
    "ogg": ("vorbis", "opus", "flac"),
    "asf": ("wmav2", "wmav1", "mp3", "aac"),
    "adts": ("aac",),
    "ac3": ("ac3",),
    "eac3": ("eac3",),
    "mp2": ("mp2",),
    "tta": ("tta",),
    "wv": ("wavpack",),
}
#: Muxers that take uncompressed sound.
_PCM_MUXERS = {"mov", "matroska", "avi"}
_LOSSLESS = {"flac", "alac", "wavpack", "tta"}


@dataclass(frozen=True)
class Codec:
    """An encoder, its bit rate (None for lossless or the encoder's default) and, lossless, the bits of a sample."""

    encoder: str
    bit_rate: int | None
    sample_format: str = ""
    bits: int | None = None

    def arguments(self) -> list[str]:
        """ffmpeg options."""
        options = ["-c:a", self.encoder]
        if self.bit_rate is not None:
            options += ["-b:a", str(self.bit_rate)]
        if self.sample_format:
            options += ["-sample_fmt", self.sample_format]
        if self.bits is not None:
            options += ["-bits_per_raw_sample", str(self.bits)]
        return options


#: Bits of libsndfile's sample formats; floats are told apart by name.
_SUBTYPE_BITS = {
    "PCM_U8": 8,
    "PCM_S8": 8,
    "PCM_16": 16,
    "PCM_24": 24,
    "PCM_32": 32,
    "ALAC_16": 16,
    "ALAC_24": 24,
}


@dataclass(frozen=True)
class Depth:
    """Bits of a sample, and whether it is a float."""

    bits: int
    floating: bool = False

    def sample_format(self, encoder: str) -> str:
        """The encoder's sample format that holds this with the fewest bits; empty for the encoder's choice."""
        if self.floating:
            wanted = ["flt", "dbl", "s32", "s16"]
        else:
            wanted = [name for name, bits in (("u8", 8), ("s16", 16), ("s32", 32)) if bits >= self.bits]
        known = sample_formats(encoder)
        return next((each + p for each in wanted for p in ("", "p") if each + p in known), "")


def depth_of(like: AudioInfo | None, sample_format: str = "") -> Depth | None:
    """What a lossless output needs to hold the input's samples; None where the input was lossy or is unknown.

    Args:
        like: the input.
        sample_format: that of ffmpeg's decoder, without the ``p`` for planes.
    """
    if like is None:
        return None
    if like.bits is not None:
        return Depth(like.bits, sample_format in ("flt", "dbl"))
    if like.subtype in ("FLOAT", "DOUBLE"):
        return Depth(32, floating=True)
    return Depth(_SUBTYPE_BITS[like.subtype]) if like.subtype in _SUBTYPE_BITS else None


def choose_codec(
    muxer: str,
    source_codec: str | None,
    bit_rate: int | None,
    *,
    channels: int,
    available: frozenset[str],
    high_efficiency: bool = False,
    depth: Depth | None = None,
) -> Codec | None:
    """The input's own codec where the container takes it and ffmpeg can encode it, else the default.

    Args:
        muxer: ffmpeg's name of the container.
        source_codec: ffmpeg's name of the input's codec.
        bit_rate: of the input, in bits per second; None if it is lossless or unknown.
        channels: number of channels.
        available: encoders of this ffmpeg.
        high_efficiency: the input is HE-AAC; plain AAC gets at least 64 kbit/s per channel to sound as well.
        depth: what a lossless codec has to hold; None for the encoder's own choice.

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
            if depth is None:
                return Codec(encoder, None)
            bits = depth.bits if depth.bits in (20, 24) and not depth.floating else None
            return Codec(encoder, None, depth.sample_format(encoder), bits)
        if bit_rate is None:
            # Transparent for speech and music alike; speech alone would do with half.
            return Codec(encoder, 32_000 + 64_000 * channels)
        if high_efficiency:
            bit_rate = max(bit_rate, 64_000 * channels)
        # Nearly equal ones are one: what an encoder delays is measured once for each.
        step = 4000 if bit_rate >= 32_000 else 1000
        return Codec(encoder, max(round(bit_rate / step), 1) * step)
    return None


def takes_codec(muxer: str, codec: str) -> bool:
    """Whether a container takes sound of this codec (ffmpeg's name) as it is."""
    return codec in _CONTAINERS[muxer]
