"""What a killed program leaves behind is removed by the next one that writes the same file, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from audio_enh.io import AtomicTarget, write_audio
from audio_enh.io.atomic import remove_leftovers

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

WRITE = """
import sys, time
import numpy as np
from audio_enh.io import AudioWriter
with AudioWriter(sys.argv[1], sample_rate=16000, channels=1) as writer:
    writer.write(np.zeros((1, 100_000), np.float32))
    print("writing", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def writing(target: Path) -> subprocess.Popen[bytes]:
    running = subprocess.Popen([sys.executable, "-c", WRITE, target], stdout=subprocess.PIPE)
    assert running.stdout.readline() == b"writing\n"
    return running


@pytest.mark.parametrize("name", ["talk.wav", "a very long name of a talk, longer than thirty-two.m4a"])
def test_the_next_run_removes_what_a_killed_one_left(tmp_path, name):
    if name.endswith(".m4a"):
        pytest.importorskip("shutil").which("ffprobe") or pytest.skip("needs ffmpeg")
    target = tmp_path / name
    running = writing(target)
    assert remove_leftovers(target) == []  # it is alive
    running.send_signal(signal.SIGKILL)
    running.wait()
    left = names(tmp_path)
    assert len(left) == (2 if name.endswith(".m4a") else 1)
    assert remove_leftovers(tmp_path / "other.wav") == []
    assert sorted(path.name for path in remove_leftovers(target)) == left
    assert names(tmp_path) == []


def test_what_others_are_writing_and_what_is_not_ours_stays(tmp_path):
    target = tmp_path / "talk.wav"
    mine = AtomicTarget(target)
    recording = AtomicTarget(target, mark="recording")
    for name in (
        ".talk.wav",
        ".talk.part.wav",
        ".talk.99999999-abc.part.wav",
        ".talk.1.99999999-abcdef12.part.wav",
    ):
        (tmp_path / name).write_bytes(b"somebody's")
    (tmp_path / ".talk.99999999-abcdef12.recording.wav").write_bytes(b"an hour of a meeting")
    (tmp_path / ".talk.99999999-abcdef12.part.wav").write_bytes(b"ours")
    assert [path.name for path in remove_leftovers(target)] == [".talk.99999999-abcdef12.part.wav"]
    mine.discard()
    recording.discard()
    assert len(names(tmp_path)) == 5


def test_parts_of_parts_have_the_name_of_the_first(tmp_path):
    outer = AtomicTarget(tmp_path / "talk.mkv")
    inner = AtomicTarget(outer.temporary)
    assert inner.temporary.name.startswith(".talk.")
    assert inner.temporary.name.count(".part") == 1
    inner.discard()
    outer.discard()
    write_audio(tmp_path / "talk.wav", np.zeros(10, np.float32), 8000)
    assert names(tmp_path) == ["talk.wav"]
