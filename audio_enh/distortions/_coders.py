"""One mono signal through a real encoder and decoder, in memory."""

from __future__ import annotations

import functools
import io
import subprocess

import numpy as np
import soundfile

from audio_enh.distortions.base import Audio
from audio_enh.errors import DependencyError
from audio_enh.io.ffmpeg import encoders, find_program, last_line


def through_libsndfile(
    mono: Audio, sample_rate: int, container: str, subtype: str, level: float | None = None
) -> Audio:
    """Encode and decode.

    Args:
        mono: ``(samples,)`` within full scale.
        sample_rate: in Hz, one that the codec knows.
        container: libsndfile's format.
        subtype: libsndfile's name of the codec.
        level: libsndfile's compression level, 0 (best) to 1.

    Returns:
        What the decoder gives: delayed and padded as the codec does.
    """
    mode = "CONSTANT" if subtype == "MPEG_LAYER_III" else None
    data = io.BytesIO()
    with soundfile.SoundFile(
        data, "w", sample_rate, 1, subtype, None, container, compression_level=level, bitrate_mode=mode
    ) as file:
        file.write(mono)
    return _decode(data, sample_rate, container, subtype)


def _decode(data: io.BytesIO, sample_rate: int, container: str, subtype: str) -> Audio:
    data.seek(0)
    if container != "RAW":
        return soundfile.read(data, dtype="float32")[0]
    described = {"samplerate": sample_rate, "channels": 1, "subtype": subtype, "format": "RAW"}
    return soundfile.read(data, dtype="float32", **described)[0]


def g711(mono: Audio, subtype: str, kept_bits: int) -> Audio:
    """G.711 whose code words lost their lowest bits, as on trunks that rob them for signalling.

    Args:
        mono: ``(samples,)`` within full scale.
        subtype: ``ULAW`` or ``ALAW``.
        kept_bits: of the 8 bits of a code word; the decoder gives the mean of what they leave open.
    """
    data = io.BytesIO()
    with soundfile.SoundFile(data, "w", 8000, 1, subtype, None, "RAW") as file:
        file.write(mono)
    return _g711_values(subtype, kept_bits)[np.frombuffer(data.getvalue(), np.uint8)]


@functools.cache
def _g711_values(subtype: str, kept_bits: int) -> Audio:
    """What each of the 256 code words stands for."""
    exact = _decode(io.BytesIO(bytes(range(256))), 8000, "RAW", subtype)
    return np.repeat(exact.reshape(2**kept_bits, -1).mean(axis=1), 2 ** (8 - kept_bits))


def missing_encoder(encoder: str) -> str | None:
    """Why ffmpeg's ``encoder`` cannot be used, and the remedy; None if it can."""
    program = find_program("ffmpeg")
    if program is None:
        return "needs ffmpeg, which is not installed: get it from your package manager"
    if encoder not in encoders(program):
        return f"needs an ffmpeg with the encoder {encoder}, and this one was built without it"
    return None


def through_ffmpeg(mono: Audio, sample_rate: int, encoder: str, muxer: str, demuxer: str, kbps: int) -> Audio:
    """Encode and decode by the user's ffmpeg.

    Args:
        mono: ``(samples,)`` within full scale.
        sample_rate: in Hz, one that the codec knows.
        encoder, muxer, demuxer: ffmpeg's names.
        kbps: bit rate.

    Returns:
        What the decoder gives: delayed and padded as the codec does.

    Raises:
        DependencyError: no ffmpeg, or it failed.
    """
    program = find_program("ffmpeg")
    if program is None:
        raise DependencyError(f"{encoder} needs ffmpeg, which is not installed")
    start = [program, "-hide_banner", "-nostdin", "-v", "error", "-threads", "1"]
    raw = ["-f", "f32le", "-ar", str(sample_rate), "-ac", "1"]
    encode = [*start, *raw, "-i", "pipe:0", "-c:a", encoder, "-b:a", f"{kbps}k", "-f", muxer, "pipe:1"]
    coded = subprocess.run(encode, input=mono.tobytes(), capture_output=True)
    if coded.returncode != 0:
        raise DependencyError(f"ffmpeg could not encode {encoder}: {last_line(coded.stderr)}")
    if demuxer == "libsndfile":
        return soundfile.read(io.BytesIO(coded.stdout), dtype="float32")[0]
    decode = [*start, "-f", demuxer, "-i", "pipe:0", *raw, "pipe:1"]
    decoded = subprocess.run(decode, input=coded.stdout, capture_output=True)
    if decoded.returncode != 0:
        raise DependencyError(f"ffmpeg could not decode {encoder}: {last_line(decoded.stderr)}")
    return np.frombuffer(decoded.stdout, np.float32)
