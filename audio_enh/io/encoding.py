"""How an output mirrors its input, for the formats that libsndfile writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import soundfile

from audio_enh.errors import AudioFileError
from audio_enh.io.containers import OGG_MUXERS, READ_ONLY, SOUNDFILE_FORMATS
from audio_enh.io.info import AudioInfo
from audio_enh.io.libsndfile import UNCOMPRESSED_BYTES, Encoding
from audio_enh.io.metadata import can_copy

_WAV_KINDS = {"WAV", "WAVEX", "RF64"}
#: Rates in Hz that a codec knows; all others are converted to the next higher one.
_RATES = {
    "OPUS": (8000, 12000, 16000, 24000, 48000),
    "MPEG_LAYER_III": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
}
_DEEP = {"PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_20", "ALAC_24", "ALAC_32", "DWVW_24"}
_DEEP_FFMPEG = ("pcm_s24", "pcm_s32", "pcm_f32", "pcm_f64")
#: Codecs that work in blocks, and would fill up the last one, or that libsndfile reads only.
_BLOCK_CODECS = (
    "IMA_ADPCM",
    "MS_ADPCM",
    "GSM610",
    "G72",
    "NMS_ADPCM",
    "VOX_ADPCM",
    "DWVW",
    "DPCM",
    "MPEG_LAYER",
)
#: A WAV file's 32-bit sizes, less room for tags.
_WAV_LIMIT = 2**32 - 2**26


def container_for(path: Path, like: AudioInfo | None) -> str | None:
    """libsndfile's format for an output name; None if libsndfile cannot write it.

    An extension we do not know (NIST's ``.sph``...) is fine if the input had the same and can be mirrored.
    """
    suffix = path.suffix.lower()
    if suffix in SOUNDFILE_FORMATS:
        format = SOUNDFILE_FORMATS[suffix]
        if like is not None and suffix in OGG_MUXERS and like.backend == "ffmpeg" and like.subtype == "flac":
            return None  # lossless sound in Ogg, which libsndfile does not write
        if like is not None and {format, like.format} <= _WAV_KINDS and suffix != ".rf64":
            return like.format
        return format
    if like is not None and like.path is not None and like.backend == "soundfile" and suffix not in READ_ONLY:
        return like.format if like.path.suffix.lower() == suffix else None
    return None


def choose_encoding(
    path: Path,
    format: str,
    like: AudioInfo | None,
    *,
    sample_rate: int,
    channels: int,
    subtype: str | None,
) -> Encoding:
    """Settle sample format, rate, bit rate and tags of an output.

    Args:
        path: output, for its extension and messages.
        format: from ``container_for``.
        like: the input to mirror.
        sample_rate: of the samples that will be written; the encoding's may differ (Opus, MP3).
        channels: number of channels.
        subtype: what the user asked for.

    Raises:
        AudioFileError: ``subtype`` does not fit the container.
    """
    if subtype is not None and not soundfile.check_format(format, subtype):
        fitting = ", ".join(soundfile.available_subtypes(format))
        raise AudioFileError(f"{path}: {format} does not hold {subtype} samples: choose one of {fitting}")
    chosen = subtype or _mirror_subtype(path, format, like)
    rates = _RATES.get(chosen, (sample_rate,))
    encoding = Encoding(
        sample_rate=next((rate for rate in rates if rate >= sample_rate), rates[-1]),
        channels=channels,
        format=format,
        subtype=chosen,
    )
    if like is None:
        return encoding
    if like.subtype == chosen:
        encoding = replace(encoding, bit_rate=like.bit_rate, constant_bit_rate=like.constant_bit_rate)
    if like.format == format and soundfile.check_format(format, chosen, like.endian):
        encoding = replace(encoding, endian=like.endian)
    if not tags_are_copied(encoding, like):
        encoding = replace(encoding, tags=dict(like.tags))
    size = (like.frames or 0) * channels * UNCOMPRESSED_BYTES.get(chosen, 0)
    if format in ("WAV", "WAVEX") and size > _WAV_LIMIT and soundfile.check_format("RF64", chosen):
        encoding = replace(encoding, format="RF64", endian="FILE")
    return encoding


def tags_are_copied(encoding: Encoding, like: AudioInfo) -> bool:
    """Whether ``copy_metadata`` will carry the tags, so that libsndfile need not."""
    if like.path is None or like.backend == "pipe":  # it can be read only once
        return False
    return can_copy(like.format, encoding.format, like.subtype, encoding.subtype)


def changed_codec(encoding: Encoding, like: AudioInfo) -> str | None:
    """What to say where a codec of the input is not used again in the same kind of file; None where nothing is."""
    if like.subtype.startswith(_BLOCK_CODECS) and encoding.format != "MP3" and like.format == encoding.format:
        return f"{like.subtype} cannot be written, or not to the exact length: {encoding.subtype} instead"
    return None


def _mirror_subtype(path: Path, format: str, like: AudioInfo | None) -> str:
    """The input's sample format where it fits, else the next best, else the container's default."""
    if format == "MP3":  # layers I and II can be read only
        return "MPEG_LAYER_III"
    if like is not None and format != "OGG" and like.subtype.startswith(_BLOCK_CODECS):
        return next(each for each in ("PCM_16", "PCM_S8", "ULAW") if soundfile.check_format(format, each))
    default = "OPUS" if path.suffix.lower() == ".opus" else str(soundfile.default_subtype(format))
    if like is None or path.suffix.lower() == ".opus":
        return default
    same_kind = like.format == format or {like.format, format} <= _WAV_KINDS
    plain = like.subtype in UNCOMPRESSED_BYTES
    if (same_kind or plain) and soundfile.check_format(format, like.subtype):
        return like.subtype
    if format == "OGG":
        return default
    candidates = []
    if like.subtype in _DEEP or like.subtype.startswith(_DEEP_FFMPEG) or (like.bits or 0) > 16:
        candidates = ["PCM_24"]
    elif like.subtype in ("PCM_U8", "PCM_S8"):
        candidates = ["PCM_U8", "PCM_S8"]
    return next((each for each in candidates if soundfile.check_format(format, each)), default)
