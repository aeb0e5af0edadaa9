"""Ogg Opus files whose page times are wrong.

Every Ogg page tells the time of its end (its granule position). libsndfile 1.2.2 takes it at its word: where
a page disagrees with its packets it stops with "malformed", and where the last page promises more, the file
seems longer than it is. ffmpeg writes such pages when its input's timestamps jitter. Here the times are counted
from the packets instead, and libsndfile is shown the file with those.

Source: RFC 6716, 3.1 (packet durations), RFC 7845, 4 (granule positions).
"""

from __future__ import annotations

import bisect
import io
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from audio_enh.io import ogg

#: Samples at 48 kHz of a frame, by the configuration number in the packet's first byte.
_FRAMES = [480, 960, 1920, 2880] * 3 + [480, 960] * 2 + [120, 240, 480, 960] * 4


def packet_duration(head: bytes) -> int:
    """Samples at 48 kHz in a packet, by its first two bytes; 0 if it is not an Opus packet."""
    if not head:
        return 0
    count = (1, 2, 2, 0)[head[0] & 3]
    if not count:
        count = head[1] & 0x3F if len(head) > 1 else 0
    return _FRAMES[head[0] >> 3] * count


def wrong_pages(file: BinaryIO) -> list[tuple[ogg.Page, int]]:
    """Pages of a single Opus stream whose granule position is not the count of their samples, and that count.

    The last page may claim less: that is how the end is trimmed to the sample. In a stream that was cut out
    of a longer one all pages count from another beginning, from which libsndfile would miss the pre-skip;
    it is taken off.
    """
    counted = [page for page in _count_samples(file) if page[0].granule >= 0]
    ahead = [page.granule - total for page, total in counted if not page.flags & 4]
    offset = max(min(ahead, default=0), 0)
    right = [
        (page, min(page.granule - offset, total) if page.flags & 4 else total) for page, total in counted
    ]
    return [(page, granule) for page, granule in right if granule != page.granule]


def _count_samples(file: BinaryIO) -> Iterator[tuple[ogg.Page, int]]:
    """Pages on which packets end, and the samples of all packets up to there."""
    total = 0
    pending = b""  # first bytes of a packet that goes on in the next page
    headers = 2  # packets still to skip: identification and comments
    for page in ogg.pages(file):
        file.seek(page.body)
        body = file.read(sum(page.lacing))
        position = done = 0
        for size in page.lacing:
            if len(pending) < 2:
                pending += body[position : position + min(size, 2)]
            position += size
            if size == 255:
                continue
            if headers:
                headers -= 1
            else:
                total += packet_duration(pending)
                done += 1
            pending = b""
        if done:
            yield page, total


class RetimedOgg(io.RawIOBase):
    """An Ogg file with other granule positions in some of its pages."""

    def __init__(self, path: Path, times: Sequence[tuple[ogg.Page, int]]) -> None:
        self._file = path.open("rb")
        self._patches: list[tuple[int, bytes]] = []
        for page, granule in times:
            self._file.seek(page.offset)
            raw = bytearray(self._file.read(page.end - page.offset))
            struct.pack_into("<q", raw, 6, granule)
            raw[22:26] = bytes(4)
            struct.pack_into("<I", raw, 22, ogg.checksum(bytes(raw)))
            self._patches.append((page.offset, bytes(raw[:27])))
        self._starts = [start for start, _ in self._patches]
        self._file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # Buffer is not in typing before 3.12
        view = memoryview(buffer)
        begin = self._file.tell()
        size = self._file.readinto(view)
        first = max(bisect.bisect_right(self._starts, begin) - 1, 0)
        for start, data in self._patches[first:]:
            if start >= begin + size:
                break
            low, high = max(start, begin), min(start + len(data), begin + size)
            if low < high:
                view[low - begin : high - begin] = data[low - start : high - start]
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()
