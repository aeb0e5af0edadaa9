"""Many live streams through one model: a server's calls, a conference's speakers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import UserError
from audio_enh.streaming.backend import BackendName
from audio_enh.streaming.engine import Latency, LiveStream

if TYPE_CHECKING:
    from audio_enh.models.base import CausalModel

Audio = NDArray[np.float32]


class BatchedStream:
    """Mono streams side by side in one call of the model, which may join and leave.

    The weights of a small model are read from memory for every hop; for many streams at once they are read once,
    and on a GPU there is one launch instead of hundreds. All streams advance by the same number of samples per call.
    Each is enhanced as by a `LiveStream` of its own that began with its first sample.

    Args:
        streams: number of rows.
        model, sample_rate, backend, device, threads, strength, max_attenuation, block_length: see `LiveStream`. On
            ``cuda`` the step is one CUDA graph.

    Attributes:
        stream: the `LiveStream` that has each row for a channel; latency, strength and counters are there.
        latency, latency_samples: see `LiveStream`.

    >>> calls = BatchedStream(64, sample_rate=16000, block_length=160)   # doctest: +SKIP
    >>> row = calls.join()                                               # doctest: +SKIP
    >>> enhanced = calls.process(blocks)[row]                            # doctest: +SKIP
    >>> calls.leave(row)                                                 # doctest: +SKIP
    """

    def __init__(
        self,
        streams: int,
        model: str | Path | CausalModel | None = None,
        sample_rate: int | None = None,
        *,
        backend: BackendName = "auto",
        device: str = "cpu",
        threads: int = 1,
        strength: float = 1.0,
        max_attenuation: float | None = None,
        block_length: int | None = None,
    ):
        if streams < 1:
            raise UserError(f"{streams} streams: there must be 1 or more")
        self.stream = LiveStream(
            model, sample_rate, streams, backend=backend, device=device, threads=threads,
            strength=strength, max_attenuation=max_attenuation, block_length=block_length,
        )  # fmt: skip
        self.latency: Latency = self.stream.latency
        self.latency_samples: int = self.stream.latency_samples
        self._free = list(range(streams))[::-1]

    @property
    def streams(self) -> int:
        """Number of rows."""
        return self.stream.channels

    @property
    def joined(self) -> int:
        """Number of rows taken by `join`."""
        return self.streams - len(self._free)

    def join(self) -> int:
        """A free row for a new stream, which begins with the next block.

        Raises:
            UserError: all are taken.
        """
        if not self._free:
            raise UserError(f"all {self.streams} streams are taken")
        row = self._free.pop()
        self.stream.reset_channel(row)
        return row

    def leave(self, row: int) -> None:
        """Give a row back. The last ``latency_samples`` of its output come first, for as many zeros."""
        if row in self._free or not 0 <= row < self.streams:
            raise ValueError(f"row {row} is not taken")
        self._free.append(row)

    def process(self, block: Audio, *, run_model: bool = True) -> Audio:
        """Take the next samples of all rows.

        Args:
            block: float ``(streams, n)``; rows that are free are silenced, whatever they hold.
            run_model: see `LiveStream.process`.

        Returns:
            float32 ``(streams, n)``, ``latency_samples`` late.
        """
        if self._free:
            block = np.array(block, np.float32)
            block[self._free] = 0
        return self.stream.process(block, run_model=run_model)
