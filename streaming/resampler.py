"""Resampling of live sound: a small exact delay, no bursts, and a rate that can be trimmed while it runs.

A band-limited signal is known between its samples: it is the sum of its samples times a sinc around each. Here
the sinc is cut to ``zeros`` crossings on each side by a Kaiser window and, where the rate goes down, widened to
the lower rate so that what the target cannot hold is filtered out (J. O. Smith, "Digital Audio Resampling",
ccrma.stanford.edu/~jos/resample). For every output sample the taps depend only on where it lies between two
input samples. Those taps are tabulated: with ``target_rate / source_rate = up / down`` in lowest terms there are
``up`` such places, and between two neighbours of the table the taps are interpolated linearly.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Audio = NDArray[np.float32]

# Shape of the Kaiser window: stop band 80 dB down, transition band of 10 % of the lower Nyquist frequency on
# either side of it with the standard number of zeros.
KAISER_BETA = 8.0
# Linear interpolation between this many rows is 106 dB below the signal: (pi / 512) ** 2 / 8.
MIN_PHASES = 512
MAX_PHASES = 4096
# Up to this many places between input samples, outputs are computed place by place.
FEW_PHASES = 8
# Longer blocks go through in pieces, which bounds the memory.
MAX_PIECE = 2048


class Resampler:
    """Resample a stream block by block, with linear phase and a fixed delay.

    After ``n`` input samples exactly ``ceil(n * target_rate / source_rate)`` output samples have been given
    (with ``ratio_ppm`` 0), whatever the blocks; their values do not depend on where the blocks were cut (to
    float32 rounding). Output sample ``k`` is the input at the instant ``k * source_rate / target_rate - delay``,
    in input samples. Flat within 0.1 dB up to 0.89 of the lower Nyquist frequency; above 1.11 of it 80 dB down.

    There is no ``flush``: the rest of a signal comes out when ``ceil(delay)`` zeros follow it.

    Args:
        source_rate: rate of what goes in, in Hz.
        target_rate: rate of what comes out, in Hz; the same one too, to trim a clock by ``ratio_ppm``.
        channels: rows of every block.
        zeros: zero crossings of the sinc on each side, in samples of the lower rate; the delay is in proportion,
            and the width of the transition band inversely.
        delay: in input samples, at least `min_delay`, which it is by default. For those who need a sum of
            delays to be whole.

    Attributes:
        delay: by which the output lags, in input samples, exact.

    Raises:
        ValueError: a rate, channel count or delay out of range.
    """

    def __init__(
        self,
        source_rate: int,
        target_rate: int,
        channels: int = 1,
        *,
        zeros: int = 24,
        delay: Fraction | int | None = None,
    ):
        if source_rate < 1 or target_rate < 1 or channels < 1 or zeros < 1:
            raise ValueError("rates, channels and zeros must be positive")
        self.source_rate = source_rate
        self.target_rate = target_rate
        self.channels = channels
        ratio = Fraction(target_rate, source_rate)
        # Positions are counted in ticks: an input sample has `up` of them, an output sample `down`. They are
        # whole numbers, which floats add without error, unless the rate is trimmed.
        self._up, self._down = ratio.numerator, ratio.denominator
        self._half = self.min_delay(source_rate, target_rate, zeros)
        self.delay = Fraction(self._half if delay is None else delay)
        if self.delay < self._half:
            raise ValueError(f"delay {self.delay} is less than the filter's {self._half} input samples")
        self._taps = 2 * self._half
        self._table = _phase_table(self._half, self._up, cutoff=min(1.0, target_rate / source_rate))
        self._steps = np.diff(self._table, axis=0)
        self._rows_per_tick = (len(self._table) - 1) / self._up
        self._history = self._half + math.ceil(self.delay)
        self._buffer = np.zeros((channels, self._history + MAX_PIECE), np.float32)
        self._windows = sliding_window_view(self._buffer, self._taps, axis=1)
        # Where the first tap of an output at tick 0 of a block lies in the buffer, in ticks.
        self._offset = float((self._history - self._half + 1 - self.delay) * self._up)
        self._ratio_ppm = 0.0
        self._tick = float(self._down)
        self.reset()

    @staticmethod
    def min_delay(source_rate: int, target_rate: int, zeros: int = 24) -> int:
        """Delay of the filter by itself, in whole input samples."""
        return math.ceil(zeros * max(Fraction(1), Fraction(source_rate, target_rate)))

    @property
    def ratio_ppm(self) -> float:
        """By how much more output there is than the rates say, in millionths; may be set at any time.

        A change takes effect with the next block: time runs faster or slower from there on, without a jump. To
        follow a device whose clock is fast by 100 ppm, ask for 100 more.
        """
        return self._ratio_ppm

    @ratio_ppm.setter
    def ratio_ppm(self, value: float) -> None:
        if not abs(value) <= 50_000:
            raise ValueError(f"ratio_ppm must lie within 50000 of 0, not be {value}")
        self._ratio_ppm = float(value)
        self._tick = self._down / (1 + value * 1e-6)

    def reset(self, channel: int | None = None) -> None:
        """Forget the signal; the next sample is the first. The trim stays.

        Args:
            channel: only this one's; where its outputs lie between its inputs is then that of the others.
        """
        if channel is not None:
            self._buffer[channel] = 0
            return
        self._buffer[:] = 0
        self._next = 0.0  # tick of the next output, from the first sample of the next block

    def process(self, block: Audio) -> Audio:
        """Take the next samples.

        Args:
            block: ``(channels, n)``, any ``n``.

        Returns:
            float32 ``(channels, m)``, a new array.
        """
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"expected a block of shape ({self.channels}, samples), not {block.shape}")
        samples = block.shape[1]
        if samples <= MAX_PIECE:
            return self._process_piece(block)
        starts = range(0, samples, MAX_PIECE)
        return np.concatenate([self._process_piece(block[:, s : s + MAX_PIECE]) for s in starts], axis=1)

    def _process_piece(self, block: Audio) -> Audio:
        samples = block.shape[1]
        end = self._history + samples
        self._buffer[:, self._history : end] = block

        count = max(0, math.ceil((samples * self._up - self._next) / self._tick))
        first = self._offset + self._next
        if self._up <= FEW_PHASES and self._tick == self._down and first == int(first):
            output = self._by_phase(int(first), count)
        else:
            output = self._interpolate(first + self._tick * np.arange(count))
        self._next += count * self._tick - samples * self._up

        # numpy copies with care where the two overlap.
        self._buffer[:, : self._history] = self._buffer[:, samples:end]
        return output

    def _by_phase(self, first: int, count: int) -> Audio:
        """Outputs that share their taps together, without a copy of their windows."""
        output = np.empty((self.channels, count), np.float32)
        for phase in range(min(self._up, count)):
            start, within = divmod(first + phase * self._down, self._up)
            taps = self._table[round(within * self._rows_per_tick)]
            shared = output[:, phase :: self._up]
            stop = start + (shared.shape[1] - 1) * self._down + 1
            np.einsum("cnt,t->cn", self._windows[:, start : stop : self._down], taps, out=shared)
        return output

    def _interpolate(self, ticks: NDArray[np.float64]) -> Audio:
        starts, within = np.divmod(ticks, self._up)
        rows = within * self._rows_per_tick
        row = rows.astype(np.intp)
        taps = self._table[row]
        fraction = (rows - row).astype(np.float32)
        if fraction.any():
            taps += fraction[:, None] * self._steps[row]
        return np.einsum("cnt,nt->cn", self._windows[:, starts.astype(np.intp)], taps)


def _phase_table(half: int, up: int, cutoff: float) -> NDArray[np.float32]:
    """Taps for every place between two input samples.

    Args:
        half: taps on each side.
        up: places that must be met exactly.
        cutoff: as a share of the source's Nyquist frequency.

    Returns:
        ``(phases + 1, 2 * half)``: row ``r`` holds the weights of the samples from ``1 - half`` to ``half`` for an
        output at ``r / phases``; ``phases`` is a multiple of ``up`` unless that would be a very large table.
    """
    phases = up * math.ceil(MIN_PHASES / up) if up <= MAX_PHASES else MAX_PHASES
    place = np.arange(phases + 1) / phases
    distance = place[:, None] - np.arange(1 - half, half + 1)
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (distance / half) ** 2, 0, None)))
    taps = np.sinc(cutoff * distance) * window
    # Each row passes a constant as it is: no ripple at the rate of the phases.
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
