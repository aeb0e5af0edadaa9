"""Tags and everything else around the audio, carried over byte for byte within one container.

libsndfile knows ten tags and drops the rest: pictures, ReplayGain, broadcast (bext), iXML, cue points. Where
input and output are of the same kind, the blocks are copied as they are instead.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import BinaryIO

from audio_enh.io import mp3, ogg
from audio_enh.io.chunks import file_size, iff_chunks, iff_kind, splice

#: Chunks that describe the encoding or only fill space; all others travel.
_AUDIO_CHUNKS = {b"fmt ", b"data", b"fact", b"PEAK", b"ds64", b"levl", b"slnt", b"wavl"}
_FILLERS = {b"JUNK", b"junk", b"PAD ", b"FLLR", b"filr"}
_AIFF_CHUNKS = {b"COMM", b"SSND", b"FVER", b"PEAK", b"CHAN"}
_LARGEST = 64 << 20
_FLAC_COPIED = {4, 5, 6}  # VORBIS_COMMENT, CUESHEET, PICTURE


def can_copy(source_format: str, target_format: str, source_subtype: str, target_subtype: str) -> bool:
    """Whether ``copy_metadata`` works between two libsndfile formats."""
    wav = {"WAV", "WAVEX", "RF64"}
    if source_format in wav and target_format in wav:
        return True
    if target_format == "OGG":
        return source_format == "OGG" and source_subtype == target_subtype in ("VORBIS", "OPUS")
    return source_format == target_format and target_format in ("FLAC", "MP3", "AIFF")


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
            return chunk.offset, file.read(chunk.size)
    return 0, b""


def _copy_chunks(old: BinaryIO, new: BinaryIO) -> None:
    kind = iff_kind(new)
    order = ">" if kind == b"FORM" else "<"
    skipped = (_AIFF_CHUNKS if kind == b"FORM" else _AUDIO_CHUNKS) | _FILLERS
    old_end = file_size(old)
    extra = b""
    for chunk in iff_chunks(old):
        if chunk.name in skipped or chunk.offset + chunk.size > old_end:
            continue
        old.seek(chunk.offset)
        if len(extra) + chunk.size <= _LARGEST:
            data = old.read(chunk.size)
            extra += struct.pack(order + "4sI", chunk.name, chunk.size) + data + b"\0" * (chunk.size % 2)
    if kind == b"RIFF":
        _copy_channel_mask(old, new)
    end = file_size(new)
    pad = b"\0" * (end % 2)
    size = end + len(pad) + len(extra) - 8
    if not extra or (kind != b"RF64" and size > 0xFFFFFFFF):
        return
    new.write(pad + extra)
    if kind == b"RF64":
        ds64 = next(chunk for chunk in iff_chunks(new) if chunk.name == b"ds64")
        new.seek(ds64.offset)
        new.write(struct.pack("<Q", size))
    else:
        new.seek(4)
        new.write(struct.pack(order + "I", size))


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
    blocks = []
    last = False
    while not last:
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
    data = b""
    for i, (kind, payload) in enumerate(blocks):
        head = kind | (0x80 if i == len(blocks) - 1 else 0)
        data += bytes([head]) + len(payload).to_bytes(3, "big") + payload
    splice(new, start, end, data)


def _with_vendor(comments: bytes, vendor_from: bytes) -> bytes:
    """Vorbis comments with the vendor string (who encoded) of another block."""
    size = struct.unpack_from("<I", comments)[0]
    own = struct.unpack_from("<I", vendor_from)[0]
    return vendor_from[: 4 + own] + comments[4 + size :]


def _copy_ogg_comments(old: BinaryIO, new: BinaryIO) -> None:
    old.seek(0)
    opus = b"OpusHead" in old.read(512)
    count, prefix = (2, b"OpusTags") if opus else (3, b"\x03vorbis")
    source, _ = ogg.header_packets(old, count)
    packets, used = ogg.header_packets(new, count)
    if not (source[1].startswith(prefix) and packets[1].startswith(prefix)):
        raise ValueError("unexpected Ogg comment header")
    size = len(prefix)
    packets[1] = prefix + _with_vendor(source[1][size:], packets[1][size:])
    ogg.replace_headers(new, packets, used)


def _copy_mp3_tags(old: BinaryIO, new: BinaryIO) -> None:
    with mmap.mmap(old.fileno(), 0, access=mmap.ACCESS_READ) as data:
        head = data[: mp3.id3v2_size(data[:10])]
        tail = data[mp3.tail_start(data, len(data)) :]
    new.seek(file_size(new))
    new.write(tail)
    new.seek(0)
    splice(new, 0, mp3.id3v2_size(new.read(10)), head)
