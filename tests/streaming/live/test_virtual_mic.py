"""Virtual microphones on real servers, PulseAudio and PipeWire; the drivers of macOS and Windows by their names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from audio_enh.errors import UserError
from audio_enh.io import write_audio
from audio_enh.streaming.live import virtual_mic
from audio_enh.streaming.live.devices import Device
from audio_enh.streaming.live.pulse import query_server
from audio_enh.streaming.live.virtual_mic import cables, owner

from .conftest import RATE, Live, noisy_speech, wait_until


@pytest.fixture
def here(server, monkeypatch):
    """The server is that of this process."""
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    return server


def test_programs_find_a_source_of_that_name_and_hear_what_is_played(here):
    microphone = virtual_mic.create('Ann\'s "clean" mic', query_server(), [])
    try:
        described = {source.name: source.description for source in query_server().sources}
        assert described[microphone.source] == "Anns clean mic"
        path = here.folder / "speech.wav"
        write_audio(path, noisy_speech(seconds=6), RATE)
        here.play(path, microphone.sink)
        with here.recording(microphone.source, 1) as heard:
            time.sleep(4)
        assert np.abs(heard[0]).max() > 0.1
    finally:
        microphone.remove()
    assert here.names("sinks") == set()
    microphone.remove()


def test_making_it_twice_makes_one_and_a_taken_name_is_refused(here):
    microphone = virtual_mic.create("Clean", query_server(), [])
    microphone.ensure()
    assert [name for name in here.names("sinks") if "Clean" in name] == ["Clean.input"]
    with pytest.raises(UserError, match=f"process {os.getpid()} already is the virtual microphone Clean"):
        virtual_mic.create("Clean", query_server(), [])
    microphone.remove()
    assert here.names("sources") == set()


def test_one_that_somebody_else_made_is_used_and_left(here):
    here.add_sink("Clean.input")
    here.pactl("load-module", "module-remap-source", "source_name=Clean", "master=Clean.input.monitor")
    microphone = virtual_mic.create("Clean", query_server(), [])
    assert microphone.sink == "Clean.input"
    microphone.remove()
    assert "Clean" in here.names("sources")


def test_half_of_it_is_made_again_and_others_modules_are_never_touched(here):
    microphone = virtual_mic.create("Clean", query_server(), [])
    sink = next(
        line.split("\t")[0] for line in here.pactl("list", "short", "modules").splitlines() if "null" in line
    )
    here.pactl("unload-module", sink)
    microphone.ensure()
    assert {"Clean", "Clean.input.monitor"} == here.names("sources")
    # The server is started anew and gives the same numbers to somebody else's modules.
    here.stop()
    here.start()
    for name in ("first", "second", "third", "fourth", "fifth", "sixth"):
        here.add_sink(name)
    microphone.remove()
    assert len(here.names("sinks")) == 6


def test_without_a_server_it_says_so():
    with pytest.raises(UserError, match="needs PulseAudio or PipeWire"):
        virtual_mic.create("Clean", None, [])


def test_owners():
    assert owner.is_alive(owner.me())
    number, _, started = owner.me().partition("-")
    assert not owner.is_alive(f"{number}-{int(started) + 1}")  # the number was given to another process
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not owner.is_alive(f"{gone.pid}-5")
    assert owner.find("sink_properties=\"device.description='x' audio_enh.owner='12-345'\"") == "12-345"
    assert owner.find("sink_name=audio_enh") is None


def test_names_that_differ_give_names_that_differ_at_the_server():
    names = [
        "микрофон",
        "マイク",
        "Ann's mic",
        "Ann s mic",
        "Ann_s_mic",
        "Ann s  mic",
        "ann s mic",
        "x" * 300,
        "x" * 301,
    ]
    slugs = [owner.slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", slug) for slug in slugs)
    assert owner.slug("Ann s mic") == "Ann_s_mic"


def device(name: str, inputs: int, outputs: int) -> Device:
    return Device(0, name, "Core Audio", inputs, outputs, 48000, 0)


@pytest.mark.parametrize(("platform", "names", "sink", "microphone"), [
    ("darwin", ["MacBook Pro Speakers", "BlackHole 2ch"], "BlackHole 2ch", "BlackHole 2ch"),
    ("win32", ["Speakers (Realtek)", "CABLE Input (VB-Audio Virtual Cable)"],
     "CABLE Input (VB-Audio Virtual Cable)", "CABLE Output"),
])  # fmt: skip
def test_an_installed_driver_is_found(platform, names, sink, microphone):
    found = cables.find([device("Microphone", 1, 0), *(device(name, 2, 2) for name in names)], platform)
    assert (found.sink, found.name) == (sink, microphone)


@pytest.mark.parametrize(
    ("platform", "what"), [("darwin", "install BlackHole"), ("win32", "install VB-CABLE")]
)
def test_without_a_driver_one_line_says_which_to_install(platform, what):
    with pytest.raises(UserError, match=what) as error:
        cables.find([device("Speakers", 0, 2)], platform)
    assert "\n" not in str(error.value)


# PipeWire


class PipeWire:
    """A PipeWire of our own, with WirePlumber, a bus, and PulseAudio's language."""

    programs = ("dbus-daemon", "pipewire", "wireplumber", "pipewire-pulse")

    def __init__(self, server):
        runtime = server.folder / "run"
        bus = f"unix:path={runtime}/bus"
        self.env = {
            **server.env,
            "PULSE_SERVER": f"unix:{runtime}/pulse/native",
            "DBUS_SESSION_BUS_ADDRESS": bus,
            "PIPEWIRE_RUNTIME_DIR": str(runtime),
        }
        self._processes = []
        commands = [["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={bus}"]]
        commands += [[name] for name in self.programs[1:]]
        try:
            for command, socket in zip(commands, ("bus", "pipewire-0", None, "pulse/native"), strict=True):
                log = (server.folder / f"{command[0]}.log").open("wb")
                self._processes.append(subprocess.Popen(command, env=self.env, stdout=log, stderr=log))
                if socket is not None:
                    wait_until((runtime / socket).exists, f"{command[0]} does not start")
        except BaseException:
            self.stop()
            raise

    def stop(self):
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait(5)


@pytest.fixture
def pipewire(server, monkeypatch):
    missing = [name for name in (*PipeWire.programs, "pw-loopback", "pw-dump") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    server.stop()
    started = PipeWire(server)
    try:
        server.env = started.env
        for name, value in started.env.items():
            monkeypatch.setenv(name, value)
        # Its own dummy goes when another sink comes.
        wait_until(lambda: "auto_null" in (server.try_pactl("list", "short", "sinks") or ""), "no sinks", 20)
        time.sleep(1)
        server.add_sink("feed")
        yield started
    finally:
        started.stop()


def test_pipewire_makes_it_its_own_way(pipewire, server, live):
    assert query_server().is_pipewire
    session = live("-i", "feed.monitor", "--virtual-mic", "Clean mic", "--duration", 6)
    session.wait_for("status", frame_ms=lambda ms: ms["p50"] > 0)
    children = [child.name() for child in psutil.Process(session.process.pid).children()]
    assert sorted(children) == ["pactl", "pw-loopback"]  # the first tells of what the server changes
    assert "Clean_mic" in server.names("sources")
    path = server.folder / "speech.wav"
    write_audio(path, noisy_speech(seconds=6), RATE)
    server.play(path, "feed")
    with server.recording("Clean_mic", 1) as heard:
        time.sleep(3)
    assert np.abs(heard[0]).max() > 0.05
    assert session.finish() == (0, "")
    wait_until(lambda: "Clean_mic" not in server.names("sources"), "it was not removed")


def test_pipewire_removes_it_even_if_we_are_killed(pipewire, server, live):
    session: Live = live("-i", "feed.monitor", "--virtual-mic", "Clean")
    session.wait_for("started")
    assert "Clean" in server.names("sources")
    session.process.kill()
    session.process.wait()
    wait_until(lambda: "Clean" not in server.names("sources"), "the child lives on")
