"""WAV through pipes: no seeking, and a length that may be known to nobody (stdin, stdout, named pipes)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import AudioFileError
from audio_enh.io.atomic import write_error
from audio_enh.io.chunks import MOST, is_name, is_unknown_size
from audio_enh.io.info import AudioInfo
from audio_enh.io.samples import quantize, replace_nonfinite

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
#: (WAVE format tag, bits) to libsndfile's name.
_SUBTYPES = {
    (_PCM, 8): "PCM_U8",
    (_PCM, 16): "PCM_16",
    (_PCM, 24): "PCM_24",
    (_PCM, 32): "PCM_32",
    (_FLOAT, 32): "FLOAT",
    (_FLOAT, 64): "DOUBLE",
}
_CODES = {subtype: code for code, subtype in _SUBTYPES.items()}
#: Speaker positions (dwChannelMask) by channel count: mono, stereo, quad, 5.1, 7.1.
_MASKS = {1: 0x4, 2: 0x3, 4: 0x33, 6: 0x3F, 8: 0x63F}
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


@dataclass(frozen=True)
class WavHeader:
    """What stands before the samples.

    Attributes:
        data_bytes: bytes of samples; None if only the end of the stream will tell.
    """

    sample_rate: int
    channels: int
    subtype: str
    extensible: bool
    data_bytes: int | None

    @property
    def frame_bytes(self) -> int:
        return self.channels * _CODES[self.subtype][1] // 8


def _exactly(stream: BinaryIO, size: int, name: str) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise AudioFileError(f"{name} ended within its WAV header")
    return data


def read_wav_header(stream: BinaryIO, name: str, *, unfinished: bool = False) -> WavHeader:
    """Read up to the first sample, never seeking.

    Args:
        stream: a binary stream whose ``read(n)`` gives n bytes unless it ends.
        name: for messages.
        unfinished: take a data size of 0 as unknown.

    Raises:
        AudioFileError: not WAV, or not PCM or float.
    """
    head = stream.read(12)
    if not head:
        raise AudioFileError(f"{name} is empty: pipe a WAV stream into it")
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        raise AudioFileError(
            f"{name} is not a WAV stream: pipe WAV, for example from ffmpeg -i INPUT -f wav -"
        )
    layout: tuple[int, int, int, int] | None = None
    wide_size = None
    for _ in range(MOST):
        chunk, size = struct.unpack("<4sI", _exactly(stream, 8, name))
        if chunk == b"data":
            break
        if not is_name(chunk):
            raise AudioFileError(f"{name} is damaged: no samples follow its WAV header")
        size += size % 2
        payload = _exactly(stream, min(size, 1 << 16), name)
        for left in range(size - len(payload), 0, -(1 << 20)):  # a cover picture, or nonsense: let it pass
            _exactly(stream, min(left, 1 << 20), name)
        if chunk == b"ds64" and size >= 16:
            wide_size = struct.unpack("<Q", payload[8:16])[0]
        if chunk == b"fmt " and size >= 16:
            code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", payload[:16])
            extensible = code == _EXTENSIBLE and size >= 26
            if extensible:
                code = struct.unpack("<H", payload[24:26])[0]
            layout = (code, bits, channels, rate)
    else:
        raise AudioFileError(f"{name} is damaged: its WAV header does not end")
    if layout is None:
        raise AudioFileError(f"{name} has no WAV format chunk before its data")
    code, bits, channels, rate = layout
    subtype = _SUBTYPES.get((code, bits))
    if subtype is None or channels == 0 or rate == 0:
        raise AudioFileError(
            f"{name}: WAV format {code} with {bits} bits cannot be streamed: pipe PCM or float"
        )
    if wide_size is not None and size == 0xFFFFFFFF:
        size = wide_size
    unknown = is_unknown_size(size) or size >= 2**63 or (unfinished and size == 0)
    return WavHeader(rate, channels, subtype, extensible, None if unknown else size)


class WavPipeSource:
    """Samples of a WAV stream; reading ends at the announced size or at the end of the stream.

    Args:
        stream: see ``read_wav_header``.
        path: for messages; None for stdin.
        unfinished: the same.
        data_bytes: size of the samples, where it is known better than by the header.
    """

    def __init__(
        self, stream: BinaryIO, path: Path | None, *, unfinished: bool = False, data_bytes: int | None = None
    ) -> None:
        name = "stdin" if path is None else str(path)
        header = read_wav_header(stream, name, unfinished=unfinished)
        if data_bytes is not None:
            header = replace(header, data_bytes=data_bytes)
        self._header = header
        self._stream = stream
        self._left = header.data_bytes
        self.info = AudioInfo(
            path=path,
            sample_rate=header.sample_rate,
            channels=header.channels,
            frames=None if header.data_bytes is None else header.data_bytes // header.frame_bytes,
            format="WAVEX" if header.extensible else "WAV",
            subtype=header.subtype,
            backend="pipe",
        )

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self._header.frame_bytes

    def __enter__(self) -> WavPipeSource:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def read(self, frames: int) -> NDArray[np.float32]:
        """Up to ``frames`` frames, ``(n, channels)``; 0 frames at the end."""
        header = self._header
        size = frames * header.frame_bytes
        if self._left is not None:
            size = min(size, self._left)
        data = self._stream.read(size)
        if self._left is not None:
            self._left -= len(data)
        data = data[: len(data) // header.frame_bytes * header.frame_bytes]
        return decode_pcm(data, header.subtype).reshape(-1, header.channels)

    def close(self) -> None:
        if self.info.path is not None:  # stdin is not ours to close
            self._stream.close()


def decode_pcm(data: bytes, subtype: str) -> NDArray[np.float32]:
    """Little-endian PCM or float to float32, full scale 1, as libsndfile scales it."""
    if subtype == "FLOAT":
        return np.frombuffer(data, "<f4").astype(np.float32)
    if subtype == "DOUBLE":
        return np.frombuffer(data, "<f8").astype(np.float32)
    if subtype == "PCM_U8":
        return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    if subtype == "PCM_16":
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(2**15)
    if subtype == "PCM_32":
        return np.frombuffer(data, "<i4").astype(np.float32) / np.float32(2**31)
    padded = np.zeros((len(data) // 3, 4), np.uint8)  # 24 bits into the upper bytes of 32
    padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return padded.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)


def encode_pcm(audio: NDArray[np.float32], subtype: str) -> tuple[bytes, int]:
    """The reverse; returns the bytes and the number of samples clipped."""
    if subtype == "FLOAT":
        return audio.astype("<f4").tobytes(), 0
    if subtype == "DOUBLE":
        return audio.astype("<f8").tobytes(), 0
    bits = _CODES[subtype][1]
    integers, clipped = quantize(np.asarray(replace_nonfinite(audio), np.float32), bits)
    if bits == 8:
        return ((integers >> 8) + 128).astype(np.uint8).tobytes(), clipped
    if bits == 24:
        raw = integers.astype("<i4").reshape(-1, 1).view(np.uint8)
        return raw.reshape(-1, 4)[:, 1:].tobytes(), clipped
    return integers.astype(f"<i{bits // 8}").tobytes(), clipped


def wav_header(sample_rate: int, channels: int, subtype: str, data_bytes: int | None) -> bytes:
    """A WAV header; sizes are 0xFFFFFFFF where ``data_bytes`` is None or does not fit."""
    code, bits = _CODES[subtype]
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", code, channels, sample_rate, sample_rate * block, block, bits)
    if channels > 2:  # speaker positions need the extensible form
        fmt = struct.pack("<H", _EXTENSIBLE) + fmt[2:]
        fmt += struct.pack("<HHIH", 22, bits, _MASKS.get(channels, 0), code) + _GUID_TAIL
    elif code == _FLOAT:
        fmt += struct.pack("<H", 0)
    body = b"WAVE" + struct.pack("<4sI", b"fmt ", len(fmt)) + fmt
    known = data_bytes is not None and data_bytes + len(body) + 9 < 0xFFFF0000
    size = data_bytes if known and data_bytes is not None else 0xFFFFFFFF
    total = len(body) + 8 + size + size % 2 if known else 0xFFFFFFFF
    return struct.pack("<4sI", b"RIFF", total) + body + struct.pack("<4sI", b"data", size)


class WavPipeSink:
    """Writes a WAV stream to a pipe or device, in order and unbuffered by us.

    Attributes:
        clipped: samples beyond full scale so far, clipped (integer formats only).
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        *,
        sample_rate: int,
        channels: int,
        subtype: str,
        frames: int | None,
        owns_stream: bool,
    ) -> None:
        self.clipped = 0
        self._stream = stream
        self._name = name
        self._subtype = subtype if subtype in _CODES else "PCM_16"
        self._owns_stream = owns_stream
        self._odd = False
        size = None if frames is None else frames * channels * _CODES[self._subtype][1] // 8
        self._pad = size is not None
        self._send(wav_header(sample_rate, channels, self._subtype, size))

    def _send(self, data: bytes) -> None:
        try:
            self._stream.write(data)
            self._stream.flush()
        except BrokenPipeError as error:
            raise AudioFileError(f"{self._name} was closed by the program that reads it") from error
        except OSError as error:
            raise write_error(error, Path(self._name)) from error

    def write(self, audio: NDArray[np.float32]) -> None:
        """Append ``(n, channels)`` samples."""
        data, clipped = encode_pcm(audio, self._subtype)
        self.clipped += clipped
        self._odd ^= len(data) % 2 == 1
        self._send(data)

    def close(self) -> None:
        if self._odd and self._pad:
            self._send(b"\0")  # chunks are padded to an even size
        self.abort()

    def abort(self) -> None:
        if self._owns_stream:
            self._stream.close()
