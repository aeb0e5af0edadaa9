"""What the page's player is given: recordings side by side as raw samples, their levels and spectrograms.

All is made in one pass over the files, block by block: memory does not grow with their length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import soxr
from matplotlib import colormaps
from numpy.typing import NDArray

from audio_enh.errors import UserError
from audio_enh.io import AudioReader

#: Browsers play these rates, and nobody hears more.
MAX_RATE = 48000
MIN_RATE = 8000
BLOCK_SECONDS = 2.0
#: Longer recordings are played in mono, which halves what has to be sent.
STEREO_SECONDS = 600.0
#: What is sent is this much quieter, so that samples somewhat beyond full scale survive as integers.
HEADROOM = 0.5
COLUMNS = 1200
ROWS = 256
FLOOR_DB = -70.0
DIFFERENCE_DB = 30.0


@dataclass(frozen=True)
class Preview:
    """See :func:`make_preview`.

    Attributes:
        config: what the player is told, plain values; files are named relative to ``folder``.
        folder: where they are.
        energies: of each track, its energy in each second.
    """

    config: dict[str, Any]
    folder: Path
    energies: NDArray[np.float64]


def make_preview(
    tracks: Sequence[tuple[str, Path]],
    folder: Path,
    *,
    frames: int,
    pictures: bool = True,
    difference: bool = True,
    tell: Callable[[float], None] | None = None,
) -> Preview:
    """Prepare recordings of the same scene for the player.

    Args:
        tracks: labels and files; what is longer than the first one is cut, what is shorter is filled up.
        folder: where to write.
        frames: samples per channel of the first file.
        pictures: draw spectrograms.
        difference: draw what the second track differs from the first by, as well.
        tell: told which part is done.
    """
    with ExitStack() as stack:
        sources = [_Source(stack.enter_context(AudioReader(path)), frames) for _, path in tracks]
        first = sources[0]
        for source, (label, _) in zip(sources, tracks, strict=True):
            if source.rate != first.rate:
                raise UserError(f"{label} has {source.rate} Hz and not {first.rate} Hz")
        rate, total = first.rate, first.total
        if total == 0:
            raise UserError("there is no sound in it")
        channels = max(1 if source.channels == 1 else 2 for source in sources)
        if total > STEREO_SECONDS * rate:
            channels = 1
        spectrograms = [_Spectrogram(rate, total) if pictures else None for _ in sources]
        powers: list[list[NDArray[np.float64]]] = [[] for _ in sources]
        peaks = np.zeros(len(sources))
        with (folder / "tracks.pcm").open("wb") as file:
            for start in range(0, total, round(BLOCK_SECONDS * rate)):
                length = min(round(BLOCK_SECONDS * rate), total - start)
                sent = np.zeros((length, len(sources), channels), np.float32)
                for number, source in enumerate(sources):
                    audio = source.read(length)
                    mono = audio.mean(axis=0)
                    peaks[number] = max(peaks[number], float(np.abs(audio).max()))
                    powers[number].append(_frame_powers(audio, rate))
                    if (spectrogram := spectrograms[number]) is not None:
                        spectrogram.add(mono)
                    # Of more than two channels, the player plays the mix; one channel goes to both sides.
                    sent[:, number] = (audio if len(audio) in (1, channels) else mono[None]).T
                file.write(np.clip(np.rint(sent * (HEADROOM * 32768)), -32768, 32767).astype("<i2").tobytes())
                if tell is not None:
                    tell((start + length) / total)
    frame_powers = [np.concatenate(each) for each in powers]
    levels = [_active_level(each) for each in frame_powers]
    gains = [levels[0] / level if level and levels[0] else 1.0 for level in levels]
    # Nothing is driven into clipping by being made as loud as another.
    room = max(1.0, *(float(peak * gain) for peak, gain in zip(peaks, gains, strict=True)))
    config: dict[str, Any] = {
        "rate": rate,
        "frames": total,
        "channels": channels,
        "scale": 1 / (HEADROOM * 32768),
        "samples": "tracks.pcm",
        "tracks": [
            {"label": label, "gain": gain / room} for (label, _), gain in zip(tracks, gains, strict=True)
        ],
    }
    if pictures:
        finished = [each.finish() for each in spectrograms if each is not None]
        config["pictures"] = _draw(finished, [label for label, _ in tracks], folder, difference)
        config["top_khz"] = rate / 2000
    per_second = [_per_second(each) for each in frame_powers]
    return Preview(config, folder, np.stack(per_second))


class _Source:
    """A file at the rate at which it is played, in blocks of any length."""

    def __init__(self, reader: AudioReader, frames: int) -> None:
        info = reader.info
        self.rate = min(max(info.sample_rate, MIN_RATE), MAX_RATE)
        self.total = round(frames * self.rate / info.sample_rate)
        self.channels = info.channels
        self._blocks = reader.blocks(BLOCK_SECONDS)
        self._convert = None
        if self.rate != info.sample_rate:
            self._convert = soxr.ResampleStream(info.sample_rate, self.rate, info.channels, dtype="float32")
        self._rest = np.zeros((info.channels, 0), np.float32)
        self._ended = False

    def read(self, length: int) -> NDArray[np.float32]:
        """``(channels, length)``, zeros after its end."""
        pieces = [self._rest]
        while sum(piece.shape[1] for piece in pieces) < length and not self._ended:
            block = next(self._blocks, None)
            self._ended = block is None
            if block is None:
                block = np.zeros((self.channels, 0), np.float32)
            if self._convert is not None:
                block = self._convert.resample_chunk(block.T, last=self._ended).T
            pieces.append(block)
        audio = np.concatenate(pieces, axis=1)
        self._rest = audio[:, length:]
        audio = audio[:, :length]
        return np.pad(audio, ((0, 0), (0, length - audio.shape[1])))


def _frame_powers(audio: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """Mean square of frames of 20 ms; blocks are whole numbers of them, but for the last one."""
    power = np.square(audio, dtype=np.float64).mean(axis=0)
    starts = np.arange(0, len(power), rate // 50)
    return np.add.reduceat(power, starts) / np.diff(np.append(starts, len(power)))


def _active_level(powers: NDArray[np.float64]) -> float:
    """RMS over the frames within 40 dB of the loudest, as `audio_enh.dsp.signals.active_level` has it."""
    top = float(powers.max())
    return float(np.sqrt(powers[powers >= top * 1e-4].mean())) if top > 1e-12 else 0.0


def _per_second(powers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.add.reduceat(powers, np.arange(0, len(powers), 50))


class _Spectrogram:
    """Power over time and frequency in at most :data:`COLUMNS` by :data:`ROWS` cells, from blocks of a signal."""

    def __init__(self, rate: int, total: int) -> None:
        self._hop = max(1, rate // 125)
        self._n_fft = 4 * self._hop
        frames = max(1, -(-total // self._hop))
        self._pooled = -(-frames // COLUMNS)
        self._cells = np.zeros((-(-frames // self._pooled), self._n_fft // 2 + 1))
        self._window = np.hanning(self._n_fft + 1)[:-1]
        self._rest: NDArray[np.floating] = np.zeros(
            self._n_fft // 2
        )  # the first frame is centred on the first sample
        self._frame = 0

    def add(self, audio: NDArray[np.floating]) -> None:
        audio = np.concatenate([self._rest, audio])
        count = max(0, (len(audio) - self._n_fft) // self._hop + 1)
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(audio, self._n_fft)[:: self._hop][:count]
            power = np.abs(np.fft.rfft(frames * self._window, axis=1)) ** 2
            columns = (self._frame + np.arange(count)) // self._pooled
            kept = columns < len(self._cells)
            np.add.at(self._cells, columns[kept], power[kept])
        self._frame += count
        self._rest = audio[count * self._hop :]

    def finish(self) -> NDArray[np.float64]:
        """``(rows, columns)`` in dB, the lowest frequency first."""
        self.add(np.zeros(self._n_fft))
        bins = self._cells.shape[1] - 1
        pooled = -(-bins // ROWS)
        rows = np.add.reduceat(self._cells[:, 1:], np.arange(0, bins, pooled), axis=1)
        return 10 * np.log10(rows.T + 1e-12)


def _draw(
    spectrograms: Sequence[NDArray[np.float64]], labels: Sequence[str], folder: Path, difference: bool
) -> list[dict[str, str]]:
    """Write the pictures on one scale; the loudest cell of all is 0 dB."""
    top = max(float(each.max()) for each in spectrograms)
    relative = [np.maximum(each - top, FLOOR_DB) for each in spectrograms]
    pictures = []
    for number, (cells, label) in enumerate(zip(relative, labels, strict=True)):
        name = f"spectrogram-{number}.png"
        _save(folder / name, colormaps["magma"](1 - cells / FLOOR_DB))
        pictures.append({"label": label, "file": name, "track": str(number)})
    if difference:
        change = relative[1] - relative[0]
        _save(folder / "difference.png", colormaps["RdBu_r"](0.5 + change / (2 * DIFFERENCE_DB)))
        label = f"{labels[1]} less {labels[0].lower()} (blue: quieter, to {DIFFERENCE_DB:g} dB)"
        pictures.append({"label": label, "file": "difference.png", "track": "removed"})
    return pictures


def _save(path: Path, colours: NDArray[np.float64]) -> None:
    matplotlib.image.imsave(path, np.ascontiguousarray(colours[::-1]))
