"""Reading and writing through libsndfile (the soundfile package)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio_enh.errors import AudioFileError
from audio_enh.io import ogg
from audio_enh.io.atomic import write_error
from audio_enh.io.info import AudioInfo
from audio_enh.io.integrity import Integrity
from audio_enh.io.mp3 import CountedMp3, count_frames
from audio_enh.io.opus import RetimedOgg
from audio_enh.io.samples import quantize, replace_nonfinite

#: Sample formats that take floats; all others are given integers of this many bits (16 where not listed).
_FLOATS = {"FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"}
_BITS = {
    "PCM_S8": 8,
    "PCM_U8": 8,
    "PCM_24": 24,
    "PCM_32": 32,
    "ALAC_20": 20,
    "ALAC_24": 24,
    "ALAC_32": 32,
    "DWVW_24": 24,
}
#: Bytes of a sample of plain formats.
UNCOMPRESSED_BYTES = {
    "PCM_U8": 1,
    "PCM_S8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
}
#: What libsndfile says of a FLAC stream whose encoder wrote into a pipe.
_UNKNOWN_FRAMES = 2**62


class _SequentialFile(soundfile.SoundFile):
    """soundfile seeks after every read; in a FLAC stream of unknown length that fails at the end."""

    def seekable(self) -> bool:
        return False


def _name(path: Path) -> str | bytes:
    """As soundfile takes it: it would encode names itself, and fail for those that are no text."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def _open(path: Path, integrity: Integrity) -> tuple[_SequentialFile, int | None]:
    """Open for reading; also the number of frames, None if only the end will tell."""
    if integrity.wrong_pages:
        file = _SequentialFile(RetimedOgg(path, integrity.wrong_pages))
        return file, file.frames
    layout = integrity.mp3
    if layout is None or layout.header_fits:
        file = _SequentialFile(_name(path))
        return file, (file.frames if file.frames < _UNKNOWN_FRAMES else None)
    mpeg_frames, samples = count_frames(path, layout)
    if layout.layer != 3 or mpeg_frames == 0:  # layers I and II have no Xing header, and a constant bit rate
        return _SequentialFile(_name(path)), samples
    file = _SequentialFile(CountedMp3(path, layout, mpeg_frames))
    return file, file.frames


def probe_soundfile(path: Path, integrity: Integrity) -> AudioInfo:
    """Read the header.

    Raises:
        soundfile.LibsndfileError: libsndfile does not know what this is.
    """
    file, frames = _open(path, integrity)
    with file:
        truncated = integrity.truncated
        frames = _without_chunks(frames, file.subtype, file.channels, integrity)
        if truncated is None and file.format == "FLAC" and frames and not _flac_has_end(path, frames):
            truncated = "cut short: it ends before the last of the samples its header promises"
        return AudioInfo(
            path=path,
            sample_rate=file.samplerate,
            channels=file.channels,
            frames=frames,
            format=file.format,
            subtype=file.subtype,
            endian=file.endian,
            bit_rate=_bit_rate(path, file.subtype, frames, file.samplerate, integrity),
            constant_bit_rate=integrity.mp3 is not None and integrity.mp3.constant_bit_rate,
            tags={key: value for key, value in file.copy_metadata().items() if value},
            truncated=truncated,
            warnings=tuple(f"{path}: {line}" for line in integrity.warnings),
        )


def _without_chunks(frames: int | None, subtype: str, channels: int, integrity: Integrity) -> int | None:
    """Frames without the chunks behind the sound, which libsndfile counts in W64 files."""
    size = channels * UNCOMPRESSED_BYTES.get(subtype, 0)
    if frames is None or integrity.sound_bytes is None or not size:
        return frames
    return min(frames, integrity.sound_bytes // size)


def _flac_has_end(path: Path, frames: int) -> bool:
    try:
        with soundfile.SoundFile(_name(path)) as file:
            file.seek(frames - 1)
            return len(file.read(1)) == 1
    except soundfile.LibsndfileError:
        return False


def _bit_rate(
    path: Path, subtype: str, frames: int | None, sample_rate: int, integrity: Integrity
) -> int | None:
    """Bits per second of lossy audio; for Vorbis the nominal rate, which its quality setting fixes."""
    if subtype not in _FLOATS or subtype in ("FLOAT", "DOUBLE") or not frames:
        return None
    if subtype == "VORBIS":
        with path.open("rb") as file:
            nominal = _vorbis_nominal_rate(file.read(4096))
        if nominal > 0:
            return nominal
    layout = integrity.mp3
    size = path.stat().st_size if layout is None else layout.end - layout.start
    if subtype == "OPUS":
        with path.open("rb") as file, contextlib.suppress(ValueError):
            size -= ogg.header_packets(file, 2)[1][-1].end  # pictures are in there
    return round(8 * size * sample_rate / frames)


def _vorbis_nominal_rate(head: bytes) -> int:
    """Nominal bit rate of a Vorbis identification header (Vorbis I, 4.2.2); 0 if it gives none."""
    start = head.find(b"\x01vorbis")
    return struct.unpack_from("<i", head, start + 20)[0] if 0 <= start <= len(head) - 24 else 0


class SoundFileSource:
    """Samples of a file, in order."""

    def __init__(self, info: AudioInfo, integrity: Integrity) -> None:
        assert info.path is not None
        self.info = info
        self._file, _ = _open(info.path, integrity)
        self._left = info.frames if integrity.sound_bytes is not None else None

    def read(self, frames: int) -> NDArray[np.float32]:
        """Up to ``frames`` frames, ``(n, channels)``; 0 frames at the end."""
        if self._left is not None:
            frames = min(frames, self._left)
            self._left -= frames
        try:
            return self._file.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioFileError(f"{self.info.name} is damaged: {error.error_string}") from error

    def close(self) -> None:
        self._file.close()


class _GuardedFile:
    """A file for libsndfile's virtual I/O that remembers the first error.

    libsndfile and its encoders may drop a short write; and an exception cannot cross the C code between. So
    after an error all writes seem to succeed, and ``error`` tells. The file then ends with the last block that
    was written whole, and no more is appended.

    Args:
        path: the file.
        mends_header: go on writing after an error where the file is already, so that a header that is corrected at
            the end tells what is there.
    """

    def __init__(self, path: Path, mends_header: bool = False) -> None:
        self._file = path.open("w+b", buffering=0)
        self._mends_header = mends_header
        self._whole = 0
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is not None:
            if self._mends_header and self._file.tell() + len(data) <= self._whole:
                with contextlib.suppress(OSError):
                    self._file.write(data)
            return len(data)
        view = memoryview(data)
        try:
            while len(view):
                view = view[self._file.write(view) :]
            self._whole = max(self._whole, self._file.tell())
        except OSError as error:
            self.error = error
            with contextlib.suppress(OSError):
                self._file.truncate(self._whole)
        return len(data)

    def sync(self) -> None:
        """Have the disk keep what was written so far."""
        os.fsync(self._file.fileno())

    def readinto(self, buffer: bytearray) -> int:
        return self._file.readinto(buffer) or 0

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size) or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:  # network file systems report a full disk here
            self.error = self.error or error


@dataclass(frozen=True)
class Encoding:
    """How to write a file with libsndfile, in its terms.

    Attributes:
        bit_rate: for lossy formats, in bits per second; the encoder's default if None.
        constant_bit_rate: MP3 only.
    """

    sample_rate: int
    channels: int
    format: str
    subtype: str
    endian: str = "FILE"
    bit_rate: int | None = None
    constant_bit_rate: bool = False
    tags: dict[str, str] = field(default_factory=dict)

    def compression_level(self) -> float | None:
        """libsndfile's knob from 0 (best) to 1 that gives ``bit_rate``; None for the default."""
        if self.bit_rate is None:
            return None
        if self.subtype == "OPUS":  # linear from 256 to 6 kbit/s per channel
            level = (256_000 - self.bit_rate / self.channels) / 250_000
        elif self.subtype == "MPEG_LAYER_III":  # linear over the bit rates of MPEG-1, 2 and 2.5
            low, high = {True: (32, 320), False: (8, 160)}[self.sample_rate >= 32000]
            if self.sample_rate < 16000:
                high = 64
            level = (high - self.bit_rate / 1000) / (high - low)
        elif self.subtype == "VORBIS":
            level = self._vorbis_level(self.bit_rate)
        else:
            return None
        return min(max(level, 0.0), 0.99)  # LAME refuses 1

    def _vorbis_level(self, bit_rate: int) -> float:
        """Bisect: an empty stream's header already has the nominal bit rate of its quality."""
        low, high = 0.0, 0.99
        for _ in range(8):
            level = (low + high) / 2
            buffer = io.BytesIO()
            soundfile.SoundFile(
                buffer,
                "w",
                self.sample_rate,
                self.channels,
                format="OGG",
                subtype="VORBIS",
                compression_level=level,
            ).close()
            if _vorbis_nominal_rate(buffer.getvalue()) > bit_rate:
                low = level
            else:
                high = level
        return (low + high) / 2


def _empty_flac(encoding: Encoding, bits: int) -> bytes:
    """A FLAC stream without frames: the STREAMINFO block (RFC 9639, 8.2) with the MD5 of nothing."""
    fields = encoding.sample_rate << 44 | (encoding.channels - 1) << 41 | (bits - 1) << 36
    block = struct.pack(">HH6xQ", 4096, 4096, fields) + hashlib.md5(b"").digest()
    return b"fLaC\x80" + len(block).to_bytes(3, "big") + block


class SoundFileSink:
    """Encodes into ``path``; ``target`` is the name for messages.

    Attributes:
        clipped: samples beyond full scale so far, clipped (integer formats only).
        lost_tags: tags that the container does not take.
        path: see above.
    """

    def __init__(self, path: Path, target: Path, encoding: Encoding) -> None:
        self.path = path
        self.clipped = 0
        self.lost_tags: list[str] = []
        self._path, self._target = path, target
        self._encoding = encoding
        subtype = encoding.subtype
        self._bits = None if subtype in _FLOATS else _BITS.get(subtype, 16)
        self._lossy = subtype in _FLOATS and subtype not in ("FLOAT", "DOUBLE")
        bit_rate_mode = None
        if subtype == "MPEG_LAYER_III" and encoding.bit_rate is not None:
            bit_rate_mode = "CONSTANT" if encoding.constant_bit_rate else "AVERAGE"
        try:
            # A FLAC header counts all samples that were given, not those for which there was room.
            self._handle = _GuardedFile(path, mends_header=encoding.format != "FLAC")
        except OSError as error:
            raise write_error(error, target) from error
        try:
            self._file = soundfile.SoundFile(
                self._handle,
                "w",
                encoding.sample_rate,
                encoding.channels,
                subtype=subtype,
                endian=encoding.endian,
                format=encoding.format,
                compression_level=encoding.compression_level(),
                bitrate_mode=bit_rate_mode,
            )
        except (soundfile.LibsndfileError, ValueError) as error:
            self._handle.close()
            self._raise_if_failed()
            raise self._refusal() from error
        for key, value in encoding.tags.items():
            try:
                setattr(self._file, key, value)
            except soundfile.LibsndfileError:
                self.lost_tags.append(key)

    def _refusal(self) -> AudioFileError:
        made = self._encoding
        what = f"{made.channels} channels at {made.sample_rate} Hz"
        return AudioFileError(
            f"{self._target}: {made.format} ({made.subtype}) cannot hold {what}: name an output such as .wav"
        )

    def _raise_if_failed(self) -> None:
        if self._handle.error is not None:
            raise write_error(self._handle.error, self._target) from self._handle.error

    def write(self, audio: NDArray[np.float32]) -> None:
        """Append ``(n, channels)`` samples."""
        # libvorbis keeps its analysis buffers on the stack: large writes have crashed it.
        for start in range(0, len(audio), 8192):
            block = np.ascontiguousarray(audio[start : start + 8192], dtype=np.float32)
            data: NDArray[np.generic] = block
            if self._bits is not None:
                data, clipped = quantize(np.asarray(replace_nonfinite(block), np.float32), self._bits)
                self.clipped += clipped
            elif self._lossy:  # encoders hang or crash on NaN; float formats keep it
                data = np.asarray(replace_nonfinite(block), np.float32)
            try:
                self._file.write(np.ascontiguousarray(data))
            except soundfile.LibsndfileError as error:  # some encoders start only now
                raise self._refusal() from error
            self._raise_if_failed()

    def close(self) -> None:
        """Finish the file.

        Raises:
            AudioFileError: not all of it could be written.
        """
        self._file.close()
        if self._encoding.format == "FLAC" and self._handle.tell() == 0:
            # libFLAC writes its header with the first sample, and leaves an empty file without one.
            self._handle.write(_empty_flac(self._encoding, self._bits or 16))
        self._handle.close()
        self._raise_if_failed()

    def sync(self) -> None:
        """Have the disk keep what was written so far, come what may to the machine."""
        self._handle.sync()

    def salvage(self) -> None:
        """Close after an error, so that what was written until then can be read; for WAV and FLAC."""
        self.abort()
        if self._encoding.format != "FLAC":
            # The header promises all the samples that were given. Opened again it is corrected to what is there.
            with contextlib.suppress(soundfile.LibsndfileError):
                soundfile.SoundFile(self._path, "r+").close()

    def abort(self) -> None:
        """Close, whatever state things are in."""
        with contextlib.suppress(soundfile.LibsndfileError):
            self._file.close()
        self._handle.close()
