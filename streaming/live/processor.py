"""What happens to a block between the two rings. Runs on the worker's thread."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audio_enh.streaming.resampler import Resampler

from .channels import Channel, Chooser
from .drift import DriftController
from .endpoints import Capture, Playback
from .fades import Fader, cut
from .load import LoadGovernor
from .meters import History, LevelMeter

Audio = NDArray[np.float32]
Listener = Callable[[Audio], None]

FADE_SECONDS = 0.02
SEAM_SECONDS = 0.005
# What the output holds more than its target by is left to the trim (below), cut out in cross-faded pieces, or
# dropped at once (above): 8 ms would take the trim 8 seconds, and 100 ms of cuts would be heard as a stutter.
CUT_ABOVE = 0.008
DROP_ABOVE = 0.1
# Both devices are to run for so long without such a pause before anything is played.
SETTLE_SECONDS = 0.3
PAUSE_SECONDS = 0.1
# Every underrun makes the reserve larger, up to this.
LARGEST_RESERVE = 0.1
# By what was missing and something to spare. After longer than any stall of a busy machine a device has paused, and
# no reserve is enough: then by little.
SPARE = 0.005
LONGEST_STALL = 0.05
MORE_RESERVE = 0.005
# A minute makes it smaller again, if in none of the last ten the output came as near to running empty as the spare: a
# stall that comes every five minutes would else be forgotten in time for the next.
LESS_RESERVE = 0.001
CALM_SECONDS = 60.0
CALM_MINUTES = 10


class Latency(Protocol):
    """By part, in samples of the engine's rate."""

    @property
    def resampler_in(self) -> float: ...
    @property
    def model(self) -> float: ...
    @property
    def buffering(self) -> float: ...
    @property
    def resampler_out(self) -> float: ...


class Engine(Protocol):
    """What of `audio_enh.streaming.LiveStream` is used here."""

    sample_rate: int
    channels: int
    latency_samples: int
    strength: float
    max_attenuation: float | None
    invalid_samples: int
    model_failures: int

    @property
    def latency(self) -> Latency: ...

    def process(self, block: Audio, *, run_model: bool = True) -> Audio: ...


class Processor:
    """Takes blocks from the microphone's ring, enhances them, and keeps the loudspeaker's ring filled.

    Args:
        engine: at the microphone's rate; one or two channels.
        capture: the microphone.
        playback: the loudspeaker; None if nothing is to be heard.
        reserve: seconds of sound that the output holds against jitter at the least, beyond the microphone's block.
        first_reserve: what it holds at first, if more: so much jitter makes no gap before it is known.
        channel: which of the microphone's inputs to take.

    Attributes:
        strength: of the enhancement, 0 to 1; may be set at any time, as may the next two.
        bypassed: the input is heard, equally late.
        muted: nothing is heard or recorded.
        frame_times: seconds of work for each of the last blocks.
        governor, drift, resampler, chooser, input_meter, output_meter: to be looked at.
        invalid_samples: NaN or infinite, from the microphone; they are taken as 0.
        on_input, on_output: called with every block ``(channels, n)``, before and after, at the microphone's rate.
        on_removed: called with what was taken away: the input, as late as the output, minus the output. Set it before
            the first block.
    """

    def __init__(
        self,
        engine: Engine,
        capture: Capture,
        playback: Playback | None,
        *,
        reserve: float = 0.015,
        first_reserve: float = 0.0,
        channel: Channel = "auto",
    ):
        self.engine = engine
        self.capture = capture
        self.strength = engine.strength
        self.bypassed = False
        self.muted = False
        self.invalid_samples = 0
        self.channel = channel
        self._least_reserve = reserve
        self.reserve = max(reserve, first_reserve)
        self.governor = LoadGovernor()
        blocks = round(10 * capture.sample_rate / capture.block)
        self.input_meter = LevelMeter(blocks)
        self.output_meter = LevelMeter(blocks)
        self.frame_times = History(1000)
        self.on_input: Listener | None = None
        self.on_output: Listener | None = None
        self.on_removed: Listener | None = None
        self._late = np.zeros((engine.channels, engine.latency_samples), np.float32)
        self._volume = Fader(round(FADE_SECONDS * engine.sample_rate))
        self.set_capture(capture)
        self.set_playback(playback)

    def set_capture(self, capture: Capture) -> None:
        """Another microphone, or the same one again; of the same rate and block."""
        if (capture.sample_rate, capture.block) != (self.engine.sample_rate, self.capture.block):
            raise ValueError("another rate or block needs another engine")
        self.capture = capture
        self.chooser = Chooser(capture.sample_rate, capture.channels, self.engine.channels, self.channel)
        self._frames = np.empty((capture.block, capture.channels), np.float32)

    def set_playback(self, playback: Playback | None) -> None:
        """Another loudspeaker, or the same one again; of any rate."""
        self.playback = playback
        self._underruns = 0
        self._measured = 0.0
        self._minute_since = time.perf_counter()
        self._margins: deque[float] = deque(maxlen=CALM_MINUTES)
        self._last_block = 0.0
        self._run_since = 0.0
        self._settled = False
        if playback is not None:
            self.resampler = Resampler(self.engine.sample_rate, playback.sample_rate, self.engine.channels)
            self.drift = DriftController(self._wanted())

    def _wanted(self) -> float:
        """Seconds of sound between the two clocks: the block that is being captured, and the reserve."""
        return self.capture.block / self.capture.sample_rate + self.reserve

    def run(self, timeout: float = 0.1) -> bool:
        """Wait for the microphone and do what is there to do. False if nothing came."""
        block = self.capture.block
        if self.capture.ring.fill < block:
            self.capture.wait(timeout)
        worked = False
        while self.capture.ring.fill >= block:
            self._block()
            worked = True
        return worked

    def _block(self) -> None:
        began = time.perf_counter()
        capture, engine = self.capture, self.engine
        duration = capture.block / capture.sample_rate
        capture.ring.read_into(self._frames)
        finite = np.isfinite(self._frames)
        if not finite.all():
            self.invalid_samples += int(finite.size - np.count_nonzero(finite))
            self._frames[~finite] = 0
        audio = self.chooser.process(self._frames.T)
        if self.on_input is not None:
            self.on_input(audio)
        self.input_meter.add(audio)

        strength = 0.0 if self.bypassed else self.strength
        if strength != engine.strength:
            engine.strength = strength
        run_model = self.governor.may_run(duration, self._until_empty(began), began)
        output = engine.process(audio, run_model=run_model)
        if run_model:
            self.governor.worked(time.perf_counter() - began, duration)

        self._volume.target = 0.0 if self.muted else 1.0
        volume = self._volume.gains(output.shape[1])
        if not isinstance(volume, float) or volume != 1:
            output = output * volume
        self.output_meter.add(output)
        if self.on_output is not None:
            self.on_output(output)
        if self.on_removed is not None:
            joined = np.concatenate([self._late, audio], axis=1)
            late = joined[:, : output.shape[1]] * volume
            self.on_removed((late - output).astype(np.float32))
            self._late = joined[:, output.shape[1] :]
        if self.playback is not None:
            self._play(self.playback, output)
        self.frame_times.add(time.perf_counter() - began)

    def _until_empty(self, now: float) -> float:
        if self.playback is None or not self.playback.playing:
            return math.inf
        return self.playback.reserve(now)

    def _play(self, playback: Playback, audio: Audio) -> None:
        self._adapt_reserve(playback)
        self.resampler.ratio_ppm = self.drift.ppm if playback.playing else self.drift.drift
        audio = self.resampler.process(audio)

        if not self._both_run(playback):
            return
        excess = self._between(playback, audio.shape[1]) - self.drift.target
        if not playback.playing:
            # The way to the first sound: what is there, less what is too much of it, on to the target.
            audio = self._trim(audio, excess, playback.sample_rate)
            playback.ring.write(_as_channels(audio, playback.channels).T)
            if excess >= 0:
                self.drift.retarget(self._wanted())
                playback.playing = True
            return
        if excess > DROP_ABOVE and not playback.skip:
            playback.skip = round(excess * playback.sample_rate)
            self.drift.retarget(self._wanted())
        elif excess > CUT_ABOVE and (self.drift.filtered or 0) - self.drift.target > CUT_ABOVE:
            audio = self._trim(audio, excess, playback.sample_rate)
            self.drift.retarget(self._wanted())
        else:
            now = time.perf_counter()
            self.drift.update(excess + self.drift.target, min(now - self._measured, 0.1))
            self._measured = now
        playback.ring.write(_as_channels(audio, playback.channels).T)

    def _adapt_reserve(self, playback: Playback) -> None:
        now = time.perf_counter()
        if playback.underruns > self._underruns:
            self._underruns = playback.underruns
            missing = now - playback.emptied
            more = missing + SPARE if missing < LONGEST_STALL else MORE_RESERVE
            self.reserve = max(self.reserve, min(self.reserve + more, LARGEST_RESERVE))
            self.drift.retarget(self._wanted())
        if now - self._minute_since < CALM_SECONDS:
            return
        self._minute_since = now
        self._margins.append(playback.take_margin())
        calm = len(self._margins) == CALM_MINUTES and min(self._margins) > SPARE
        if calm and self.reserve > self._least_reserve:
            self.reserve = max(self.reserve - LESS_RESERVE, self._least_reserve)
            self.drift.target = self._wanted()  # the trim glides there

    def _both_run(self, playback: Playback) -> bool:
        """Whether the two devices have got going, once; null sinks call a few times and then stop for two seconds."""
        now = time.perf_counter()
        paused = max(playback.beat.since(now), now - self._last_block) > PAUSE_SECONDS
        self._last_block = now
        if paused or not playback.beat.blocks:
            self._run_since = now
        self._settled = self._settled or now - self._run_since > SETTLE_SECONDS
        return self._settled

    def _trim(self, audio: Audio, excess: float, sample_rate: int) -> Audio:
        if excess <= 0:
            return audio
        return cut(audio, round(excess * sample_rate), round(SEAM_SECONDS * sample_rate))

    def _between(self, playback: Playback, coming: int) -> float:
        """Seconds of sound captured and not yet played, with ``coming`` frames about to be written."""
        now = time.perf_counter()
        captured = self.capture.ring.fill / self.capture.sample_rate + self.capture.beat.since(now)
        return captured + coming / playback.sample_rate + playback.reserve(now)


def _as_channels(audio: Audio, channels: int) -> Audio:
    """Of the output: one becomes many by repetition, two become one by their mean."""
    if audio.shape[0] == channels:
        return audio
    if channels == 1:
        return audio.mean(axis=0, keepdims=True)
    if audio.shape[0] == 1:
        return np.broadcast_to(audio, (channels, audio.shape[1]))
    return audio[np.arange(channels) % audio.shape[0]]
