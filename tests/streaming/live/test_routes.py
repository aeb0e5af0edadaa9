"""Nobody is overheard and nobody is silenced when the sound server moves streams about; on real servers."""

from __future__ import annotations

import time

import numpy as np
import pytest

from audio_enh.io import write_audio

from .conftest import RATE, noisy_speech, wait_until
from .test_virtual_mic import pipewire  # noqa: F401  # a fixture


@pytest.fixture
def music(server, tmp_path):
    """Plays what the computer plays, on whatever is its default output."""
    path = tmp_path / "music.wav"
    t = np.arange(60 * RATE) / RATE
    write_audio(path, (0.5 * np.sin(2 * np.pi * 1000 * t)).astype(np.float32), RATE)
    players = []

    def play():
        players.append(server.play(path, None))

    yield play
    for player in players:
        player.kill()
        player.wait()


def default(server, what: str = "Sink") -> str:
    info = server.pactl("info")
    return next(line.split(": ")[1] for line in info.splitlines() if line.startswith(f"Default {what}"))


def streams(server, kind: str) -> dict[str, set[str]]:
    """Of ``sink-inputs`` or ``source-outputs``: the devices that each program's streams are connected to."""
    devices = "sinks" if kind == "sink-inputs" else "sources"
    names = dict(line.split("\t")[:2] for line in server.pactl("list", "short", devices).splitlines())
    found: dict[str, set[str]] = {}
    where = ""
    for line in server.pactl("list", kind).splitlines():
        if line.startswith(("\tSink: ", "\tSource: ")):
            where = names.get(line.split(": ")[1], "nowhere")
        elif "application.process.id" in line:
            found.setdefault(line.split('"')[1], set()).add(where)
    return found


def number_of(server, kind: str, process: int) -> str:
    number = ""
    for line in server.pactl("list", kind).splitlines():
        if line.startswith(("Sink Input #", "Source Output #")):
            number = line.split("#")[1]
        elif f'application.process.id = "{process}"' in line:
            return number
    raise AssertionError(f"process {process} has none of the {kind}")


def loudness(heard: np.ndarray, frequency: float = 1000.0) -> float:
    """Of a tone in the last of four quarters, full scale 1."""
    last = heard[0, 3 * heard.shape[1] // 4 :].astype(np.float64)
    phase = np.exp(-2j * np.pi * frequency * np.arange(len(last)) / RATE)
    return float(2 * np.abs(np.mean(last * phase)))


def stays(server, process: int, source: str, sink: str) -> None:
    """Where the streams of ``audio-enh live`` have to be, within a second, and for one more."""

    def right() -> bool:
        ours = str(process)
        return streams(server, "sink-inputs").get(ours) == {sink} and streams(server, "source-outputs").get(
            ours
        ) == {source}

    wait_until(right, "our streams are elsewhere", 5)
    time.sleep(0.5)
    assert right()


def start_a_call(server, live, microphone="desk"):
    if microphone == "desk":
        server.pactl("load-module", "module-null-source", "source_name=desk")
    session = live("-i", microphone, "--virtual-mic", "Clean")
    session.wait_for("started")
    wait_until(lambda: str(session.process.pid) in streams(server, "sink-inputs"), "no output")
    return session


def test_unplugged_headphones_do_not_make_the_call_hear_what_the_computer_plays(server, live, music):
    phones = server.add_sink("phones")
    server.pactl("set-default-sink", "phones")
    session = start_a_call(server, live)
    music()
    wait_until(lambda: {"phones"} in streams(server, "sink-inputs").values(), "no music")
    with server.recording("Clean", 1) as heard:
        time.sleep(2.5)  # a null sink stops for a listener
        server.pactl("unload-module", phones)
        session.wait_for("warning", text=lambda text: "goes to nowhere until there is an output" in text)
        assert default(server) != "Clean.input"
        time.sleep(2)
    assert heard[0].shape[1] > RATE
    assert loudness(heard[0]) < 1e-4
    stays(server, session.process.pid, "desk", "Clean.input")
    # They are plugged in again, and the music is heard there again.
    server.add_sink("phones")
    wait_until(lambda: default(server) == "phones", "the headphones are not the default again")
    wait_until(lambda: {"phones"} in streams(server, "sink-inputs").values(), "the music does not come back")
    stays(server, session.process.pid, "desk", "Clean.input")
    wait_until(lambda: server.names("sinks") == {"phones", "Clean.input"}, "a sink is left")
    assert session.stop()[0] == 143
    assert server.names("sinks") == {"phones"}


def test_the_virtual_microphone_is_never_the_default_output(server, live, music):
    server.add_sink("speakers")
    server.add_sink("phones")
    server.pactl("set-default-sink", "phones")
    session = start_a_call(server, live)
    music()
    server.pactl("set-default-sink", "Clean.input")
    said = session.wait_for("warning", text=lambda text: "had made Clean its default output" in text)
    assert "goes to" in said["text"]
    wait_until(lambda: default(server) == "phones", "it is still the default")
    wait_until(lambda: {"Clean.input"} not in [
        where for process, where in streams(server, "sink-inputs").items() if process != str(session.process.pid)
    ], "music on the microphone")  # fmt: skip
    stays(server, session.process.pid, "desk", "Clean.input")
    assert session.stop()[0] == 143


def test_what_somebody_plays_to_the_microphone_on_purpose_stays_there(server, live, tmp_path):
    server.add_sink("phones")
    server.pactl("set-default-sink", "phones")
    session = start_a_call(server, live)
    write_audio(tmp_path / "jingle.wav", noisy_speech(seconds=30), RATE)
    player = server.play(tmp_path / "jingle.wav", "Clean.input")
    try:
        wait_until(lambda: str(player.pid) in streams(server, "sink-inputs"), "no jingle")
        time.sleep(2)
        assert streams(server, "sink-inputs")[str(player.pid)] == {"Clean.input"}
    finally:
        player.kill()
        player.wait()
    assert session.stop()[0] == 143


def test_streams_that_were_moved_away_are_moved_back(server, live):
    server.add_sink("phones")
    session = start_a_call(server, live)
    ours = session.process.pid
    server.pactl("move-sink-input", number_of(server, "sink-inputs", ours), "phones")
    said = session.wait_for("warning")["text"]
    assert said == "the sound server had moved our output from Clean.input to phones: it was moved back"
    stays(server, ours, "desk", "Clean.input")
    server.pactl("move-source-output", number_of(server, "source-outputs", ours), "phones.monitor")
    said = session.wait_for("warning")["text"]
    assert said == "the sound server had moved our input from desk to phones.monitor: it was moved back"
    stays(server, ours, "desk", "Clean.input")
    assert session.stop()[0] == 143


def test_we_never_listen_to_ourselves(server, live):
    """Many programs make a new microphone the system's default, and move what records."""
    server.add_sink("phones")
    session = start_a_call(server, live)
    server.pactl("set-default-source", "Clean")
    server.pactl("move-source-output", number_of(server, "source-outputs", session.process.pid), "Clean")
    session.wait_for("warning", text=lambda text: "from desk to Clean: it was moved back" in text)
    stays(server, session.process.pid, "desk", "Clean.input")
    assert session.stop()[0] == 143
    # And by default, where our own is what the system would take.
    server.pactl("load-module", "module-null-source", "source_name=other")
    session = live("--virtual-mic", "Clean")
    session.wait_for("started")
    wait_until(lambda: str(session.process.pid) in streams(server, "source-outputs"), "no input")
    server.pactl("set-default-source", "Clean")
    time.sleep(1)
    (source,) = streams(server, "source-outputs")[str(session.process.pid)]
    assert source in ("desk", "other")
    assert session.wait_for("status")["input"] in ("Null Input", "desk", "other")
    assert session.stop()[0] == 143


@pytest.mark.parametrize("unplug", ["headphones", "default"])
def test_pipewire_does_not_send_the_computers_sound_to_the_call(pipewire, server, live, music, unplug):  # noqa: F811
    phones = server.add_sink("phones")
    server.pactl("set-default-sink", "phones")
    session = start_a_call(server, live, "feed.monitor")
    music()
    wait_until(lambda: {"phones"} in streams(server, "sink-inputs").values(), "no music", 20)
    if unplug == "headphones":
        server.pactl("unload-module", phones)
    else:
        server.pactl("set-default-sink", "Clean.input")
        session.wait_for("warning", text=lambda text: "had made Clean its default output" in text)
    wait_until(lambda: default(server) in ("phones", "feed"), "the default is another", 10)
    time.sleep(1)
    others = [
        w for process, w in streams(server, "sink-inputs").items() if process != str(session.process.pid)
    ]
    assert {"Clean.input"} not in others
    stays(server, session.process.pid, "feed.monitor", "Clean.input")
    assert session.stop()[0] == 143
