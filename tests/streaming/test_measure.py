"""``audio-enh bench`` and what it measures."""

import json

import numpy as np
import pytest

from audio_enh.cli import run
from audio_enh.streaming import Stream
from audio_enh.streaming.measure import Timing, impulse_delay, most_streams, time_hops
from tests.inference.conftest import FirModel


class Slow:
    """A backend whose step takes as long as it is told, and more the more streams there are."""

    name, sample_rate, hop_length, delay, latency = "slow", 16000, 160, 0, 320

    def __init__(self, batch: int, seconds_per_stream: float):
        import time

        self.batch = batch
        self.step = lambda audio: time.sleep(batch * seconds_per_stream) or audio


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("delay", [0, 37, 160])
@pytest.mark.parametrize("taps", [(1.0,), (-0.3, 0.0, 0.0, 0.9)])
def test_the_delay_is_that_of_the_impulse_response(rate, delay, taps):
    stream = Stream(FirModel(taps, delay=delay), rate)
    rng = np.random.default_rng(0)
    audio = 0.1 * rng.standard_normal(rate)
    extra = int(np.argmax(np.abs(taps))) * rate / 16000
    assert impulse_delay(stream, audio) == pytest.approx(stream.latency_samples + extra, abs=0.1)


def test_times_are_those_of_the_hops():
    slow = Slow(1, 0.003)
    timing = time_hops(lambda: slow.step(None), 0.01, 0.3)
    assert 0.003 <= timing.p50 <= timing.p95 <= timing.p99
    assert timing.hop == 0.01
    assert Timing(0.01, 0.001, 0.002, 0.004, 0.0015).real_time_factor == pytest.approx(0.15)
    assert Timing(0.01, 0.001, 0.002, 0.004, 0.0015).headroom == pytest.approx(2.5)


def test_the_number_of_streams_is_the_largest_that_holds():
    # 10 ms for a hop, a little over 0.9 ms a stream.
    most, timing = most_streams(lambda batch: Slow(batch, 0.0009), 0.2)
    assert 5 <= most <= 11  # less on a busy machine, never more than fit
    assert timing is not None
    assert timing.p99 <= 0.01
    assert most_streams(lambda batch: Slow(batch, 0.02), 0.1) == (0, None)


def test_bench_tells_programs(capsys):
    assert run(["bench", "--seconds", "0.2", "--json", "--threads", "1"]) == 0
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
    assert run(["bench", "--seconds", "0.2", "--backend", "onnx"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "This machine can" in out
    assert "causal-unet-16k" in out


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
    assert run(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
