"""How far several draws of a generative model disagree, over time."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio_enh.io import AtomicTarget

# Output below -80 dB of full scale is silence: there the draws cannot disagree about speech.
_FLOOR = 1e-8


@dataclass(frozen=True)
class UncertaintyCurve:
    """Spread of the draws in frames of :attr:`frame_seconds`, all channels together.

    Attributes:
        frame_seconds: length of a frame.
        power: mean square of the output in each frame.
        spread: mean square of what the draws differ from their mean by, in each frame (the variance over draws).
    """

    frame_seconds: float
    power: NDArray[np.float64]
    spread: NDArray[np.float64]

    @property
    def times(self) -> NDArray[np.float64]:
        """Middle of each frame, in seconds."""
        return np.asarray((np.arange(len(self.power)) + 0.5) * self.frame_seconds, np.float64)

    @property
    def uncertainty(self) -> NDArray[np.float64]:
        """Between 0, the draws agree, and 1, nothing is common to them: ``sqrt(spread / (spread + power))``."""
        return np.sqrt(self.spread / (self.spread + self.power + _FLOOR))

    def write_csv(self, path: str | Path) -> None:
        """Columns: time in seconds, level and spread in dB of full scale, uncertainty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["time", "level_db", "spread_db", "uncertainty"])
        rows = zip(self.times, _decibels(self.power), _decibels(self.spread), self.uncertainty, strict=True)
        for time, level, spread, uncertainty in rows:
            writer.writerow([f"{time:.3f}", f"{level:.2f}", f"{spread:.2f}", f"{uncertainty:.4f}"])
        _write(Path(path), text.getvalue().encode())

    def write_png(self, path: str | Path, title: str = "") -> None:
        """The level of the output, coloured by the uncertainty, and the uncertainty below it."""
        from matplotlib.figure import Figure

        # No more columns than can be seen: of an hour, each shows the worst of a few seconds.
        pooled = max(1, math.ceil(len(self.power) / 1500))
        starts = np.arange(0, len(self.power), pooled)
        edges, level, uncertainty = (
            function.reduceat(values, starts) if len(values) else values
            for function, values in (
                (np.minimum, self.times - self.frame_seconds / 2),
                (np.maximum, _decibels(self.power)),
                (np.maximum, self.uncertainty),
            )
        )
        figure = Figure(figsize=(10, 4), layout="constrained")
        upper, lower = figure.subplots(2, sharex=True)
        width = pooled * self.frame_seconds
        colours = _colours(uncertainty)
        upper.bar(edges, level + 80, width, bottom=-80, color=colours, align="edge", linewidth=0)
        upper.set_ylim(-80, 0)
        upper.set_ylabel("level (dB FS)")
        upper.set_title(title, loc="left")
        lower.bar(edges, uncertainty, width, color=colours, align="edge", linewidth=0)
        lower.set_ylim(0, 1)
        lower.set_xlim(0, max(1, len(self.power)) * self.frame_seconds)
        lower.set_ylabel("uncertainty")
        lower.set_xlabel("time (s)")
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=120)
        _write(Path(path), image.getvalue())


@dataclass
class UncertaintyMeter:
    """Gathers an :class:`UncertaintyCurve` from a stream; a frame takes 16 bytes.

    Args:
        sample_rate: in Hz.
        frame_seconds: length of a frame.
    """

    sample_rate: int
    frame_seconds: float = 0.02
    _power: list[NDArray[np.float64]] = field(default_factory=list, repr=False)
    _spread: list[NDArray[np.float64]] = field(default_factory=list, repr=False)
    _rest: NDArray[np.float32] | None = field(default=None, repr=False)

    def add(self, output: NDArray[np.float32], deviation: NDArray[np.float32]) -> None:
        """The next samples: mean and standard deviation over the draws, ``(channels, n)`` both."""
        both = np.stack([output, deviation])
        both = both if self._rest is None else np.concatenate([self._rest, both], axis=2)
        whole = both.shape[2] // self._frame * self._frame
        self._take(both[:, :, :whole])
        self._rest = both[:, :, whole:].copy()

    def finish(self) -> UncertaintyCurve:
        """The curve of all that was added; a last frame may be shorter."""
        if self._rest is not None and self._rest.shape[2]:
            self._take(self._rest)
        empty = [np.zeros(0)]
        return UncertaintyCurve(
            self._frame / self.sample_rate,
            np.concatenate(self._power or empty),
            np.concatenate(self._spread or empty),
        )

    @property
    def _frame(self) -> int:
        return max(1, round(self.frame_seconds * self.sample_rate))

    def _take(self, both: NDArray[np.float32]) -> None:
        if both.shape[2] == 0:
            return
        squares = np.square(both.astype(np.float64)).mean(axis=1)
        frame = min(self._frame, squares.shape[1])
        power, spread = squares.reshape(2, -1, frame).mean(axis=2)
        self._power.append(power)
        self._spread.append(spread)


def _decibels(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return 10 * np.log10(power + _FLOOR)


def _colours(uncertainty: NDArray[np.float64]) -> NDArray[np.float64]:
    from matplotlib import colormaps

    return np.asarray(colormaps["viridis"](np.clip(uncertainty, 0, 1)))


def _write(path: Path, data: bytes) -> None:
    target = AtomicTarget(path)
    try:
        target.temporary.write_bytes(data)
    except BaseException:
        target.discard()
        raise
    target.commit()
