"""Is all of a file there? Decoders rarely say: libsndfile shortens a cut WAV without a word."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from audio_enh.io import chunks, mp3, ogg, opus


@dataclass(frozen=True)
class Integrity:
    """What the container's own sizes say about a file.

    Attributes:
        truncated: "cut short: ..." or "damaged: ..."; None if it is whole, or the format cannot tell.
        unfinished: a WAV file whose recorder never wrote the sizes; its audio runs to the end of the file.
        several_streams: an Ogg file of several streams, side by side (video) or one after the other
            (libsndfile reads the first only, and says nothing).
        mp3: layout of an MPEG audio file.
        wrong_pages: Opus pages whose times are wrong, and the right ones.
        warnings: what else should be told of the file.
    """

    truncated: str | None = None
    unfinished: bool = False
    several_streams: bool = False
    mp3: mp3.Mp3Layout | None = None
    wrong_pages: tuple[tuple[ogg.Page, int], ...] = ()
    warnings: tuple[str, ...] = ()


def examine(path: Path) -> Integrity:
    """Compare what a file's headers promise with what is there.

    Unknown formats pass, and headers that make no sense: the decoders will say what is wrong with them.
    """
    try:
        return _examine(path)
    except (struct.error, IndexError):
        return Integrity()


def _examine(path: Path) -> Integrity:
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:] == b"AVI ":
            return _examine_avi(file)
        if head[:4] in (b"RIFF", b"RF64", b"BW64", b"FORM"):
            return _examine_iff(file)
        if head[:4] == b"OggS":
            return _examine_ogg(file)
        if head[4:8] == b"ftyp":
            return _examine_mp4(file)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return _examine_matroska(file)
        if head[:4] == b"riff":
            return _examine_w64(file)
        if head[:4] == b".snd":
            return _examine_au(file)
        if head[:4] == b"caff":
            return _examine_caf(file)
        flac = _is_flac(file, head)
    if not flac and (head[:3] == b"ID3" or path.suffix.lower() in (".mp3", ".mp2", ".mpga")):
        layout = mp3.scan(path)
        if layout is not None:
            missing = _share(1 - layout.missing) if layout.missing else None
            return Integrity(truncated=missing, mp3=layout)
    return Integrity()


def _is_flac(file: BinaryIO, head: bytes) -> bool:
    file.seek(mp3.id3v2_size(head[:10]))  # some taggers put ID3v2 before FLAC
    return file.read(4) == b"fLaC"


def _share(present: float) -> str:
    return f"cut short: only {100 * present:.1f} % of what its header promises is there"


def _compare(promised: int, present: int) -> str | None:
    return _share(present / promised) if present < promised else None


def _examine_iff(file: BinaryIO) -> Integrity:
    end = chunks.file_size(file)
    file.seek(4)
    riff_size = struct.unpack("<I", file.read(4))[0]
    for chunk in chunks.iff_chunks(file):
        present = max(0, end - chunk.offset)
        if chunk.name == b"data" and chunk.size == 0 and present and riff_size <= chunk.offset - 8:
            # Neither size was ever filled in: the recorder crashed, or wrote into a pipe.
            return Integrity(unfinished=True)
        if chunk.name in (b"data", b"SSND"):
            if chunks.is_unknown_size(chunk.size) and chunk.size > present:
                return Integrity()
            return Integrity(truncated=_compare(chunk.size, present))
        if chunk.offset + chunk.size > end:
            return Integrity(truncated="cut short: it ends before its audio begins")
    return Integrity()


def _examine_avi(file: BinaryIO) -> Integrity:
    """Parts of up to a gigabyte, one after the other; recordings that were not finished promise too little."""
    end = chunks.file_size(file)
    position = 0
    while position + 12 <= end:
        file.seek(position)
        name, size, kind = struct.unpack("<4sI4s", file.read(12))
        if name != b"RIFF" or kind not in (b"AVI ", b"AVIX") or size < 4:
            break
        position += 8 + size + size % 2
    return Integrity(truncated=_compare(position, end) if position > end + 1 else None)


def _examine_w64(file: BinaryIO) -> Integrity:
    file.seek(16)
    promised = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]  # the whole file, by the riff GUID's size
    return Integrity(truncated=_compare(promised, chunks.file_size(file)))


def _examine_au(file: BinaryIO) -> Integrity:
    file.seek(4)
    offset, size = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
    if chunks.is_unknown_size(size):
        return Integrity()
    return Integrity(truncated=_compare(size, max(0, chunks.file_size(file) - offset)))


def _examine_caf(file: BinaryIO) -> Integrity:
    end = chunks.file_size(file)
    position = 8
    while position + 12 <= end:
        file.seek(position)
        name, size = struct.unpack(">4sq", file.read(12))
        position += 12
        if name == b"data":  # -1: until the end of the file
            return Integrity(truncated=_compare(size, end - position))
        position += max(size, 0)
    return Integrity()


def _examine_ogg(file: BinaryIO) -> Integrity:
    end = chunks.file_size(file)
    last = ogg.last_page(file)
    if last is None:
        return Integrity(truncated="cut short: no whole page is left")
    if last.end > end:
        return Integrity(truncated="cut short: it ends in the middle of a page")
    pages = list(ogg.pages(file))
    if any(page.serial != last.serial for page in pages):
        return Integrity(several_streams=True)
    if pages[-1] != last or any(page.sequence != i for i, page in enumerate(pages, pages[0].sequence)):
        return Integrity(truncated="damaged: pages are missing in its middle")
    file.seek(pages[0].body)
    wrong = opus.wrong_pages(file) if file.read(8) == b"OpusHead" else []
    warnings = () if last.flags & 4 else ("it has no end-of-stream mark: its end may be missing",)
    return Integrity(wrong_pages=tuple(wrong), warnings=warnings)


def _examine_mp4(file: BinaryIO) -> Integrity:
    end = chunks.file_size(file)
    names = set()
    for box in chunks.mp4_boxes(file):
        names.add(box.name)
        if box.offset + box.size > end:
            return Integrity(truncated=_compare(box.offset + box.size, end))
    if b"moov" not in names and b"moof" not in names:
        return Integrity(truncated="cut short: its index (moov) is missing, the recording was not finished")
    return Integrity()


def _vint(file: BinaryIO, keep_marker: bool) -> tuple[int, bool]:
    """An EBML variable-length integer, and whether it is the reserved "unknown" (all ones)."""
    first = file.read(1)
    if not first or not first[0]:
        return 0, True
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(length - 1), "big")
    ones = (1 << 7 * length) - 1
    return (value if keep_marker else value & ones), value & ones == ones


def _examine_matroska(file: BinaryIO) -> Integrity:
    end = chunks.file_size(file)
    file.seek(4)
    size, _ = _vint(file, keep_marker=False)
    file.seek(size, 1)
    name, _ = _vint(file, keep_marker=True)
    size, unknown = _vint(file, keep_marker=False)
    if name != 0x18538067 or unknown:  # Segment; live recordings leave its size unknown
        return Integrity()
    return Integrity(truncated=_compare(file.tell() + size, end))
