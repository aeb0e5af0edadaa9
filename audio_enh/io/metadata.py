"""Tags and everything else around the audio, carried over byte for byte within one container.

libsndfile knows ten tags and drops the rest: pictures, ReplayGain, broadcast (bext), iXML, cue points. Where
input and output are of the same kind, the blocks are copied as they are instead; what describes samples that are no
longer there (a checksum, a measured loudness) is not.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from audio_enh.io import mp3, ogg
from audio_enh.io.chunks import (
    MOST,
    Chunk,
    caf_chunks,
    file_size,
    iff_chunks,
    iff_kind,
    splice,
    unread,
    w64_chunks,
)
from audio_enh.io.flac import seek_table

#: Chunks that describe the encoding or only fill space; all others travel.
_AUDIO_CHUNKS = {b"fmt ", b"data", b"fact", b"PEAK", b"ds64", b"levl", b"slnt", b"wavl", b"MD5 "}
_FILLERS = {b"JUNK", b"junk", b"PAD ", b"FLLR", b"filr"}
_AIFF_CHUNKS = {b"COMM", b"SSND", b"FVER", b"PEAK", b"CHAN"}
_CAF_CHUNKS = {b"desc", b"data", b"free", b"chan", b"pakt", b"kuki", b"ovvw", b"peak", b"edct"}
_LARGEST = 64 << 20
_FLAC_COPIED = {2, 4, 5, 6}  # APPLICATION, VORBIS_COMMENT, CUESHEET, PICTURE
_FLAC_SEEK_TABLE = 3


def can_copy(source_format: str, target_format: str, source_subtype: str, target_subtype: str) -> bool:
    """Whether ``copy_metadata`` works between two libsndfile formats."""
    wav = {"WAV", "WAVEX", "RF64"}
    if source_format in wav and target_format in wav:
        return True
    if target_format == "OGG":
        return source_format == "OGG" and source_subtype == target_subtype in ("VORBIS", "OPUS")
    return source_format == target_format and target_format in ("FLAC", "MP3", "AIFF", "W64", "CAF")


def copy_metadata(source: Path, target: Path, format: str) -> None:
    """Carry tags, pictures and markers of ``source`` over to the freshly encoded ``target``.

    Args:
        source: file of the same kind.
        target: changed in place.
        format: libsndfile's name for it.

    Raises:
        OSError: the disk is full.
        ValueError: the source's metadata cannot be understood.
    """
    with source.open("rb") as old, target.open("r+b") as new:
        if format in ("WAV", "WAVEX", "RF64", "AIFF"):
            _copy_chunks(old, new)
        elif format == "W64":
            _copy_w64_chunks(old, new)
        elif format == "CAF":
            _copy_caf_chunks(old, new)
        elif format == "FLAC":
            _copy_flac(old, new)
        elif format == "OGG":
            _copy_ogg_comments(old, new)
        elif format == "MP3":
            _copy_mp3_tags(old, new)


def _fmt_chunk(file: BinaryIO) -> tuple[int, bytes]:
    for chunk in iff_chunks(file):
        if chunk.name == b"fmt ":
            file.seek(chunk.offset)
            return chunk.offset, file.read(
                min(chunk.size, 1 << 16)
            )  # a buffer of that size is made in any case
    return 0, b""


def _copy_chunks(old: BinaryIO, new: BinaryIO) -> None:
    kind = iff_kind(new)
    order = ">" if kind == b"FORM" else "<"
    skipped = (_AIFF_CHUNKS if kind == b"FORM" else _AUDIO_CHUNKS) | _FILLERS
    extra = b"".join(
        struct.pack(order + "4sI", chunk.name, chunk.size) + data + b"\0" * (chunk.size % 2)
        for chunk, data in _payloads(old, _known_chunks(old, order), skipped)
    )
    if kind == b"RIFF":
        _copy_channel_mask(old, new)
    if kind == b"RF64" and iff_kind(old) == b"BW64":  # the same but for its name
        new.seek(0)
        new.write(b"BW64")
    end = file_size(new)
    pad = b"\0" * (end % 2)
    size = end + len(pad) + len(extra) - 8
    if not extra or (kind != b"RF64" and size > 0xFFFFFFFF):
        return
    new.seek(end)
    new.write(pad + extra)
    if kind == b"RF64":
        ds64 = next(chunk for chunk in iff_chunks(new) if chunk.name == b"ds64")
        new.seek(ds64.offset)
        new.write(struct.pack("<Q", size))
    else:
        new.seek(4)
        new.write(struct.pack(order + "I", size))


def _known_chunks(file: BinaryIO, order: str) -> Iterator[Chunk]:
    """Up to the sound, and behind it where its size can be believed: else there is more sound."""
    for chunk in iff_chunks(file):
        yield chunk
        if chunk.name == b"data" and (
            not chunk.size or unread(file, chunk.offset + chunk.size + chunk.size % 2, order)
        ):
            return


def _payloads(file: BinaryIO, found: Iterable[Chunk], skipped: set[bytes]) -> Iterator[tuple[Chunk, bytes]]:
    """Chunks that travel, as they shall be written; those that are not all there and those beyond a limit do not."""
    end = file_size(file)
    total = 0
    for chunk in found:
        total += 0 if chunk.name in skipped else chunk.size
        if chunk.name in skipped or chunk.offset + chunk.size > end or total > _LARGEST:
            continue
        file.seek(chunk.offset)
        data = file.read(chunk.size)
        yield chunk, _without_loudness(data) if chunk.name == b"bext" else data


def _without_loudness(bext: bytes) -> bytes:
    """A broadcast chunk without the loudness that was measured of the input (EBU Tech 3285 v2: 0x7FFF is none)."""
    if len(bext) < 422 or struct.unpack_from("<H", bext, 346)[0] < 2:
        return bext
    return bext[:412] + struct.pack("<5h", *[0x7FFF] * 5) + bext[422:]


def _copy_w64_chunks(old: BinaryIO, new: BinaryIO) -> None:
    parts = []
    for chunk, data in _payloads(old, w64_chunks(old), {b"fmt ", b"data", b"fact", b"levl", b"junk"}):
        old.seek(chunk.offset - 24)
        parts.append(old.read(24) + data + b"\0" * (-len(data) % 8))
    end = file_size(new)
    extra = b"\0" * (-end % 8) + b"".join(parts)
    if parts:
        new.write(extra)
        new.seek(16)
        new.write(struct.pack("<Q", end + len(extra)))


def _copy_caf_chunks(old: BinaryIO, new: BinaryIO) -> None:
    parts = [
        struct.pack(">4sq", chunk.name, chunk.size) + data
        for chunk, data in _payloads(old, caf_chunks(old), _CAF_CHUNKS)
    ]
    file_size(new)
    new.write(b"".join(parts))


def _copy_channel_mask(old: BinaryIO, new: BinaryIO) -> None:
    """libsndfile guesses the speaker positions of an extensible header; the input knows them."""
    _, before = _fmt_chunk(old)
    offset, after = _fmt_chunk(new)
    extensible = struct.pack("<H", 0xFFFE)
    same = before[:2] == after[:2] == extensible and before[2:4] == after[2:4]
    if same and len(before) >= 40 and len(after) >= 40:
        new.seek(offset + 20)
        new.write(before[20:24])


def _flac_blocks(file: BinaryIO) -> tuple[list[tuple[int, bytes]], int, int]:
    """Metadata blocks ``(type, payload)``, the offset of the first, and that of the audio."""
    file.seek(0)
    start = mp3.id3v2_size(file.read(10))  # some taggers put one in front
    file.seek(start)
    if file.read(4) != b"fLaC":
        raise ValueError("not FLAC")
    blocks: list[tuple[int, bytes]] = []
    last = False
    while not last:
        if len(blocks) > MOST or sum(len(payload) for _, payload in blocks[-8:]) > _LARGEST:
            raise ValueError("FLAC metadata does not end")
        head = file.read(4)
        if len(head) < 4:
            raise ValueError("FLAC metadata is cut short")
        last = bool(head[0] & 0x80)
        blocks.append((head[0] & 0x7F, file.read(int.from_bytes(head[1:], "big"))))
    return blocks, start + 4, file.tell()


def _copy_flac(old: BinaryIO, new: BinaryIO) -> None:
    source, _, _ = _flac_blocks(old)
    blocks, start, end = _flac_blocks(new)
    vendor = next((payload for kind, payload in blocks if kind == 4), b"")
    blocks = [block for block in blocks if block[0] == 0]  # STREAMINFO is the encoder's own
    for kind, payload in source:
        if kind == 4 and vendor:
            payload = _with_vendor(payload, vendor)
        if kind in _FLAC_COPIED:
            blocks.append((kind, payload))
    points = next((payload for kind, payload in source if kind == _FLAC_SEEK_TABLE), b"")
    if points:
        blocks.append((_FLAC_SEEK_TABLE, seek_table(new, end, points)))
    parts = []
    for i, (kind, payload) in enumerate(blocks):
        head = kind | (0x80 if i == len(blocks) - 1 else 0)
        parts.append(bytes([head]) + len(payload).to_bytes(3, "big") + payload)
    splice(new, start, end, b"".join(parts))


def _with_vendor(comments: bytes, vendor_from: bytes) -> bytes:
    """Vorbis comments with the vendor string (who encoded) of another block."""
    _comments_end(comments)
    size = struct.unpack_from("<I", comments)[0]
    own = struct.unpack_from("<I", vendor_from)[0]
    return vendor_from[: 4 + own] + comments[4 + size :]


def _comments_end(block: bytes) -> int:
    """Offset behind a vendor string and so many comments.

    Raises:
        ValueError: they do not fit into the block.
    """
    try:
        position = 4 + struct.unpack_from("<I", block)[0]
        count = struct.unpack_from("<I", block, position)[0]
        position += 4
        for _ in range(count):
            position += 4 + struct.unpack_from("<I", block, position)[0]
    except struct.error as error:
        raise ValueError("its comments are damaged") from error
    if position > len(block):
        raise ValueError("its comments are damaged")
    return position


def _copy_ogg_comments(old: BinaryIO, new: BinaryIO) -> None:
    old.seek(0)
    opus = b"OpusHead" in old.read(512)
    count, prefix = (2, b"OpusTags") if opus else (3, b"\x03vorbis")
    source, _ = ogg.header_packets(old, count)
    packets, used = ogg.header_packets(new, count)
    if not (source[1].startswith(prefix) and packets[1].startswith(prefix)):
        raise ValueError("unexpected Ogg comment header")
    comments = source[1][len(prefix) :]
    if not opus:  # Vorbis ends its header with a bit that must be set
        comments = comments[: _comments_end(comments)] + b"\x01"
    packets[1] = prefix + _with_vendor(comments, packets[1][len(prefix) :])
    ogg.replace_headers(new, packets, used)


def _copy_mp3_tags(old: BinaryIO, new: BinaryIO) -> None:
    with mmap.mmap(old.fileno(), 0, access=mmap.ACCESS_READ) as data:
        head = data[: mp3.id3v2_size(data[:10])]
        if head and head[3] not in (2, 3, 4):
            raise ValueError("its ID3 tag is of a version that nobody knows")
        tail = data[mp3.tail_start(data, len(data)) :]
    new.seek(file_size(new))
    new.write(tail)
    new.seek(0)
    splice(new, 0, mp3.id3v2_size(new.read(10)), head)
