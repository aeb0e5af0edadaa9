"""Writing a pack: audio files decoded once, end to end in one file of int16 samples, in bounded memory.

A pack is two files of the cache: ``KEY.i16``, the samples, and ``KEY.npz``, the index. Every 1024 samples share a
scale, a power of two just above their peak. So 16-bit files are kept to the bit, and neither what is above full scale
nor what is very quiet is lost: the error is below -90 dB of the loudest sample around. Each channel begins at a scale
of its own.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import soxr

from audio_enh.dsp.resample import StreamResampler
from audio_enh.errors import AudioFileError
from audio_enh.io import AudioReader, read_audio
from audio_enh.io.atomic import write_error
from audio_enh.sources.channels import Downmix
from audio_enh.sources.rooms import has_one_onset

#: Samples that share a scale.
BLOCK = 1024
#: Of a decoded file, kept in memory at most; longer ones wait on the disk for their turn.
_SPOOL = 2 << 20
# Of the index, per file.
_FIELDS = ("begin", "length", "channels", "rate", "peak", "cancelled")


@dataclass(frozen=True)
class Source:
    """A file to pack, as it was found: a pack is for exactly these."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Source:
        """The file as it is now; of size -1 if it is missing."""
        try:
            stat = path.stat()
        except OSError:
            return cls(str(path), -1, 0)
        return cls(str(path), stat.st_size, stat.st_mtime_ns)


class Index:
    """What lies where in a pack.

    Attributes:
        sample_rate: of the pack, in Hz.
        begin, length, channels: place of each file's first sample, samples of a channel, and channels; ``(files,)``.
        rate: sample rates of the files themselves, in Hz, ``(files,)``.
        peak: largest magnitude of each file, ``(files,)``.
        cancelled: whether the mean of a file's channels was given up for the loudest one, ``(files,)``.
        exponents: of two, one for each block: the scale that its samples lack, ``(blocks,)``.
        any_broken: whether a file could not be used.
    """

    def __init__(self, path: Path):
        self._path = path
        with np.load(path, allow_pickle=False) as content:
            self.begin, self.length, self.channels, self.rate, self.peak, self.cancelled = (
                content[name] for name in _FIELDS
            )
            self.exponents = content["exponents"]
            self.sample_rate = int(content["sample_rate"])
        self.any_broken = not self.length.all()

    @functools.cached_property
    def _head(self) -> dict[str, Any]:
        # Names of very many files: not read by data workers, which do without.
        with np.load(self._path, allow_pickle=False) as content:
            return dict(json.loads(content["head"].tobytes()))

    @property
    def sources(self) -> list[Source]:
        """All files, those that could not be used among them."""
        return [Source(*source) for source in self._head["sources"]]

    @property
    def broken(self) -> dict[int, str]:
        """Number among ``sources``, and why that file could not be used."""
        return {int(number): str(why) for number, why in self._head["broken"].items()}


def write_pack(
    sources: Sequence[Source], sample_rate: int, data_path: Path, index_path: Path, rooms: bool
) -> None:
    """Decode ``sources`` into a pack.

    Args:
        sources: audio files of any rate, length and channel count.
        sample_rate: in Hz.
        data_path, index_path: files to make.
        rooms: keep all channels, and take only those with one onset (:func:`has_one_onset`); otherwise channels
            are mixed (:class:`Downmix`).

    Raises:
        AudioFileError: the cache cannot be written.
    """
    try:
        data_path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_path.parent, prefix=f".{data_path.stem}-") as temporary:
            data, index = Path(temporary, "data"), Path(temporary, "index.npz")
            with data.open("wb") as file:
                content = _write_samples(sources, sample_rate, file, Path(temporary), rooms)
            np.savez(index, allow_pickle=False, **content)
            data.replace(data_path)
            index.replace(index_path)
    except OSError as error:
        raise write_error(error, data_path) from error


def _write_samples(
    sources: Sequence[Source], sample_rate: int, file: IO[bytes], spool: Path, rooms: bool
) -> dict[str, np.ndarray]:
    rows: list[tuple[float, ...]] = []
    exponents: list[np.ndarray] = [np.zeros(0, np.int8)]
    broken: dict[int, str] = {}
    place = 0
    # soundfile and soxr release the interpreter lock, so threads are enough. Only so many files are decoded ahead.
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        left = iter(sources)
        for number in range(len(sources)):
            for source in left:
                waiting.append(pool.submit(_decode, source.path, sample_rate, spool, rooms))
                if len(waiting) >= 2 * workers:
                    break
            part = waiting.popleft().result()
            if isinstance(part, str):
                broken[number] = part
                rows.append((place, 0, 0, 0, 0, 0))
                continue
            with part.samples as samples:
                samples.seek(0)
                shutil.copyfileobj(samples, file, 1 << 20)
            rows.append((place, part.length, part.channels, part.rate, part.peak, part.cancelled))
            exponents += part.exponents
            place += BLOCK * sum(len(each) for each in part.exponents)
    head = {"sources": [astuple(source) for source in sources], "broken": broken}
    kinds = (np.int64, np.int64, np.int32, np.int32, np.float32, np.bool_)
    columns = np.array(rows, np.float64).reshape(-1, len(_FIELDS)).T
    return {
        "head": np.frombuffer(json.dumps(head).encode(), np.uint8),
        "exponents": np.concatenate(exponents),
        "sample_rate": np.array(sample_rate),
        **{name: column.astype(kind) for name, column, kind in zip(_FIELDS, columns, kinds, strict=True)},
    }


class _Part:
    """A decoded file on its way into the pack."""

    def __init__(self, rate: int, spool: Path):
        self.samples: IO[bytes] = tempfile.SpooledTemporaryFile(_SPOOL, dir=str(spool))  # noqa: SIM115, closed by the reader
        self.exponents: list[np.ndarray] = []
        self.length = 0
        self.channels = 1
        self.rate = rate
        self.peak = 0.0
        self.cancelled = False
        self._rest = np.zeros(0, np.float32)

    def add(self, audio: np.ndarray) -> None:
        """Append ``(n,)`` samples of the channel in work."""
        self.length += len(audio)
        audio = np.concatenate([self._rest, audio])
        whole = len(audio) // BLOCK * BLOCK
        self._rest = audio[whole:]
        if whole:
            self._quantise(audio[:whole].reshape(-1, BLOCK))

    def end(self) -> None:
        """End the channel in work; the next one begins at a block of its own."""
        if len(self._rest):
            self._quantise(np.pad(self._rest, (0, BLOCK - len(self._rest)))[None])
            self._rest = self._rest[:0]

    def _quantise(self, blocks: np.ndarray) -> None:
        peaks = np.abs(blocks).max(axis=1)
        self.peak = max(self.peak, float(peaks.max()))
        mantissa, exponent = np.frexp(peaks)
        # A peak of a power of two still fits: -32768 is full scale.
        exponent = np.clip(np.where(mantissa == 0.5, exponent - 1, exponent), -110, 127)
        scaled = np.round(np.ldexp(blocks, (15 - exponent)[:, None]))
        self.samples.write(np.minimum(scaled, 32767).astype(np.int16).tobytes())
        self.exponents.append(exponent.astype(np.int8))


def _decode(path: str, sample_rate: int, spool: Path, rooms: bool) -> _Part | str:
    """The decoded file, or what is wrong with it."""
    try:
        part = _decode_room(path, sample_rate, spool) if rooms else _decode_mono(path, sample_rate, spool)
    except AudioFileError as error:
        return str(error)
    if part.length == 0:
        return f"'{path}' is empty"
    return part


def _decode_mono(path: str, sample_rate: int, spool: Path, channel: int | None = None) -> _Part:
    with AudioReader(path) as reader:
        rate = reader.info.sample_rate
        downmix = Downmix(reader.info.channels)
        resampler = StreamResampler(rate, sample_rate, 1)
        part = _Part(rate, spool)
        part.cancelled = channel is not None
        for block in reader.blocks():
            if not np.isfinite(block).all():
                raise AudioFileError(f"'{path}' contains NaN or infinite samples")
            mono = downmix(block) if channel is None else block[channel]
            part.add(resampler.process(mono[None])[0])
        rest = resampler.flush()[0]
        # The length is that of soxr's one-shot resampler, on which drawn test sets depend.
        surplus = part.length + len(rest) - int(reader.frames_read * sample_rate / rate + 0.5)
        part.add(rest[: max(len(rest) - surplus, 0)])
        part.end()
    if downmix.instead is not None:
        return _decode_mono(path, sample_rate, spool, downmix.instead)
    return part


def _decode_room(path: str, sample_rate: int, spool: Path) -> _Part:
    channels, rate = room_channels(Path(path))
    part = _Part(rate, spool)
    part.channels = len(channels)
    for channel in channels:
        part.add(channel if rate == sample_rate else soxr.resample(channel, rate, sample_rate))
        part.end()
    part.length //= len(channels)
    return part


def room_channels(path: Path) -> tuple[np.ndarray, int]:
    """The channels of a room response that are one, ``(channels, samples)``, and the sample rate in Hz.

    Raises:
        AudioFileError: the file cannot be read, or none of its channels is a response.
    """
    audio, rate = read_audio(path)
    if not audio.size:
        raise AudioFileError(f"'{path}' is empty")
    if not np.isfinite(audio).all():
        raise AudioFileError(f"'{path}' contains NaN or infinite samples")
    rooms = [channel for channel in audio if has_one_onset(channel, rate)]
    if not rooms:
        raise AudioFileError(
            f"'{path}' is no room response: it has no single onset that dies away (a recording of noise?)"
        )
    return np.stack(rooms), rate


@dataclass(frozen=True)
class StoredPack:
    """A pack in the cache.

    Attributes:
        files: what it consists of.
        size: bytes on the disk.
        used: when it was used last, seconds since 1970.
        problem: why nothing can use it any more, or None.
        hours, sample_rate, sources: duration, rate in Hz and number of files; None where it cannot be told.
        example: the first of its files.
    """

    files: tuple[Path, ...]
    size: int
    used: float
    problem: str | None
    hours: float | None = None
    sample_rate: int | None = None
    sources: int | None = None
    example: str = ""

    def remove(self) -> None:
        """Delete it from the disk."""
        for file in self.files:
            if file.is_dir():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink(missing_ok=True)


def stored_packs(cache: Path) -> list[StoredPack]:
    """All packs of a cache, those of earlier versions and what a killed run left among them."""
    if not cache.is_dir():
        return []
    names: dict[str, list[Path]] = {}
    for path in sorted(cache.iterdir()):
        name = path.name.lstrip(".").split(".")[0].split("-")[0]
        if len(name) == 16 and not set(name) - set("0123456789abcdef"):
            names.setdefault(path.name if path.is_dir() else name, []).append(path)
    return [_stored(tuple(paths)) for paths in names.values()]


def _stored(files: tuple[Path, ...]) -> StoredPack:
    size, used = 0, 0.0
    for path in (f for file in files for f in ([file] if file.is_file() else file.rglob("*"))):
        with contextlib.suppress(OSError):
            size, used = size + path.stat().st_size, max(used, path.stat().st_mtime)
    suffixes = {file.suffix for file in files}
    if files[0].is_dir():
        return StoredPack(files, size, used, "left by a run that was killed, or being made now")
    if suffixes != {".i16", ".npz"}:
        return StoredPack(files, size, used, "of an earlier version")
    try:
        index = Index(next(file for file in files if file.suffix == ".npz"))
    except (OSError, ValueError, KeyError) as error:
        return StoredPack(files, size, used, f"damaged: {error}")
    sources = index.sources
    changed = sum(Source.of(Path(source.path)) != source for source in sources)
    problem = f"{changed} of its files are gone or changed" if changed else None
    hours = float(index.length.sum()) / index.sample_rate / 3600
    example = sources[0].path if sources else ""
    return StoredPack(files, size, used, problem, hours, index.sample_rate, len(sources), example)
