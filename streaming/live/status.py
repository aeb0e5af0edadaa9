"""How a session is going, in numbers: what the view shows and what programs read as JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .devices import Device
from .endpoints import Capture, Playback
from .meters import decibels, percentiles
from .priority import Priority
from .processor import Processor


@dataclass
class Counters:
    """What is counted over the whole session, whatever devices come and go."""

    began: float = 0.0
    dropped: float = 0.0  # seconds
    overflows: int = 0
    underruns: int = 0
    late: int = 0
    dry: bool = False
    worker_priority: Priority = "normal"
    _cpu: tuple[float, float] = (0.0, 0.0)

    def begin(self) -> None:
        self.began = time.monotonic()
        self._cpu = (time.monotonic(), time.process_time())

    def keep(self, end: Capture | Playback) -> None:
        """Take over the counts of a device that is closed."""
        if isinstance(end, Capture):
            self.dropped += end.dropped / end.sample_rate
            self.overflows += end.flagged
        else:
            self.underruns += end.underruns
            self.late += end.flagged

    def cpu(self) -> float:
        """Per cent of one core since the last call."""
        wall, used = time.monotonic(), time.process_time()
        share = 100 * (used - self._cpu[1]) / max(wall - self._cpu[0], 1e-3)
        self._cpu = (wall, used)
        return share


@dataclass(frozen=True)
class Status:
    """One look at a session.

    Attributes:
        seconds: since the start.
        input, output: the devices; ``output`` None if nothing is played.
        input_rate, output_rate: in Hz.
        waiting_for: directions whose device is gone.
        input_level, output_level: in dB full scale, over 200 ms.
        input_peak, output_peak: over two seconds.
        reduction: by how much the noise floor is lower after than before, in dB; None before there is enough to say.
        strength, max_attenuation, bypassed, muted: as set.
        overloaded: the model is left out for lack of time; ``overloads``: how often that began.
        recording: path of the recording, None if there is none.
        frame_ms: 50th, 95th and 99th percentile of the work on a block, in ms.
        block_ms: how long a block lasts.
        load: work for a second of sound, in seconds.
        cpu: per cent of one core, the whole process.
        latency_ms: by part, from the microphone to the loudspeaker; the sum is ``total``.
        reserve_ms: sound held against jitter.
        drift_ppm, trim_ppm: difference of the clocks, and the trim applied now.
        underruns: times the output had nothing to play, after it had begun.
        lost_ms: sound of the microphone that was lost for lack of time.
        flags: blocks before which PortAudio said that it lost input (``overflows``) or output (``late``).
        invalid_samples: NaN or infinite, from the microphone.
        model_failures: hops for which the model gave NaN.
        priority: of the audio threads, by the system's leave.
        channels: which of the microphone's inputs are listened to, None where there is one only.
    """

    seconds: float
    input: str
    output: str | None
    input_rate: int
    output_rate: int | None
    waiting_for: tuple[str, ...]
    input_level: float
    output_level: float
    input_peak: float
    output_peak: float
    reduction: float | None
    strength: float
    max_attenuation: float | None
    bypassed: bool
    muted: bool
    overloaded: bool
    overloads: int
    recording: str | None
    frame_ms: dict[str, float]
    block_ms: float
    load: float
    cpu: float
    latency_ms: dict[str, float]
    reserve_ms: float
    drift_ppm: float
    trim_ppm: float
    underruns: int
    lost_ms: float
    flags: dict[str, int]
    invalid_samples: int
    model_failures: int
    priority: dict[str, str] = field(default_factory=dict)
    channels: str | None = None


def take_status(
    processor: Processor,
    counters: Counters,
    *,
    input_device: Device,
    output_device: Device | None,
    lost: Sequence[str],
    priorities: Sequence[Priority],
    recording: str | None,
) -> Status:
    """Put it together, from any thread."""
    capture, playback, engine = processor.capture, processor.playback, processor.engine
    governor = processor.governor
    frame_times = {name: 1e3 * value for name, value in percentiles(processor.frame_times.values()).items()}
    return Status(
        seconds=time.monotonic() - counters.began,
        input=input_device.name,
        output=None if output_device is None else output_device.name,
        input_rate=capture.sample_rate,
        output_rate=None if playback is None else playback.sample_rate,
        waiting_for=tuple(lost),
        input_level=processor.input_meter.level,
        output_level=processor.output_meter.level,
        input_peak=processor.input_meter.peak,
        output_peak=processor.output_meter.peak,
        reduction=_reduction(processor),
        strength=processor.strength,
        max_attenuation=engine.max_attenuation,
        bypassed=processor.bypassed,
        muted=processor.muted,
        overloaded=governor.overloaded,
        overloads=governor.times,
        recording=recording,
        frame_ms=frame_times,
        block_ms=1e3 * capture.block / capture.sample_rate,
        load=governor.load,
        cpu=counters.cpu(),
        latency_ms=_latency(processor),
        reserve_ms=1e3 * processor.reserve,
        drift_ppm=0.0 if playback is None else processor.drift.drift,
        trim_ppm=0.0 if playback is None else processor.drift.ppm,
        underruns=counters.underruns + (0 if playback is None else playback.underruns),
        lost_ms=1e3 * (counters.dropped + capture.dropped / capture.sample_rate),
        flags={
            "overflows": counters.overflows + capture.flagged,
            "late": counters.late + (0 if playback is None else playback.flagged),
        },
        invalid_samples=processor.invalid_samples,
        model_failures=engine.model_failures,
        priority={"worker": counters.worker_priority, "callbacks": ", ".join(sorted(set(priorities)))},
        channels=processor.chooser.description,
    )


def _reduction(processor: Processor) -> float | None:
    """Of the noise between the words: what a tenth of the last ten seconds lies below, digital silence left out."""
    before, after = processor.input_meter.powers, processor.output_meter.powers
    length = min(len(before), len(after))
    before, after = before[-length:], after[-length:]
    sound = before > 1e-9
    if processor.muted or np.count_nonzero(sound) < 50:
        return None
    floors = [decibels(float(np.quantile(powers[sound], 0.1))) for powers in (before, after)]
    return max(0.0, floors[0] - floors[1])


def _latency(processor: Processor) -> dict[str, float]:
    capture, playback, engine = processor.capture, processor.playback, processor.engine
    block = capture.block / capture.sample_rate
    parts = engine.latency
    per_sample = 1 / engine.sample_rate
    resampler = (parts.resampler_in + parts.resampler_out) * per_sample
    queue, device_out = block, 0.0
    if playback is not None:
        resampler += float(processor.resampler.delay) * per_sample
        queue = processor.drift.filtered or processor.drift.target
        device_out = max(0.0, playback.device_latency)
    latency = {
        # PortAudio counts from the block's first sample, which is in the queue's account already.
        "device_in": max(0.0, capture.device_latency - block),
        "queue": queue,
        "resampler": resampler,
        "hop": parts.buffering * per_sample,
        "model": parts.model * per_sample,
        "device_out": device_out,
    }
    return {name: 1e3 * value for name, value in {**latency, "total": sum(latency.values())}.items()}
