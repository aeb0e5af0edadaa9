"""What happens to a recording when a run ends, in whatever way: the rows of docs/recordings.md, on real devices."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import random
import shutil
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest

from audio_enh.io import read_audio

from .conftest import SCRIPT, wait_until


@pytest.fixture
def disk(tmp_path):
    """One of 300 kB, where mounting is allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def desk(server):
    server.pactl("load-module", "module-null-source", "source_name=desk")
    return server


def left(folder: Path) -> list[str]:
    """Files that nobody asked for."""
    return [path.name for path in folder.iterdir() if ".recording" in path.name or ".part" in path.name]


def test_a_full_disk_ends_the_recording_and_not_the_call(desk, live, disk):
    session = live(
        "-i", "desk", "--virtual-mic", "Clean", "--record", disk / "out.wav", "--record-input", disk / "in.wav",
    )  # fmt: skip
    for _ in range(2):
        text = session.wait_for("warning", timeout=40, text=lambda text: "recording stopped" in text)["text"]
        assert "no space left on the disk" in text
        assert "what was recorded until then" in text
    session.wait_for("status", recording=None)
    assert "Clean" in desk.names("sources")
    code, error = session.stop()
    assert code == 2
    assert error.startswith("error: no space left on the disk while writing")
    for name in ("out.wav", "in.wav"):
        audio, rate = read_audio(disk / name)
        assert audio.shape[1] > rate
    assert left(disk) == []


@pytest.mark.parametrize(
    "runs",
    [
        2,
        pytest.param(100, marks=pytest.mark.slow),
    ],
)
def test_signals_at_any_moment_lose_nothing_and_leave_nothing(desk, live, tmp_path, runs):
    """One, two or three of them, at drawn moments: from the start of the recording on it is there."""
    draw = random.Random(runs)
    for run in range(runs):
        path = tmp_path / f"{run}{draw.choice(['.wav', '.m4a', '.flac', '.ogg'])}"
        session = live("-i", "desk", "--virtual-mic", f"Clean {run}", "--record", path)
        session.wait_for("started", timeout=60)
        time.sleep(draw.uniform(0.3, 1.5))
        numbers = [
            draw.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]) for _ in range(draw.randint(1, 3))
        ]
        for number in numbers:
            if session.process.poll() is None:
                session.process.send_signal(number)
            time.sleep(draw.choice([0, 0.01, 0.1, 0.3]) * draw.random())
        code, error = session.finish(60)
        # Of signals that come within microseconds the system says which is the first.
        assert code in {128 + number for number in numbers}, (run, numbers, error)
        audio, rate = read_audio(path)
        assert audio.shape[1] > 0.2 * rate, (run, path.name, numbers)
        assert left(tmp_path) == [], (run, numbers)
        assert desk.names("sinks") <= {"auto_null"}, (run, numbers)
        assert {name for name in desk.names("sources") if "Clean" in name} == set(), (run, numbers)


def test_a_second_ctrl_c_does_not_stop_the_closing_of_a_recording(desk, live, tmp_path):
    session = live("-i", "desk", "--virtual-mic", "Clean", "--record", tmp_path / "talk.m4a")
    session.wait_for("started")
    time.sleep(1)
    for _ in range(3):
        session.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    code, error = session.finish()
    assert code == 130
    assert "kill -9" in error  # the third says how
    assert error.endswith("stopped by Ctrl-C\n")
    audio, rate = read_audio(tmp_path / "talk.m4a")
    assert audio.shape[1] > 0.5 * rate
    assert [path.name for path in tmp_path.glob("*talk*")] == ["talk.m4a"]
    assert "Clean" not in desk.names("sources")


@pytest.mark.parametrize("ui", [True, False])
def test_a_terminal_that_is_closed_ends_it_as_a_hang_up(desk, tmp_path, ui):
    master, terminal = pty.openpty()

    def take() -> None:
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    command = [
        str(SCRIPT),
        "live",
        "-i",
        "desk",
        "--virtual-mic",
        "Clean",
        "--record",
        str(tmp_path / "talk.wav"),
    ]
    process = subprocess.Popen(
        [*command, *([] if ui else ["--no-ui"])], env={**desk.env, "TERM": "xterm"},
        stdin=terminal, stdout=terminal, stderr=terminal, preexec_fn=take,
    )  # fmt: skip
    os.close(terminal)
    os.set_blocking(master, False)
    said = b""

    def running() -> bool:
        nonlocal said
        with contextlib.suppress(BlockingIOError):
            said += os.read(master, 1 << 16)
        return (b"latency" if ui else b"status") in said

    wait_until(running, "it does not start", 30)
    time.sleep(1)
    os.close(master)
    assert process.wait(20) == 129
    audio, rate = read_audio(tmp_path / "talk.wav")
    assert audio.shape[1] > 0.5 * rate
    assert "Clean" not in desk.names("sources")


def test_what_a_killed_run_recorded_is_named_and_finished_by_the_next(desk, live, tmp_path):
    killed = live("-i", "desk", "-o", "none", "--record", tmp_path / "talk.m4a")
    killed.wait_for("started")
    time.sleep(2)
    killed.process.kill()
    killed.process.wait()
    (part,) = left(tmp_path)
    doctor = subprocess.run(
        [str(SCRIPT), "doctor", "--json"], env=desk.env, capture_output=True, text=True, check=False
    )
    assert part in doctor.stdout
    assert "--recover makes it" in doctor.stdout
    session = live("-i", "desk", "-o", "none", "--record", tmp_path / "more.wav")
    said = session.wait_for("warning")["text"]
    assert said.startswith("to finish with audio-enh live --recover: recording of ")
    assert part in said
    recover = subprocess.run(
        [str(SCRIPT), "live", "--recover"], env=desk.env, capture_output=True, text=True, check=False
    )
    assert (recover.returncode, recover.stdout) == (0, f"recovered {tmp_path / 'talk.m4a'}\n"), recover.stderr
    audio, rate = read_audio(tmp_path / "talk.m4a")
    assert audio.shape[1] > rate
    assert session.stop()[0] == 143
    assert left(tmp_path) == []


def test_a_device_that_goes_leaves_one_recording(desk, live, tmp_path):
    """The same for a server that is restarted: what is heard before and after is in one file."""
    mic = desk.pactl("load-module", "module-null-source", "source_name=usb")
    session = live("-i", "usb", "-o", "none", "--record", tmp_path / "talk.wav")
    session.wait_for("started")
    time.sleep(1)
    desk.pactl("unload-module", mic)
    session.wait_for("lost")
    desk.pactl("load-module", "module-null-source", "source_name=usb")
    session.wait_for("back", timeout=30)
    time.sleep(1)
    assert session.stop()[0] == 143
    audio, rate = read_audio(tmp_path / "talk.wav")
    assert audio.shape[1] > 1.5 * rate


def test_a_machine_that_slept_goes_on_with_its_recording(desk, live, tmp_path):
    session = live("-i", "desk", "-o", "none", "--record", tmp_path / "talk.wav")
    session.wait_for("started")
    time.sleep(1)
    session.process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    session.process.send_signal(signal.SIGCONT)
    time.sleep(1)
    assert session.stop()[0] == 143
    audio, rate = read_audio(tmp_path / "talk.wav")
    assert audio.shape[1] > 1.5 * rate
