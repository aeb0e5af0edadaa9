"""Many audio files as one memory-mapped array: decoded once, then read at random for free."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

from audio_enh.errors import AudioFileError, UserError
from audio_enh.sources.folders import AudioFolder, PairFolder, manifest_rows
from audio_enh.sources.packing import BLOCK, Index, Source, write_pack

__all__ = ["SILENT", "AudioFolder", "PackedAudio", "PairFolder", "manifest_rows", "pack_pairs"]

log = logging.getLogger(__name__)

#: A file whose peak is below this (-80 dB full scale) is taken for silence.
SILENT = 1e-4
_FORMAT = 2


class PackedAudio:
    """Audio at one rate, all files end to end in a memory map (:mod:`audio_enh.sources.packing`).

    The map is built once in ``cache`` and reused while the files' names, sizes and times are the same. Worker
    processes share its pages, however they are started: a pickle holds the place of the map and no audio.

    Args:
        files: audio files of any rate and channel count.
        sample_rate: in Hz.
        cache: folder for the packed array.
        skip_broken: leave out files that cannot be used, and say how many, instead of refusing.
        rooms: the files are room responses, of which every channel is one (:meth:`draw_whole`). Otherwise they
            are mono: the mean of the channels, or the loudest one where they cancel out.
        what: in messages: the kind of files.

    Attributes:
        sample_rate: in Hz.
        numbers: which of the files given are in use, ``(files,)``.
        lengths: samples of each, ``(files,)``.
        bandwidths: up to which frequency in Hz each holds what it is for, ``(files,)``; infinite unless
            :meth:`limit_bands` was told.
        peaks: largest magnitude of each, ``(files,)``.

    Raises:
        AudioFileError: files are missing or cannot be used; all of them have been logged before.
        UserError: all files are silent.
    """

    def __init__(
        self,
        files: Sequence[Path],
        sample_rate: int,
        cache: Path,
        *,
        skip_broken: bool = False,
        rooms: bool = False,
        what: str = "audio",
    ):
        sources = [Source.of(path) for path in files]
        missing = [f"'{source.path}'" for source in sources if source.size < 0]
        if missing and not skip_broken:
            raise AudioFileError(
                f"{len(missing)} of {len(files)} {what} files are missing: {_listed(missing)}"
            )
        key = [_FORMAT, sample_rate, rooms, [astuple(source) for source in sources]]
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
        data_path, index_path = cache / f"{name}.i16", cache / f"{name}.npz"
        made = data_path.exists() and index_path.exists()
        # What could not be read once may be readable now, with ffmpeg installed for instance.
        if not made or (Index(index_path).any_broken and not skip_broken):
            write_pack(sources, sample_rate, data_path, index_path, rooms)
        with contextlib.suppress(OSError):
            os.utime(index_path)  # when it was used last
        self._open(data_path, index_path, None)
        self._report(what, skip_broken)

    def _open(self, data_path: Path, index_path: Path, numbers: np.ndarray | None) -> None:
        self._paths = data_path, index_path
        index = Index(index_path)
        self.numbers = np.flatnonzero(index.length) if numbers is None else numbers
        self._index = index
        # An empty file cannot be mapped.
        empty = not data_path.stat().st_size
        self._data = np.zeros(0, np.int16) if empty else np.memmap(data_path, np.int16, "r")
        self.sample_rate = index.sample_rate
        self._begin, self._channels = index.begin[self.numbers], index.channels[self.numbers]
        self.lengths = index.length[self.numbers]
        self.peaks = index.peak[self.numbers]
        self._ends = np.cumsum(self.lengths)
        self._shares: np.ndarray | None = None
        self.bandwidths = np.full(len(self.numbers), np.inf)

    def __getstate__(self) -> tuple[Path, Path, np.ndarray, np.ndarray | None, np.ndarray]:
        return (*self._paths, self.numbers, self._shares, self.bandwidths)

    def __setstate__(self, state: tuple[Path, Path, np.ndarray, np.ndarray | None, np.ndarray]) -> None:
        self._open(*state[:3])
        self._shares, self.bandwidths = state[3:]

    def favour(self, weights: np.ndarray) -> None:
        """Draw a second of one file more often than of another: a weight for each of the files first given."""
        self._shares = np.cumsum(weights[self.numbers] * self.lengths)

    def limit_bands(self, bandwidths: np.ndarray) -> None:
        """Say up to which frequency in Hz each of the files first given holds what it is for."""
        self.bandwidths = bandwidths[self.numbers]

    def _report(self, what: str, skip_broken: bool) -> None:
        """Say what is not as one would expect."""
        index, total = self._index, len(self._index.length)
        broken = list(index.broken.values()) if index.any_broken else []
        for why in broken:
            log.warning("%s", why)
        if broken:
            some = f"{len(broken)} of {total} {what} files cannot be used"
            if not skip_broken:
                for path in self._paths:
                    path.unlink(missing_ok=True)
                raise AudioFileError(
                    f"{some}: {_listed(broken)}; mend or remove them, or leave them out with skip_broken=true"
                )
            log.warning("%s and are left out", some)
        if total and not len(self):
            raise UserError(f"none of the {total} {what} files can be used: {_listed(broken)}")
        silent = [str(self.files[i]) for i in np.flatnonzero(self.peaks < SILENT)]
        if silent and len(silent) == len(self):
            raise UserError(
                f"all {len(self)} {what} files are silent, as '{silent[0]}': nothing above -80 dBFS"
            )
        if silent:
            log.warning("%d of %d %s files are silent: %s", len(silent), total, what, _listed(silent))
        cancelled = [str(self.files[i]) for i in np.flatnonzero(index.cancelled[self.numbers])]
        if cancelled:
            log.warning(
                "the channels of %d of %d %s files cancel out; the loudest stands for each: %s",
                *(len(cancelled), total, what, _listed(cancelled)),
            )
        rates = index.rate[self.numbers]
        low = np.flatnonzero(rates < self.sample_rate)
        if low.size:
            log.warning(
                "%d of %d %s files have less than %d Hz and nothing above %g kHz: %s",
                *(low.size, total, what, self.sample_rate, rates.min() / 2000),
                _listed([str(self.files[i]) for i in low]),
            )

    @functools.cached_property
    def files(self) -> list[Path]:
        """The files in use."""
        sources = self._index.sources
        return [Path(sources[number].path) for number in self.numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def seconds(self) -> float:
        """Duration of all files together."""
        return float(self.lengths.sum() / self.sample_rate)

    def only(self, numbers: np.ndarray) -> PackedAudio:
        """The same pack with fewer files, chosen by their place among the files first given."""
        chosen = object.__new__(PackedAudio)
        chosen._open(*self._paths, numbers)
        return chosen

    def read(self, index: int, start: int = 0, length: int | None = None, channel: int = 0) -> np.ndarray:
        """Float32 samples of one file, at most to its end: ``(samples,)``."""
        total = int(self.lengths[index])
        stop = total if length is None else min(total, start + length)
        begin = int(self._begin[index]) + channel * -(-total // BLOCK) * BLOCK
        first, last = begin + start, begin + max(stop, start)
        exponents = self._index.exponents[first // BLOCK : -(-last // BLOCK)].astype(np.int32) - 15
        scales = np.repeat(np.ldexp(np.float32(1), exponents), BLOCK)[first % BLOCK :][: last - first]
        return self._data[first:last] * scales

    def draw(self, rng: np.random.Generator, length: int, loop: bool, by_file: bool = False) -> np.ndarray:
        """A random stretch: files are drawn by duration (and weight), then a place in the file.

        Args:
            rng: source of randomness.
            length: samples wanted.
            loop: fill up a short file by going on with another draw of the same file; otherwise a short
                file is set at a random place in silence.
            by_file: draw each file as often as any other.
        """
        return self.draw_file(rng, length, loop, by_file)[1]

    def draw_file(
        self, rng: np.random.Generator, length: int, loop: bool, by_file: bool = False
    ) -> tuple[int, np.ndarray]:
        """:meth:`draw`, and the number of the file that was drawn."""
        if by_file:
            index = int(rng.integers(len(self)))
        elif self._shares is not None:
            index = int(np.searchsorted(self._shares, rng.random() * self._shares[-1], side="right"))
        else:
            where = int(rng.integers(self._ends[-1]))
            index = int(np.searchsorted(self._ends, where, side="right"))
        total = int(self.lengths[index])
        if total >= length:
            return index, self.read(index, int(rng.integers(total - length + 1)), length)
        audio = self.read(index)
        if loop:
            repeated = np.tile(audio, -(-length // total) + 1)
            start = int(rng.integers(total))
            return index, repeated[start : start + length]
        out = np.zeros(length, np.float32)
        start = int(rng.integers(length - total + 1))
        out[start : start + total] = audio
        return index, out

    def draw_whole(self, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        """A random file, each as likely as any other, and one of its channels: its number and ``(samples,)``."""
        index = int(rng.integers(len(self)))
        channels = int(self._channels[index])
        return index, self.read(index, channel=int(rng.integers(channels)) if channels > 1 else 0)


def pack_pairs(
    noisy: Sequence[Path], clean: Sequence[Path], sample_rate: int, cache: Path, skip_broken: bool = False
) -> tuple[PackedAudio, PackedAudio]:
    """Both sides of pairs. With ``skip_broken`` a pair is left out if either file is broken or their lengths differ.

    Raises:
        AudioFileError: see :class:`PackedAudio`.
    """
    sides = [
        PackedAudio(files, sample_rate, cache, skip_broken=skip_broken, what=what)
        for files, what in ((noisy, "noisy"), (clean, "clean"))
    ]
    if skip_broken:
        both = np.intersect1d(sides[0].numbers, sides[1].numbers)
        first, second = (side.only(both) for side in sides)
        equal = first.lengths == second.lengths
        if not equal.all():
            log.warning("%d pairs are not equally long and are left out", np.count_nonzero(~equal))
        if not equal.any():
            raise UserError("no pair is left: of each, one file is broken, or they are not equally long")
        sides = [side.only(both[equal]) for side in sides]
    return sides[0], sides[1]


def _listed(names: Sequence[str], most: int = 3) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more
