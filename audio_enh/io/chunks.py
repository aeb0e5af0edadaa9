"""Walking the chunks of RIFF (WAV, RF64), AIFF and MP4 files, without reading what is in them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

#: Chunks or boxes of a file, at most: a gigabyte of zeros would be a hundred million empty ones.
MOST = 10_000


def is_unknown_size(size: int) -> bool:
    """Whether a 32-bit size is what programs write when they stream and cannot know.

    All ones (ffmpeg) or nearly 2 GiB (sox 0x7FFFF000, arecord 0x7FFFFFFF), give or take a header.
    """
    return 0x7FFF0000 <= size <= 0x7FFFFFFF or 0xFFFF0000 <= size <= 0xFFFFFFFF


class Chunk(NamedTuple):
    """A chunk: its four-character name, where its payload starts, and the size its header declares."""

    name: bytes
    offset: int
    size: int


def file_size(file: BinaryIO) -> int:
    """Size in bytes; the position is left at the end."""
    return file.seek(0, os.SEEK_END)


def iff_kind(file: BinaryIO) -> bytes:
    """``RIFF``, ``RF64``, ``BW64`` (all WAV), ``FORM`` (AIFF), or nothing if it is neither."""
    file.seek(0)
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:] == b"WAVE":
        return head[:4]
    if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        return b"FORM"
    return b""


def is_name(name: bytes) -> bool:
    """Whether this can be the name of a chunk: four printable characters, and not only spaces."""
    return len(name) == 4 and all(32 <= byte < 127 for byte in name) and name != b"    "


def iff_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Chunks of a WAV or AIFF file, in order; the last one may promise more than there is.

    Ends where no chunk follows: at the end of the file, at zeros that fill it up, or at sound that its own chunk does
    not announce.
    """
    kind = iff_kind(file)
    order = ">" if kind == b"FORM" else "<"
    end = file_size(file)
    data_size = 0
    position = 12 if kind else end
    for _ in range(MOST):
        if position + 8 > end:
            return
        file.seek(position)
        name, size = struct.unpack(order + "4sI", file.read(8))
        if not is_name(name):
            return
        if name == b"ds64" and size >= 16:  # RF64 keeps its 64-bit sizes here
            data_size = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0]
        if name == b"data" and size == 0xFFFFFFFF and kind in (b"RF64", b"BW64"):
            size = data_size
        yield Chunk(name, position + 8, size)
        position += 8 + size + size % 2


def unread(file: BinaryIO, start: int, order: str) -> int:
    """Bytes from ``start`` to the end of a WAV or AIFF file that are no chunk, no zeros and no ID3v1 tag.

    Args:
        file: the file.
        start: where a chunk should begin.
        order: ``<`` for WAV, ``>`` for AIFF.
    """
    end = file_size(file)
    position = start
    for _ in range(MOST):
        if position >= end:
            return 0
        file.seek(position)
        head = file.read(8)
        if len(head) == 8 and is_name(head[:4]):
            size = struct.unpack(order + "I", head[4:])[0]
            if position + 8 + size <= end:
                position += 8 + size + size % 2
                continue
        break
    file.seek(position)
    if end - position == 128 and file.read(3) == b"TAG":
        return 0
    return 0 if _only_zeros(file, position) else end - position


def _only_zeros(file: BinaryIO, position: int) -> bool:
    """As far as is worth looking."""
    file.seek(position)
    for _ in range(64):
        block = file.read(1 << 20)
        if block.count(0) < len(block):
            return False
    return True


def w64_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Chunks of a Sony Wave64 file; their names are the first four characters of what identifies them."""
    end = file_size(file)
    position = 40
    for _ in range(MOST):
        if position + 24 > end:
            return
        file.seek(position)
        name, size = struct.unpack("<4s12xQ", file.read(24))
        if size < 24:
            return
        yield Chunk(name, position + 24, size - 24)
        position += size + -size % 8


def caf_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Chunks of a Core Audio file; a size of -1 (until the end) is resolved."""
    end = file_size(file)
    position = 8
    for _ in range(MOST):
        if position + 12 > end:
            return
        file.seek(position)
        name, size = struct.unpack(">4sq", file.read(12))
        if size < 0:
            size = end - position - 12
        yield Chunk(name, position + 12, size)
        position += 12 + size


def mp4_boxes(file: BinaryIO) -> Iterator[Chunk]:
    """Top-level boxes of an MP4 or QuickTime file; size 0 (until the end) is resolved.

    A recording in fragments has two boxes for each of some seconds.
    """
    end = file_size(file)
    position = 0
    for _ in range(100 * MOST):
        if position + 8 > end:
            return
        file.seek(position)
        size, name = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            extended = file.read(8)
            if len(extended) < 8:
                return
            size, header = struct.unpack(">Q", extended)[0], 16
        elif size == 0:
            size = end - position
        if size < header or not any(name):  # not a box: whatever follows is not ours to judge
            return
        yield Chunk(name, position + header, size - header)
        position += size


def splice(file: BinaryIO, start: int, end: int, data: bytes) -> None:
    """Replace the bytes from ``start`` to ``end`` by ``data``, moving what follows, in bounded memory."""
    shift = len(data) - (end - start)
    total = file_size(file)
    step = 1 << 20
    if shift > 0:  # from the back, or the tail would overwrite itself
        position = total
        while position > end:
            size = min(step, position - end)
            position -= size
            file.seek(position)
            block = file.read(size)
            file.seek(position + shift)
            file.write(block)
    elif shift < 0:
        for position in range(end, total, step):
            file.seek(position)
            block = file.read(step)
            file.seek(position + shift)
            file.write(block)
        file.truncate(total + shift)
    file.seek(start)
    file.write(data)
