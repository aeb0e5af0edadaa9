"""Is all of a file there? Decoders rarely say: libsndfile shortens a cut WAV without a word."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from audio_enh.io import chunks, mp3, ogg, opus
from audio_enh.io.flac import announced_and_found

#: Bytes behind the audio that fill up a sector, and are not worth a word.
_LONGEST_PADDING = 4096


@dataclass(frozen=True)
class Integrity:
    """What the container's own sizes say about a file.

    Attributes:
        truncated: "cut short: ..." or "damaged: ..."; None if it is whole, or the format cannot tell.
        unfinished: a WAV file whose recorder never wrote the sizes; its audio runs to the end of the file.
        data_bytes: of the audio of a WAV file that has to be read by our own reader: its size has outgrown the header
            (a 32-bit field starts anew at 4 GiB), or it is BW64, which libsndfile does not know.
        sound_bytes: of the audio of a W64 file, of which libsndfile takes all that follows for sound.
        several_streams: an Ogg file of several streams, side by side (video) or one after the other
            (libsndfile reads the first only, and says nothing), or an MP3 file of which the parts differ.
        mp3: layout of an MPEG audio file.
        wrong_pages: Opus pages whose times are wrong, and the right ones.
        warnings: what else should be told of the file.
    """

    truncated: str | None = None
    unfinished: bool = False
    data_bytes: int | None = None
    sound_bytes: int | None = None
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
        if flac:
            return _examine_flac(file, head)
    if head[:3] == b"ID3" or path.suffix.lower() in (".mp3", ".mp2", ".mpga"):
        layout = mp3.scan(path)
        if layout is not None:
            missing = _share(1 - layout.missing) if layout.missing else None
            if mp3.is_mixed(path, layout):
                warning = (
                    "rate or channels change on the way: all of it is converted to those of its beginning"
                )
                return Integrity(several_streams=True, mp3=layout, warnings=(warning,))
            return Integrity(truncated=missing, mp3=layout)
    return Integrity()


def _is_flac(file: BinaryIO, head: bytes) -> bool:
    file.seek(mp3.id3v2_size(head[:10]))  # some taggers put ID3v2 before FLAC
    return file.read(4) == b"fLaC"


def _examine_flac(file: BinaryIO, head: bytes) -> Integrity:
    announced, found = announced_and_found(file, mp3.id3v2_size(head[:10]))
    if not announced or found <= announced:
        return Integrity()
    return Integrity(
        warnings=(
            f"its header announces {announced} samples, and it holds more than {found}: they are left unread",
        )
    )


def _share(present: float) -> str:
    return f"cut short: only {100 * present:.1f} % of what its header promises is there"


def _compare(promised: int, present: int) -> str | None:
    return _share(present / promised) if present < promised else None


def _examine_iff(file: BinaryIO) -> Integrity:
    end = chunks.file_size(file)
    file.seek(4)
    riff_size = struct.unpack("<I", file.read(4))[0]
    kind = chunks.iff_kind(file)
    for chunk in chunks.iff_chunks(file):
        present = max(0, end - chunk.offset)
        if chunk.name == b"data" and chunk.size == 0 and present and riff_size <= chunk.offset - 8:
            # Neither size was ever filled in: the recorder crashed, or wrote into a pipe.
            return Integrity(unfinished=True)
        if chunk.name in (b"data", b"SSND"):
            own = min(chunk.size, present) if kind == b"BW64" else None
            if chunks.is_unknown_size(chunk.size) and chunk.size > present:
                return Integrity(data_bytes=own)
            if chunk.size >= present:
                return Integrity(truncated=_compare(chunk.size, present), data_bytes=own)
            return _look_behind(file, chunk, "<" if chunk.name == b"data" else ">", own)
        if chunk.offset + chunk.size > end:
            return Integrity(truncated="cut short: it ends before its audio begins")
    return Integrity()


def _look_behind(file: BinaryIO, chunk: chunks.Chunk, order: str, own: int | None) -> Integrity:
    """What follows the audio should be chunks; more audio, if a header's 32 bits were too few for its size."""
    end = chunks.file_size(file)
    full = chunk.size + ((end - chunk.offset - chunk.size) >> 32 << 32)
    if order == "<" and full > chunk.size and not chunks.unread(file, chunk.offset + full + full % 2, order):
        warning = "its size has outgrown its header, which has room for 4 GiB; all of it is read"
        return Integrity(data_bytes=full, warnings=(warning,))
    left = chunks.unread(file, chunk.offset + chunk.size + chunk.size % 2, order)
    if not left:
        return Integrity(data_bytes=own)
    return Integrity(data_bytes=own, warnings=(_unread(left),))


def _unread(size: int) -> str:
    return f"its header announces less than it holds: {size} bytes behind the sound are left unread"


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
    sound = next((chunk.size for chunk in chunks.w64_chunks(file) if chunk.name == b"data"), None)
    return replace(_compare_end(promised, chunks.file_size(file)), sound_bytes=sound)


def _compare_end(promised: int, present: int) -> Integrity:
    """Of containers in which nothing may follow what the header announces."""
    more = present - promised
    return Integrity(
        truncated=_compare(promised, present), warnings=(_unread(more),) if more > _LONGEST_PADDING else ()
    )


def _examine_au(file: BinaryIO) -> Integrity:
    file.seek(4)
    offset, size = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
    if chunks.is_unknown_size(size):
        return Integrity()
    return _compare_end(size, max(0, chunks.file_size(file) - offset))


def _examine_caf(file: BinaryIO) -> Integrity:
    end = chunks.file_size(file)
    found = None
    position = 8
    for chunk in chunks.caf_chunks(file):
        if found is not None and not chunks.is_name(chunk.name):
            break
        if chunk.name == b"data":
            if chunk.offset + chunk.size > end:
                return Integrity(truncated=_compare(chunk.size, max(end - chunk.offset, 0)))
            found = chunk
        position = chunk.offset + chunk.size
    more = end - position
    return Integrity(warnings=(_unread(more),) if found is not None and more > _LONGEST_PADDING else ())


def _examine_ogg(file: BinaryIO) -> Integrity:
    end = chunks.file_size(file)
    last = ogg.last_page(file)
    if last is None:
        return Integrity(truncated="cut short: no whole page is left")
    if last.end > end:
        return Integrity(truncated="cut short: it ends in the middle of a page")
    first = page = ogg.read_page(file, 0)
    missing = False
    for number, page in enumerate(ogg.pages(file)):
        if page.serial != last.serial:
            return Integrity(several_streams=True)
        missing = missing or (first is not None and page.sequence != first.sequence + number)
    if first is None or page != last or missing:
        return Integrity(truncated="damaged: pages are missing in its middle")
    file.seek(first.body)
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
