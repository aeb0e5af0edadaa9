"""Signals at drawn moments: the old file or the new one, whole, and nothing beside it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import soundfile

from audio_enh.io import read_audio
from audio_enh.io.atomic import remove_leftovers

from .sounds import noise

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

COPY = """
import sys, time
from audio_enh.io import AudioReader, AudioWriter
from audio_enh.cli._signals import Interruptible
try:
    with Interruptible() as interruptible:
        print("ready", flush=True)
        with AudioReader(sys.argv[1]) as reader, AudioWriter(sys.argv[2], reader.info) as writer:
            for block in reader.blocks(0.5):
                interruptible.check()
                writer.write(block)
                time.sleep(0.01)
except KeyboardInterrupt as stopped:
    sys.exit(130)
"""
SECONDS = 20
KINDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]


def one_run(folder, source, suffix: str, number: signal.Signals, delay: float) -> None:
    target = folder / f"out{suffix}"
    target.write_bytes(b"precious")
    running = subprocess.Popen([sys.executable, "-c", COPY, source, target], stdout=subprocess.PIPE)
    assert running.stdout.readline() == b"ready\n"
    time.sleep(delay)
    running.send_signal(number)
    code = running.wait(timeout=60)
    assert code in (0, 130, -number)  # the last: after all was done
    if number == signal.SIGKILL:
        remove_leftovers(target)  # as the next run does
    if target.read_bytes() == b"precious":
        assert code != 0
    else:
        assert abs(read_audio(target)[0].shape[1] - 16000 * SECONDS) < 4000
    assert [path.name for path in folder.iterdir()] == [target.name]


@pytest.mark.parametrize("runs", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_nothing_lost_and_nothing_left(tmp_path, runs):
    rng = random.Random(runs)
    source = tmp_path / "in.wav"
    soundfile.write(source, noise(16000 * SECONDS, 16000)[0], 16000)
    suffixes = [".wav", ".flac", ".opus"] + ([".m4a"] if shutil.which("ffprobe") else [])
    for run in range(runs):
        folder = tmp_path / f"run{run}"
        folder.mkdir()
        suffix = suffixes[run % len(suffixes)]
        longest = 1.8 if suffix == ".m4a" else 0.8
        one_run(folder, source, suffix, rng.choice(KINDS), rng.uniform(0, longest))
