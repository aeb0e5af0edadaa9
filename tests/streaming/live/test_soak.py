"""Twenty minutes on real devices in real time: ``pytest -m slow tests/streaming/live/test_soak.py -s``."""

from __future__ import annotations

import importlib.resources
import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soxr

import audio_enh
from audio_enh.io import read_audio, write_audio
from audio_enh.streaming import LiveStream

from .conftest import RATE, correlation, correlation_by_pieces, lag

MINUTES = float(os.environ.get("AUDIO_ENH_SOAK_MINUTES", "20"))
WARM_UP = 10  # seconds
WINDOW = 10 * RATE


def all_samples(seconds: float) -> np.ndarray:
    """Every bundled noisy recording in turn, over and over, after some silence."""
    folder = importlib.resources.files("audio_enh") / "samples" / "noisy"
    pieces = []
    for path in sorted(Path(str(folder)).glob("*.flac")):
        audio, rate = read_audio(path)
        pieces.append(soxr.resample(audio[0], rate, RATE))
    audio = np.resize(np.concatenate(pieces), round(seconds * RATE))
    return np.pad(0.7 * audio, (4 * RATE, 0)).astype(np.float32)


@pytest.mark.slow
def test_soak(server, live, tmp_path):
    seconds = 60 * MINUTES
    server.add_world()
    write_audio(tmp_path / "speech.wav", all_samples(seconds + 30), RATE)
    with server.recording("world.monitor", 2) as heard:
        player = server.play(tmp_path / "speech.wav", "feed")
        session = live(
            "-i", "mic", "-o", "ears", "--record", tmp_path / "out.wav", "--record-input", tmp_path / "in.wav"
        )  # fmt: skip
        warm = session.wait_for("status", seconds=lambda s: s > WARM_UP)
        process, memory = psutil.Process(session.process.pid), []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            final = session.wait_for("status", seconds=lambda s: True)
            memory.append(process.memory_info().rss / 1e6)
        threads = process.num_threads()
        code, error = session.stop(signal.SIGTERM)
        player.kill()
    assert (code, error) == (143, "stopped by SIGTERM\n")

    raw, _ = read_audio(tmp_path / "in.wav")
    online = read_audio(tmp_path / "out.wav")[0][0]
    stream = LiveStream(None, RATE, 1, block_length=480)
    # Live, the model's frames lie so much earlier in the signal.
    early = round(stream.latency.resampler_in)
    offline = audio_enh.load(device="cpu").enhance(np.pad(raw[0], (early, 0)), RATE)[early:]
    late = stream.latency_samples
    length = len(online) - late
    left, right = heard[0]
    first = lag(left[: 30 * RATE], right[: 30 * RATE])
    delays = [
        1000 * lag(left[at : at + WINDOW], right[at + first - 4800 : at + first - 4800 + WINDOW]) / RATE
        + 1000 * (first - 4800) / RATE
        for at in range(30 * RATE, len(right) - 2 * WINDOW, 6 * WINDOW)
    ]
    start = lag(offline[: 30 * RATE], right[: 40 * RATE])
    statuses = [said for said in session.said if said["event"] == "status" and said["seconds"] > WARM_UP]
    report = {
        "minutes": MINUTES,
        "underruns": final["underruns"] - warm["underruns"],
        "lost_ms": final["lost_ms"],
        "overloads": final["overloads"] - warm["overloads"],
        "memory_mb": [round(np.median(part), 1) for part in np.array_split(memory, 5)],
        "threads": threads,
        "correlation_offline_recorded": correlation(offline[:length], online[late:]),
        "correlation_offline_heard": correlation_by_pieces(offline, right, start),
        "delay_measured_ms": {"median": np.median(delays), "least": min(delays), "most": max(delays)},
        "latency_ms": {
            part: round(float(np.median([status["latency_ms"][part] for status in statuses])), 2)
            for part in final["latency_ms"]
        },
        "frame_ms": final["frame_ms"],
        "underruns_at_s": [
            round(after["seconds"])
            for before, after in itertools.pairwise(statuses)
            if after["underruns"] > before["underruns"]
        ],
        "reserve_ms": final["reserve_ms"],
        "drift_ppm": final["drift_ppm"],
        "largest_trim_ppm": max(abs(status["trim_ppm"]) for status in statuses),
        "cpu": round(float(np.median([status["cpu"] for status in statuses])), 1),
    }
    sys.stdout.write(json.dumps(report, indent=2, default=float) + "\n")
    assert report["underruns"] == 0
    assert report["lost_ms"] == 0
    assert report["memory_mb"][-1] - report["memory_mb"][0] < 3
    assert report["correlation_offline_recorded"] > 0.999
    assert report["correlation_offline_heard"] > 0.999
    assert abs(report["delay_measured_ms"]["median"] - report["latency_ms"]["total"]) < 25
