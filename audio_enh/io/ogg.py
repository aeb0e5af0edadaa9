"""Ogg pages: enough to see how a file ends and to replace its comments (RFC 3533)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from audio_enh.io.chunks import file_size, splice

_HEADER = struct.Struct("<4sBBqIIIB")
_LONGEST_PAGE = 65307
_MOST_EMPTY = 1000
_LARGEST_PACKET = 64 << 20
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Page:
    """Attributes: ``flags`` (1 continued, 2 begin, 4 end of stream), ``lacing`` the segment sizes."""

    offset: int
    flags: int
    granule: int
    serial: int
    sequence: int
    lacing: bytes

    @property
    def body(self) -> int:
        """Offset of the payload."""
        return self.offset + _HEADER.size + len(self.lacing)

    @property
    def end(self) -> int:
        """Offset after the page."""
        return self.body + sum(self.lacing)


def read_page(file: BinaryIO, offset: int) -> Page | None:
    """The page at ``offset``; None if there is none, or only a part of its header."""
    file.seek(offset)
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return None
    magic, _, flags, granule, serial, sequence, _, segments = _HEADER.unpack(head)
    lacing = file.read(segments)
    if magic != b"OggS" or len(lacing) < segments:
        return None
    return Page(offset, flags, granule, serial, sequence, lacing)


def pages(file: BinaryIO, offset: int = 0) -> Iterator[Page]:
    """Pages from ``offset`` on, as long as one follows the other; not through thousands that hold nothing."""
    empty = 0
    while (page := read_page(file, offset)) is not None and empty < _MOST_EMPTY:
        yield page
        empty = 0 if any(page.lacing) else empty + 1
        offset = page.end


def last_page(file: BinaryIO) -> Page | None:
    """The last page of which the header is whole."""
    end = file_size(file)
    start = max(0, end - 2 * _LONGEST_PAGE)
    file.seek(start)
    tail = file.read()
    position = len(tail)
    while (position := tail.rfind(b"OggS", 0, position)) >= 0:
        page = read_page(file, start + position)
        if page is not None:
            return page
    return None


def checksum(page: bytes) -> int:
    """CRC of a page whose checksum field is zero: polynomial 0x04C11DB7, start 0, not reflected.

    zlib computes the reflected one at C speed; reversing the bits of each byte going in and of the result
    makes it this one.
    """
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")


def _build_page(flags: int, granule: int, serial: int, sequence: int, lacing: bytes, body: bytes) -> bytes:
    head = _HEADER.pack(b"OggS", 0, flags, granule, serial, sequence, 0, len(lacing)) + lacing
    page = bytearray(head + body)
    page[22:26] = struct.pack("<I", checksum(bytes(page)))
    return bytes(page)


def header_packets(file: BinaryIO, count: int) -> tuple[list[bytes], list[Page]]:
    """The first ``count`` packets of a file with one stream, and the pages that hold them.

    Raises:
        ValueError: they do not end with a page, as the headers of Vorbis and Opus must.
    """
    packets: list[bytes] = []
    used: list[Page] = []
    current = bytearray()
    for page in pages(file):
        used.append(page)
        file.seek(page.body)
        for size in page.lacing:
            part = file.read(size)
            if len(part) < size:
                raise ValueError("the headers are cut short")
            current += part
            if size < 255:
                packets.append(bytes(current))
                current.clear()
        if len(packets) >= count or len(current) > _LARGEST_PACKET:
            break
    if len(packets) != count or current:
        raise ValueError("not the headers of a single Vorbis or Opus stream")
    return packets, used


def replace_headers(file: BinaryIO, packets: list[bytes], used: list[Page]) -> None:
    """Write other header packets; the first one (identification) keeps its page.

    Args:
        file: open for reading and writing.
        packets: all header packets, the first unchanged.
        used: the pages that hold the present ones, from ``header_packets``.
    """
    serial = used[0].serial
    lacing = b"".join(b"\xff" * (len(p) // 255) + bytes([len(p) % 255]) for p in packets[1:])
    body = b"".join(packets[1:])
    built = []
    sequence, position, continued = 1, 0, False
    for start in range(0, len(lacing), 255):
        part = lacing[start : start + 255]
        payload = body[position : position + sum(part)]
        position += len(payload)
        # A page on which no packet ends has granule position -1.
        granule = 0 if min(part) < 255 else -1
        built.append(_build_page(1 if continued else 0, granule, serial, sequence, part, payload))
        continued = part[-1] == 255
        sequence += 1
    data = b"".join(built)
    splice(file, used[1].offset, used[-1].end, data)
    if sequence == len(used):
        return
    for page in list(pages(file, used[1].offset + len(data))):
        file.seek(page.offset)
        raw = bytearray(file.read(page.end - page.offset))
        raw[18:26] = struct.pack("<II", sequence, 0)
        raw[22:26] = struct.pack("<I", checksum(bytes(raw)))
        file.seek(page.offset)
        file.write(raw)
        sequence += 1
