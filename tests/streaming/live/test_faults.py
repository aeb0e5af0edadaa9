"""What goes wrong in real life, on real devices: no crash, no leak, nothing left behind, one clear line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from audio_enh.errors import UserError
from audio_enh.io import write_audio
from audio_enh.streaming.live.opening import open_device

from .conftest import RATE, noisy_speech, wait_until
from .test_devices import LAPTOP, Refusing, find_device, list_devices


@pytest.fixture
def endless(server, tmp_path):
    """Plays speech to a sink over and over, whatever becomes of the sink."""
    path = tmp_path / "speech.wav"
    write_audio(path, noisy_speech(seconds=60), RATE)
    players = []

    def play(sink):
        players.append(server.play(path, sink))

    yield play
    for player in players:
        player.kill()
        player.wait()


def test_an_output_that_is_unloaded_is_taken_up_again(server, live, endless):
    server.add_sink("feed")
    ears = server.add_sink("ears")
    session = live("-i", "feed.monitor", "-o", "ears")
    session.wait_for("status", frame_ms=lambda ms: ms["p50"] > 0)
    endless("feed")
    session.wait_for("status", output_level=lambda db: db > -60)
    server.pactl("unload-module", ears)
    session.wait_for("lost")
    session.wait_for("status", waiting_for=["output"])
    server.add_sink("ears")
    session.wait_for("back")
    with server.recording("ears.monitor", 1) as heard:
        session.wait_for("status", waiting_for=[], seconds=lambda s: True)
        time.sleep(9)  # longer than the recording with its pause, and than a null sink stops for a listener
    assert np.abs(heard[0]).max() > 0.01
    assert session.stop() == (143, "stopped by SIGTERM\n")
    assert session.told("lost") == ["the output Null Output is gone: waiting for it"]


@pytest.mark.slow
def test_a_microphone_that_is_unloaded_is_taken_up_again_without_counting_gaps(server, live, endless):
    feed = server.add_sink("feed")
    server.add_sink("ears")
    session = live("-i", "feed.monitor", "-o", "ears")
    session.wait_for("status", frame_ms=lambda ms: ms["p50"] > 0)
    server.pactl("unload-module", feed)
    session.wait_for("lost")
    before = session.wait_for("status", waiting_for=["input"])["underruns"]
    server.add_sink("feed")
    session.wait_for("back")
    endless("feed")
    status = session.wait_for("status", output_level=lambda db: db > -60)
    assert status["underruns"] <= before + 1
    assert session.stop()[0] == 143


@pytest.mark.slow
def test_a_server_that_is_restarted_gets_its_virtual_microphone_again(server, live, endless):
    server.add_sink("feed")
    session = live("-i", "feed.monitor", "--virtual-mic", "Clean")
    session.wait_for("status", frame_ms=lambda ms: ms["p50"] > 0)
    for _ in range(2):
        server.stop()
        session.wait_for("status", waiting_for=lambda gone: set(gone) == {"input", "output"})
        server.start()
        server.add_sink("feed")
        session.wait_for("status", waiting_for=[], timeout=30)
        assert "Clean" in server.names("sources")
    endless("feed")
    session.wait_for("status", output_level=lambda db: db > -60)
    # PortAudio's thread of a device that died with its server may spin: that is told, and is all that may be told
    # beside a stream that the server had moved.
    warnings = session.told("warning")
    assert all(each.startswith("PortAudio hangs on the ") or "moved" in each for each in warnings)
    assert session.stop() == (143, "stopped by SIGTERM\n")
    assert server.names("sources") == {"feed.monitor"}


@pytest.mark.slow
def test_a_process_that_was_put_to_sleep_goes_on(server, live, endless):
    server.add_sink("feed")
    server.add_sink("ears")
    session = live("-i", "feed.monitor", "-o", "ears")
    session.wait_for("status", frame_ms=lambda ms: ms["p50"] > 0)
    endless("feed")
    session.process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    session.process.send_signal(signal.SIGCONT)
    time.sleep(2)
    session.wait_for("status", waiting_for=[], output_level=lambda db: db > -60)
    # Two seconds of sound had piled up.
    session.wait_for("status", latency_ms=lambda ms: ms["queue"] < 80)
    assert session.stop()[0] == 143


@pytest.mark.slow
def test_ten_seconds_of_full_load_on_every_core(server, live, endless):
    server.add_sink("feed")
    server.add_sink("ears")
    session = live("-i", "feed.monitor", "-o", "ears")
    session.wait_for("status", frame_ms=lambda ms: ms["p50"] > 0)
    endless("feed")
    time.sleep(4)
    before = session.wait_for("status", output_level=lambda db: db > -60)["underruns"]
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        time.sleep(10)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    after = session.wait_for("status", seconds=lambda s: True)
    # The server itself starves too, so that there may be gaps; each made the reserve larger.
    assert after["underruns"] - before <= 10
    time.sleep(5)
    last = session.wait_for("status", waiting_for=[], overloaded=False, output_level=lambda db: db > -60)
    assert last["underruns"] - after["underruns"] <= 1
    assert session.stop()[0] == 143


def test_no_portaudio_library(server, live, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import ctypes.util\nctypes.util.find_library = lambda name: None\n"
    )
    session = live(env={"PYTHONPATH": str(tmp_path / "site")})
    code, error = session.finish()
    assert code == 2
    assert error.startswith("error: the library PortAudio is missing: apt install libportaudio2")
    assert error.count("\n") == 1


def test_no_server_and_no_device(server, live):
    server.stop()
    code, error = live().finish()
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    code, error = live("--virtual-mic", "-i", "0").finish()
    assert code == 2
    assert "a virtual microphone needs PulseAudio or PipeWire" in error
    assert error.count("\n") == 1


def test_a_device_that_is_busy():
    module = Refusing(lambda settings: False)
    module.error = "Error opening InputStream: Device unavailable [PaErrorCode -9985]"
    with pytest.raises(UserError, match="cannot open the input Jabra Evolve2: it is busy; close the program"):
        open_device(module, find_device(list_devices(LAPTOP), "Jabra", "input"), "input", block_seconds=0.01)


def test_what_a_killed_process_left_is_removed_and_nothing_else(server, live):
    server.add_sink("feed")
    server.pactl("load-module", "module-null-sink", "sink_name=mine")
    survivor = live("-i", "feed.monitor", "--virtual-mic", "Survivor")
    killed = live("-i", "feed.monitor", "--virtual-mic", "Killed")
    for session in (survivor, killed):
        session.wait_for("started")
    wait_until(lambda: {"Survivor", "Killed"} <= server.names("sources"), "no virtual microphones")
    killed.process.kill()
    killed.process.wait()
    cleanup = live("--cleanup")
    assert cleanup.process.wait(10) == 0
    assert "Killed" not in server.names("sources")
    assert server.names("sinks") == {"feed", "mine", "Survivor.input"}
    # The same again at every start, without being asked.
    another = live("-i", "feed.monitor", "--virtual-mic", "Another")
    another.wait_for("started")
    another.process.kill()
    another.process.wait()
    assert "Another" in server.names("sources")
    last = live("-i", "feed.monitor", "--virtual-mic", "Another", "--duration", 1)
    assert last.finish()[0] == 0
    assert survivor.stop()[0] == 143
    assert server.names("sinks") == {"feed", "mine"}
