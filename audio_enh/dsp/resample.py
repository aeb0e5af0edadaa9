"""Resampling of whole signals and of streams: exact alignment, exact length, any rates, any block sizes.

The filter is soxr's high-quality one: linear phase, 20 bits, flat to 0.91 of the lower Nyquist frequency.
soxr removes the filter's delay itself, so output sample ``k`` is the input's instant ``k / target_rate``.
Its streaming mode is bursty, which is fine for files; live audio has its own resampler in
:mod:`audio_enh.streaming`.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

Audio = NDArray[np.float32]


class StreamResampler:
    """Resample a stream block by block; the result does not depend on where the blocks are cut, to the bit.

    Args:
        source_rate: rate of what goes in, in Hz.
        target_rate: rate of what comes out, in Hz.
        channels: number of channels of every block.

    After :meth:`flush` the stream has given ``output_length(samples in, source_rate, target_rate)`` samples.
    """

    def __init__(self, source_rate: int, target_rate: int, channels: int):
        self.source_rate = source_rate
        self.target_rate = target_rate
        self.channels = channels
        self._received = 0
        self._returned = 0
        same = source_rate == target_rate
        self._soxr = (
            None if same else soxr.ResampleStream(source_rate, target_rate, channels, dtype="float32")
        )

    def process(self, block: Audio) -> Audio:
        """``(channels, n)`` in, ``(channels, m)`` out; ``m`` may be 0 while the filter fills."""
        self._received += block.shape[1]
        if self._soxr is None:
            return block
        out = self._resample(block)
        self._returned += out.shape[1]
        return out

    def flush(self) -> Audio:
        """End the stream: what is still inside, ``(channels, m)``."""
        if self._soxr is None:
            return np.zeros((self.channels, 0), np.float32)
        wanted = output_length(self._received, self.source_rate, self.target_rate) - self._returned
        # soxr rounds its own total down at times; silence after the end lets it give the last sample.
        margin = -(-2 * self.source_rate // self.target_rate) + 1
        rest = self._resample(np.zeros((self.channels, margin), np.float32), last=True)
        return rest[:, :wanted]

    def _resample(self, block: Audio, last: bool = False) -> Audio:
        assert self._soxr is not None
        # soxr is fed interleaved samples; one channel needs no copy.
        out = self._soxr.resample_chunk(np.ascontiguousarray(block.T, dtype=np.float32), last=last)
        return out.T


def output_length(samples: int, source_rate: int, target_rate: int) -> int:
    """Number of samples after resampling: every output instant that lies within the input, rounded up."""
    return -(-samples * target_rate // source_rate)


def resample(audio: Audio, source_rate: int, target_rate: int) -> Audio:
    """Resample a whole signal.

    Args:
        audio: float, ``(samples,)`` or ``(channels, samples)``.
        source_rate, target_rate: in Hz.

    Returns:
        float32, same number of dimensions, ``output_length(samples, ...)`` samples, aligned.
    """
    block = np.atleast_2d(np.asarray(audio, np.float32))
    stream = StreamResampler(source_rate, target_rate, block.shape[0])
    out = np.concatenate([stream.process(block), stream.flush()], axis=1)
    return out if audio.ndim == 2 else out[0]
