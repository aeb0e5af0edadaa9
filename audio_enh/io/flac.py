"""Frames of a FLAC stream: where they lie, for its seek table (RFC 9639, 8.5 and 9.1)."""

from __future__ import annotations

import bisect
import mmap
import re
import struct
from typing import BinaryIO

#: Synchronisation code of a stream of fixed block size, block size and sample rate, channels and sample size.
_FRAME = re.compile(rb"\xff\xf8[\x10-\xff][\x00-\xaf]", re.DOTALL)
#: The same, of a variable one too.
_ANY_FRAME = re.compile(rb"\xff[\xf8\xf9][\x10-\xff][\x00-\xaf]", re.DOTALL)
#: Bytes of a file's end in which two whole frames lie.
_TAIL = 1 << 20
_POINT = struct.Struct(">QQH")
_PLACEHOLDER = 2**64 - 1


def _checksum(data: bytes) -> int:
    """CRC-8 of a frame header: polynomial 0x07."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 ^ 0x107 if crc & 0x80 else crc << 1
    return crc


def _frame_number(head: bytes) -> int | None:
    """The number in a frame header that begins ``head``, coded as UTF-8 is; None if it is no header."""
    first = head[4]
    length = 1 if first < 0x80 else 8 - (first ^ 0xFF).bit_length()
    if length > 7 or first == 0xFF or (length == 1 and first >= 0x80):
        return None
    value = first if length == 1 else first & (0x7F >> length)
    for byte in head[5 : 4 + length]:
        if byte & 0xC0 != 0x80:
            return None
        value = value << 6 | byte & 0x3F
    end = 4 + length + {6: 1, 7: 2}.get(head[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    return value if end < len(head) and _checksum(head[:end]) == head[end] else None


def frame_offsets(file: BinaryIO, start: int) -> list[int]:
    """Offsets of the frames of a stream of fixed block size, relative to ``start``, the first one's."""
    offsets: list[int] = []
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in _FRAME.finditer(data, start):
            if _frame_number(data[match.start() : match.start() + 16].ljust(16, b"\xff")) == len(offsets):
                offsets.append(match.start() - start)
    return offsets


def announced_and_found(file: BinaryIO, start: int) -> tuple[int, int]:
    """Samples that a stream's header announces, and that there are at least, by the frames at its end.

    Args:
        file: the file.
        start: offset of ``fLaC``.

    Returns:
        Both numbers; 0 where the header does not say, or no two frames in a row were found.
    """
    file.seek(start + 8)
    info = file.read(18)
    if len(info) < 18:
        return 0, 0
    block = struct.unpack_from(">H", info, 2)[0]
    announced = int.from_bytes(info[10:18], "big") & (1 << 36) - 1
    end = file.seek(0, 2)
    file.seek(max(start + 42, end - _TAIL))
    tail = file.read()
    found, before = 0, -1
    for match in _ANY_FRAME.finditer(tail):
        number = _frame_number(tail[match.start() : match.start() + 16].ljust(16, b"\xff"))
        if number is None:
            continue
        variable = tail[match.start() + 1] & 1
        # One alone may be chance; two in a row are not.
        if before >= 0 and (0 < number - before <= block if variable else number == before + 1):
            found = number if variable else number * block
        before = number
    return announced, found


def seek_table(file: BinaryIO, start: int, points: bytes) -> bytes:
    """A seek table for the stream in ``file``, with points near those of another one.

    Args:
        file: open for reading; a whole stream of fixed block size.
        start: offset of the first frame.
        points: payload of the other table.
    """
    file.flush()
    file.seek(0)
    head = file.read(start)
    at = head.index(b"fLaC") + 8
    block = struct.unpack_from(">H", head, at)[0]
    offsets = frame_offsets(file, start)
    samples = [number * block for number in range(len(offsets))]
    wanted = {_POINT.unpack_from(points, i)[0] for i in range(0, len(points) - _POINT.size + 1, _POINT.size)}
    found = {bisect.bisect_right(samples, sample) - 1 for sample in wanted if sample != _PLACEHOLDER}
    return b"".join(_POINT.pack(samples[i], offsets[i], block) for i in sorted(found) if i >= 0)
