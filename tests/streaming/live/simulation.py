"""Two devices with clocks of their own and a worker between them, in simulated time: minutes within seconds."""

from __future__ import annotations

import heapq
from collections import namedtuple
from types import SimpleNamespace

import numpy as np

from audio_enh.streaming.live import drift, endpoints, processor
from audio_enh.streaming.live.endpoints import Capture, Playback
from audio_enh.streaming.live.processor import Processor

TIMES = SimpleNamespace(currentTime=0.0, inputBufferAdcTime=-0.01, outputBufferDacTime=0.02)
Latency = namedtuple("Latency", "resampler_in model buffering resampler_out")


class PassThrough:
    """An engine without a model, which says when its model was run."""

    latency_samples = 0
    latency = Latency(0.0, 0.0, 0.0, 0.0)

    def __init__(self, sample_rate: int, channels: int = 1):
        self.sample_rate = sample_rate
        self.channels = channels
        self.strength = 1.0
        self.max_attenuation: float | None = None
        self.invalid_samples = self.model_failures = 0
        self.runs: list[bool] = []
        self.on_run = lambda: None

    def process(self, block: np.ndarray, *, run_model: bool = True) -> np.ndarray:
        self.runs.append(run_model)
        if run_model:
            self.on_run()
        return np.array(block, np.float32)


class World:
    """Simulated time, a microphone that hears ``sound(seconds)``, and what the loudspeaker played.

    Args:
        in_ppm, out_ppm: by how much the clocks are fast.
        jitter: of the callbacks, in seconds, uniform.
        first_reserve: see `Processor`.
    """

    def __init__(
        self,
        monkeypatch,
        *,
        in_rate=48000,
        out_rate=48000,
        in_ppm=0.0,
        out_ppm=0.0,
        jitter=0.002,
        in_channels=1,
        out_channels=1,
        first_reserve=0.0,
        sound=lambda t: np.sin(2 * np.pi * 440 * t),
    ):
        self.now = 100.0
        clock = SimpleNamespace(perf_counter=lambda: self.now)
        monkeypatch.setattr(drift, "time", clock)
        monkeypatch.setattr(processor, "time", clock)
        monkeypatch.setattr(endpoints, "time", clock)
        self.capture = Capture(in_rate, in_channels, in_rate // 100)
        self.playback = Playback(out_rate, out_channels, out_rate // 100)
        self.engine = PassThrough(in_rate)
        self.processor = Processor(self.engine, self.capture, self.playback, first_reserve=first_reserve)
        self.rng = np.random.default_rng(0)
        self.jitter = jitter
        self.sound = sound
        self.played: list[np.ndarray] = []
        self.history: list[tuple[float, float, float]] = []  # time, ppm, sound between
        self._periods = {"in": 0.01 / (1 + in_ppm * 1e-6), "out": 0.01 / (1 + out_ppm * 1e-6)}
        self._true = {"in": in_rate * (1 + in_ppm * 1e-6)}
        self._events: list[tuple[float, str, float]] = []  # when the callback comes, whose, when it was due
        self._schedule("in", self.now, 0)
        self._schedule("out", self.now + 0.0037, 0)
        self._captured = 0
        self.began = self.now

    def run(self, seconds: float, *, silent: str | None = None) -> None:
        """Let time pass; ``silent`` names a device whose callbacks do not come meanwhile, or the ``worker``."""
        end = self.now + seconds
        while self._events[0][0] < end:
            self.now, which, due = heapq.heappop(self._events)
            self._schedule(which, due + self._periods[which], self.now)
            if which == silent:
                continue
            if which == "in":
                self._capture_block()
                if silent != "worker":
                    self.processor.run(0)
            else:
                out = np.empty((self.playback.block, self.playback.channels), np.float32)
                self.playback.callback(out, len(out), TIMES, None)
                self.played.append(out)
        self.now = max(self.now, end)

    def _schedule(self, which: str, due: float, after: float) -> None:
        """Late by the jitter, but never before the one before."""
        heapq.heappush(self._events, (max(after, due + self.rng.uniform(0, self.jitter)), which, due))

    def _capture_block(self) -> None:
        instants = (self._captured + np.arange(self.capture.block)) / self._true["in"]
        self._captured += self.capture.block
        block = np.repeat(self.sound(instants)[:, None], self.capture.channels, axis=1).astype(np.float32)
        self.capture.callback(block, len(block), TIMES, None)
        control = self.processor.drift
        self.history.append((self.now - self.began, control.ppm, control.filtered or control.target))

    @property
    def output(self) -> np.ndarray:
        return np.concatenate(self.played)
