"""Can this machine run a model live? Times of frames, delays by ear, streams side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio_enh.streaming.backend import Backend
from audio_enh.streaming.engine import LiveStream

Audio = NDArray[np.float32]

#: Rate of the sound cards that delays are measured for, in Hz.
DEVICE_RATE = 48000


@dataclass(frozen=True)
class Timing:
    """Time per hop, in seconds.

    Attributes:
        hop: length of a hop, which is all the time there is.
        p50, p95, p99: percentiles.
        mean: mean.
    """

    hop: float
    p50: float
    p95: float
    p99: float
    mean: float

    @property
    def real_time_factor(self) -> float:
        """Share of the time that is spent."""
        return self.mean / self.hop

    @property
    def headroom(self) -> float:
        """How many times the 99th percentile fits into a hop."""
        return self.hop / self.p99


@dataclass(frozen=True)
class Measured:
    """One model on one backend.

    Attributes:
        step: of the model by itself.
        stream: of the whole engine for one channel at `DEVICE_RATE`, resamplers included.
        latency: algorithmic, by the definition of the DNS challenge, in seconds.
        stated_delay, measured_delay: through the engine at `DEVICE_RATE`, in seconds.
    """

    step: Timing
    stream: Timing
    latency: float
    stated_delay: float
    measured_delay: float


def measure(backend: Backend, audio: Audio, seconds: float) -> Measured:
    """Measure a backend of one stream.

    Args:
        backend: the backend; it is reset.
        audio: noisy speech at `DEVICE_RATE`, ``(samples,)``, at least a second of it.
        seconds: of sound to time, for the model and for the engine each.
    """
    hop = backend.hop_length
    rng = np.random.default_rng(0)
    frame = (0.1 * rng.standard_normal((1, hop))).astype(np.float32)
    step = time_hops(lambda: backend.step(frame), hop / backend.sample_rate, seconds)

    # Blocks of one hop, where that is a whole number of samples.
    block = max(1, round(hop * DEVICE_RATE / backend.sample_rate))
    stream = LiveStream(backend, DEVICE_RATE, block_length=block)
    blocks = (0.1 * rng.standard_normal((1, block))).astype(np.float32)
    whole = time_hops(lambda: stream.process(blocks), block / DEVICE_RATE, seconds)
    return Measured(
        step,
        whole,
        latency=backend.latency / backend.sample_rate,
        stated_delay=stream.latency_samples / DEVICE_RATE,
        measured_delay=impulse_delay(stream, audio) / DEVICE_RATE,
    )


def time_hops(run: Callable[[], object], hop_seconds: float, seconds: float) -> Timing:
    """Run something that takes a hop at a time, as often as fits ``seconds`` of sound.

    The first tenth of a second of runs is not counted.
    """
    warm = time.perf_counter() + 0.1
    while time.perf_counter() < warm:
        run()
    times = np.empty(max(20, round(seconds / hop_seconds)))
    for i in range(len(times)):
        began = time.perf_counter()
        run()
        times[i] = time.perf_counter() - began
    p50, p95, p99 = np.percentile(times, (50, 95, 99))
    return Timing(hop_seconds, float(p50), float(p95), float(p99), float(times.mean()))


def impulse_delay(stream: LiveStream, audio: Audio) -> float:
    """Where the peak of the stream's impulse response lies, in samples.

    A model does to an impulse something else than to speech, so the response is that of the linear filter which,
    applied to the speech, comes closest to the output.

    Args:
        stream: of one channel; it is reset.
        audio: speech at the stream's rate, ``(samples,)``.
    """
    unit = stream.block_length or 1
    pad = -(-2 * (stream.latency_samples + unit) // unit) * unit
    length = (len(audio) // unit) * unit
    padded = np.pad(audio[:length], (0, pad))[None].astype(np.float32)
    stream.reset()
    output = stream.process(padded)[0]
    stream.reset()

    spectrum = np.fft.rfft(padded[0].astype(np.float64))
    power = np.abs(spectrum) ** 2
    cross = np.fft.rfft(output.astype(np.float64)) * spectrum.conj()
    # Where the speech has next to nothing, the quotient would be noise.
    response = np.fft.irfft(cross / (power + 1e-3 * power.mean()), padded.shape[1])[:pad]
    peak = int(np.argmax(np.abs(response)))
    if not 0 < peak < pad - 1:
        return float(peak)
    left, middle, right = np.abs(response[peak - 1 : peak + 2])
    return peak + 0.5 * (left - right) / (left - 2 * middle + right)


def most_streams(
    open_batch: Callable[[int], Backend], seconds: float, limit: int = 4096
) -> tuple[int, Timing | None]:
    """How many streams, advanced together, hold real time: the 99th percentile of a step within a hop.

    Args:
        open_batch: gives the backend for so many streams.
        seconds: of sound to time for each number tried.
        limit: of the search.

    Returns:
        That number, 0 if not even one does, and its times.
    """

    def holds(streams: int) -> Timing | None:
        backend = open_batch(streams)
        frame = np.zeros((streams, backend.hop_length), np.float32)
        frame[:] = 0.1 * np.random.default_rng(0).standard_normal(frame.shape)
        for _ in range(2):  # a hiccup of the machine is not the end of the search
            timing = time_hops(lambda: backend.step(frame), backend.hop_length / backend.sample_rate, seconds)
            if timing.p99 <= timing.hop:
                return timing
        return None

    best, best_timing = 0, None
    upper = 1
    while upper <= limit and (timing := holds(upper)) is not None:
        best, best_timing = upper, timing
        upper *= 2
    # Between the last that does and the first that does not, to about 10 %.
    while upper - best > max(1, best // 10) and best > 0 and best < limit:
        middle = (best + upper) // 2
        if (timing := holds(middle)) is not None:
            best, best_timing = middle, timing
        else:
            upper = middle
    return best, best_timing
