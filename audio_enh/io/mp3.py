"""What libsndfile needs to be told about MP3 files.

Its decoder takes the length from the Xing (or Info) header in the first frame. Without one it guesses from
the first frame's bit rate, and stops reading there: a variable bit rate file of 20 s came back as 6.5 s. With
one that no longer fits (files that were joined) it stops at the end of the first. Here the frames are
counted, and the file is read with a header in front that tells the truth.

Source: ISO/IEC 11172-3, 2.4.1.3 and 13818-3 (frame header); the Xing and LAME tag as LAME documents it.
"""

from __future__ import annotations

import io
import mmap
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

# kbit/s by (MPEG-1?, layer), index 1 to 14.
_BIT_RATES: dict[tuple[bool, int], tuple[int, ...]] = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}

#: Samples by which a layer III decoder lags (polyphase filter bank and MDCT), as LAME counts them.
_DECODER_DELAY = 529
#: Places where frames are lost, at most; more is no music.
_MOST_GAPS = 100_000
#: Bytes of the longest frame (layer II at 384 kbit/s and 32 kHz, padded).
_LONGEST_FRAME = 1729


class FrameHeader(NamedTuple):
    """An MPEG audio frame: layer (1 to 3), length in bytes, samples per channel, offset of a Xing header."""

    layer: int
    length: int
    samples: int
    xing_offset: int


def parse_header(data: bytes) -> FrameHeader | None:
    """Parse four bytes; None if they are not a frame header (or free format, which has no length)."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, 4 - (data[1] >> 1 & 3)
    rate_index, bit_rate_index = data[2] >> 2 & 3, data[2] >> 4
    if version == 1 or layer == 4 or rate_index == 3 or bit_rate_index in (0, 15):
        return None
    mpeg1 = version == 3
    bit_rate = 1000 * _BIT_RATES[mpeg1, layer][bit_rate_index - 1]
    sample_rate = _SAMPLE_RATES[version][rate_index]
    padding = data[2] >> 1 & 1
    mono = data[3] >> 6 == 3
    if layer == 1:
        return FrameHeader(1, (12 * bit_rate // sample_rate + padding) * 4, 384, 0)
    samples = 1152 if layer == 2 or mpeg1 else 576
    side_info = (17 if mono else 32) if mpeg1 else (9 if mono else 17)
    return FrameHeader(layer, samples // 8 * bit_rate // sample_rate + padding, samples, 4 + side_info)


@dataclass(frozen=True)
class Mp3Layout:
    """Where the audio of an MPEG audio file lies, and what its own header says of it.

    Attributes:
        start: offset of the first frame that carries audio (after ID3v2 and after a Xing or VBRI frame).
        end: offset after the last frame (before ID3v1 and APE tags).
        prefix: ID3v2 tag at the start.
        header: the Xing frame; the first frame's four bytes if there is none.
        declared_frames: MPEG frames by the Xing header, None without one.
        declared_bytes: bytes of audio by the Xing header, its own frame included; None if it does not say.
        header_start: offset of the Xing or VBRI frame, or of the first frame.
        constant_bit_rate: the header is an ``Info`` header, or there is none.
    """

    start: int
    end: int
    prefix: bytes
    header: bytes
    declared_frames: int | None
    declared_bytes: int | None
    header_start: int
    constant_bit_rate: bool

    @property
    def missing(self) -> float:
        """Share of the declared bytes that is not there (0 to 1)."""
        if not self.declared_bytes:
            return 0.0
        lost = self.declared_bytes - (self.end - self.header_start)
        return lost / self.declared_bytes if lost > _LONGEST_FRAME else 0.0

    @property
    def header_fits(self) -> bool:
        """The Xing header agrees with the size of the file."""
        if self.declared_frames is None:
            return False
        return (
            not self.declared_bytes
            or abs(self.end - self.header_start - self.declared_bytes) <= _LONGEST_FRAME
        )

    @property
    def layer(self) -> int:
        """MPEG audio layer, 1 to 3."""
        return 4 - (self.header[1] >> 1 & 3)


def id3v2_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that ``head`` (10 bytes) starts, footer included; 0 if it is none."""
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 127:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return size + (20 if head[5] & 0x10 else 10)


def tail_start(data: mmap.mmap | bytes, end: int) -> int:
    """Offset where ID3v1 and APEv2 tags at the end begin; ``end`` if there are none."""
    if end >= 128 and data[end - 128 : end - 125] == b"TAG":
        end -= 128
    if end >= 32 and data[end - 32 : end - 24] == b"APETAGEX":
        size, _, flags = struct.unpack("<III", data[end - 20 : end - 8])
        size += 32 if flags & 1 << 31 else 0
        if size <= end:
            end -= size
    return end


def _candidates() -> re.Pattern[bytes]:
    """First three bytes of a frame header, so that searching through other data is quick."""
    second = bytes(b for b in range(0xE0, 0x100) if b >> 3 & 3 != 1 and b >> 1 & 3)
    third = bytes(b for b in range(0x10, 0xF0) if b >> 2 & 3 != 3)
    classes = ("".join(f"\\x{b:02x}" for b in values).encode() for values in (second, third))
    return re.compile(b"\xff" + b"".join(b"[" + each + b"]" for each in classes), re.DOTALL)


_CANDIDATE = _candidates()
#: What looks like a frame header and is none, at most, before a file is not searched any further.
_MOST_CANDIDATES = 100_000


def _next_frame(data: mmap.mmap | bytes, position: int, end: int) -> int:
    """Offset of the next frame header that another follows (or that ends the audio); ``end`` if none."""
    for tried, found in enumerate(_CANDIDATE.finditer(data, max(position, 0), max(end - 1, 0))):
        position = found.start()
        if position >= end - 4 or tried > _MOST_CANDIDATES:
            break
        header = parse_header(data[position : position + 4])
        if header is not None:
            after = position + header.length
            if after >= end - 4 or parse_header(data[after : after + 4]) is not None:
                return position
    return end


def scan(path: Path) -> Mp3Layout | None:
    """Find the audio in an MPEG audio file; None if there is no frame (or it is free format)."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < 24:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            end = tail_start(data, len(data))
            start = id3v2_size(data[:10])
            start = _next_frame(data, start, end)
            header = parse_header(data[start : start + 4])
            if header is None or start + header.length > end:
                return None
            prefix, first = data[: id3v2_size(data[:10])], data[start : start + 4]
            tag = data[start + header.xing_offset : start + header.xing_offset + 16]
            if header.layer == 3 and tag[:4] in (b"Xing", b"Info"):
                flags, *numbers = struct.unpack(">III", tag[4:16])
                frames = numbers.pop(0) if flags & 1 else None
                size = numbers.pop(0) if flags & 2 else None
                after = start + header.length
                xing = data[start:after]
                return Mp3Layout(after, end, prefix, xing, frames, size, start, tag[:4] == b"Info")
            if header.layer == 3 and data[start + 36 : start + 40] == b"VBRI":
                return Mp3Layout(start + header.length, end, prefix, first, None, None, start, False)
            return Mp3Layout(start, end, prefix, first, None, None, start, True)


def _frames(data: mmap.mmap, layout: Mp3Layout) -> Iterator[tuple[bytes, FrameHeader]]:
    """All whole frames: their first four bytes, and what these say. A last frame that is cut does not decode."""
    position, end = layout.start, layout.end
    lost = 0
    while position + 4 <= end:
        head = data[position : position + 4]
        header = parse_header(head)
        if header is None:
            lost += 1
            position = _next_frame(data, position + 1, end) if lost < _MOST_GAPS else end
            continue
        position += header.length
        if position <= end:
            yield head, header


def count_frames(path: Path, layout: Mp3Layout) -> tuple[int, int]:
    """Walk all frames.

    Returns:
        The number of MPEG frames, and of samples per channel.
    """
    frames = samples = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for _, header in _frames(data, layout):
            frames += 1
            samples += header.samples
    return frames, samples


def is_mixed(path: Path, layout: Mp3Layout) -> bool:
    """Whether rate, layer or number of channels change on the way, as in files that were stitched together.

    Two frames in a row have to agree on the change: one may be damaged.
    """
    first, suspect = _shape(layout.header), False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for head, _ in _frames(data, layout):
            changed = _shape(head) != first
            if changed and suspect:
                return True
            suspect = changed
    return False


def rate_and_channels(head: bytes) -> tuple[int, int]:
    """Sampling rate in Hz and number of channels by a frame header."""
    return _SAMPLE_RATES[head[1] >> 3 & 3][head[2] >> 2 & 3], 1 if head[3] >> 6 == 3 else 2


def _shape(head: bytes) -> tuple[int, int, bool]:
    """Version and layer, sampling rate, and whether it is mono."""
    return head[1] & 0x1E, head[2] & 0x0C, head[3] >> 6 == 3


def _corrected_header(layout: Mp3Layout, frames: int) -> bytes:
    """The file's own Xing frame with the true numbers; the encoder delay in its LAME tag stays."""
    body = bytearray(layout.header)
    header = parse_header(layout.header)
    assert header is not None  # it came out of a scan
    flags = struct.unpack_from(">I", body, header.xing_offset + 4)[0]
    struct.pack_into(">I", body, header.xing_offset + 8, frames)
    if flags & 2:
        struct.pack_into(">I", body, header.xing_offset + 12, layout.end - layout.start + len(body))
    return bytes(body)


def _made_up_header(layout: Mp3Layout, frames: int) -> bytes:
    """A Xing frame like the file's first frame, and a silent frame after it.

    libsndfile's decoder drops its own delay of 529 samples where there is a Xing header, and nothing where
    there is none, as ffmpeg does. So that nothing is lost here, a silent frame goes in front, and a LAME tag
    has all of it dropped and not a sample more.
    """
    head = bytearray(layout.header[:4])
    head[1] |= 1  # no checksum
    header = parse_header(bytes(head))
    assert header is not None  # it came out of a scan
    while header.length < header.xing_offset + 16 + 36:  # too small to hold it: the next bit rate
        head[2] += 0x10
        header = parse_header(bytes(head))
        assert header is not None
    silent = bytes(head) + bytes(header.length - 4)
    xing = bytearray(silent)
    size = layout.end - layout.start + 2 * header.length
    delay, padding = header.samples - _DECODER_DELAY, _DECODER_DELAY
    struct.pack_into(">4sIII", xing, header.xing_offset, b"Xing", 3, frames + 1, size)
    lame = b"LAME3.100" + bytes(12) + (delay << 12 | padding).to_bytes(3, "big")
    xing[header.xing_offset + 16 : header.xing_offset + 16 + len(lame)] = lame
    return bytes(xing) + silent


class CountedMp3(io.RawIOBase):
    """An MP3 file as libsndfile should see it: ID3v2, a true Xing frame, the audio, and nothing after it."""

    def __init__(self, path: Path, layout: Mp3Layout, frames: int) -> None:
        make = _made_up_header if layout.declared_frames is None else _corrected_header
        self._prefix = layout.prefix + make(layout, frames)
        self._file = path.open("rb")
        self._start = layout.start
        self._size = len(self._prefix) + layout.end - layout.start
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # Buffer is not in typing before 3.12
        view = memoryview(buffer)
        size = max(0, min(len(view), self._size - self._position))
        if self._position < len(self._prefix):
            data = self._prefix[self._position : self._position + size]
        else:
            self._file.seek(self._start + self._position - len(self._prefix))
            data = self._file.read(size)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        self._file.close()
        super().close()
