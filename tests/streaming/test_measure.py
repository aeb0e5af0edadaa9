"""``audio-enh live-speed`` and what it measures."""

import json

import numpy as np
import pytest

from audio_enh.cli import live_speed, run
from audio_enh.streaming import LiveStream
from audio_enh.streaming.measure import Measured, Timing, impulse_delay, most_streams, time_hops
from tests.inference.conftest import FirModel


class Clock:
    """Time that passes only where it is spent."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("audio_enh.streaming.measure.time", clock)
    return clock


class Slow:
    """A backend whose step takes as long as it is told, and more the more streams there are."""

    name, sample_rate, hop_length, delay, latency = "slow", 16000, 160, 0, 320

    def __init__(self, clock: Clock, batch: int, seconds_per_stream: float):
        self.clock, self.batch, self.seconds = clock, batch, batch * seconds_per_stream

    def step(self, audio: np.ndarray) -> np.ndarray:
        self.clock.now += self.seconds
        return audio


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("delay", [0, 37, 160])
@pytest.mark.parametrize("taps", [(1.0,), (-0.3, 0.0, 0.0, 0.9)])
def test_the_delay_is_that_of_the_impulse_response(rate, delay, taps):
    stream = LiveStream(FirModel(taps, delay=delay), rate)
    rng = np.random.default_rng(0)
    audio = 0.1 * rng.standard_normal(rate)
    extra = int(np.argmax(np.abs(taps))) * rate / 16000
    assert impulse_delay(stream, audio) == pytest.approx(stream.latency_samples + extra, abs=0.1)


def test_times_are_those_of_the_hops(clock):
    taken = iter([0.06] * 2 + [0.002] * 90 + [0.004] * 7 + [0.02] * 3)  # the first two to warm up

    def run() -> None:
        clock.now += next(taken)

    timing = time_hops(run, 0.01, 1.0)
    assert timing.hop == 0.01
    assert timing.p50 == pytest.approx(0.002)
    assert timing.p95 == pytest.approx(0.004)
    assert timing.p99 == pytest.approx(0.02)
    assert timing.mean == pytest.approx((90 * 0.002 + 7 * 0.004 + 3 * 0.02) / 100)
    assert timing.real_time_factor == pytest.approx(timing.mean / 0.01)
    assert timing.headroom == pytest.approx(0.5)


def test_the_number_of_streams_is_the_largest_that_holds(clock):
    most, timing = most_streams(lambda batch: Slow(clock, batch, 0.0009), 0.2)
    assert most == 11  # 10 ms for a hop, 0.9 ms a stream
    assert timing is not None
    assert timing.p99 == pytest.approx(0.0099)
    assert most_streams(lambda batch: Slow(clock, batch, 0.02), 0.1) == (0, None)
    assert most_streams(lambda batch: Slow(clock, batch, 1e-6), 0.1, limit=64)[0] == 64


def test_bench_tells_programs(capsys):
    assert run(["live-speed", "--seconds", "0.2", "--json", "--threads", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {(row["backend"], row["model"]) for row in report["rows"]} >= {
        ("onnx", "causal-unet-16k"),
        ("torch", "causal-unet-16k"),
    }
    for row in report["rows"]:
        if row["model"] == "causal-unet-16k":
            assert row["latency_ms"] == pytest.approx(30)
            assert row["stated_delay_ms"] == pytest.approx(13)
            assert row["measured_delay_ms"] == pytest.approx(13, abs=0.05)
            assert 0 < row["step"]["p50_ms"] <= row["step"]["p99_ms"]
            assert row["step"]["real_time_factor"] > 0


def test_bench_tells_people(capsys):
    assert run(["live-speed", "--seconds", "0.2", "--backend", "onnx"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "This machine can" in out
    assert "causal-unet-16k" in out


@pytest.mark.parametrize(
    ("default", "small", "recommended"),  # seconds that a frame of 10 ms takes; half of it is with ease
    [
        (0.004, 0.001, "can run causal-unet-16k"),
        (0.006, 0.001, "can run small"),
        (0.02, 0.006, "can only just run small"),
        (0.03, 0.02, "cannot run any of these live: with small"),
    ],
)
def test_bench_recommends_the_default_model_where_it_runs_with_ease(default, small, recommended):
    def row(model: str, seconds: float) -> live_speed.SpeedRow:
        timing = Timing(0.01, seconds, seconds, seconds, seconds)
        return live_speed.SpeedRow(
            model, "onnx", "cpu", 1, Measured(timing, timing, 0.03, 0.013, 0.013), None, None
        )

    assert recommended in live_speed._verdict([row("causal-unet-16k", default), row("small", small)])


@pytest.mark.parametrize(
    ("busy", "said"), [(0.14, "can run causal-unet-16k"), (0.95, "cannot run any of these")]
)
def test_bench_does_not_take_late_frames_for_a_slow_machine(busy, said):
    """Other programs took the processor in one frame of a hundred; live audio runs all the same."""
    timing = Timing(0.01, 0.01 * busy, 0.008, 0.03, 0.01 * busy)
    row = live_speed.SpeedRow(
        "causal-unet-16k", "onnx", "cpu", 1, Measured(timing, timing, 0.03, 0.013, 0.013), None, None
    )
    verdict = live_speed._verdict([row])
    assert said in verdict
    assert f"{100 * busy:.0f} % of the time" in verdict


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nix"], "no checkpoint 'nix'"),
        (["--threads", "two"], "--threads two: give numbers"),
        (["--seconds", "0"], "--seconds 0"),
        (["--backend", "tflite"], "--backend tflite"),
        (["--backend", "onnx", "--device", "cuda"], "runs on the CPU"),
        (["missing.onnx"], "missing.onnx does not exist"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message, capsys):
    assert run(["live-speed", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
