"""A sound server of our own, with microphones that play files and loudspeakers that are recorded."""

from __future__ import annotations

import contextlib
import ctypes.util
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.signal

SCRIPT = Path(sys.executable).with_name("audio-enh")
RATE = 48000

ALSA = """
pcm.pulse { type pulse }
ctl.pulse { type pulse }
pcm.!default { type pulse }
ctl.!default { type pulse }
"""


def _missing() -> str | None:
    programs = [name for name in ("pulseaudio", "pactl", "paplay", "parec") if shutil.which(name) is None]
    if programs:
        return f"{', '.join(programs)} not installed"
    if ctypes.util.find_library("portaudio") is None:
        return "libportaudio2 not installed"
    plugins = list(Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so"))
    return None if plugins else "libasound2-plugins not installed"


def first(command: list[str]) -> list[str]:
    """The command, to run before others where that is allowed: what feeds and hears the devices is to be on time
    however busy the machine is with other tests."""
    allowed = shutil.which("chrt") is not None and os.geteuid() == 0
    return ["chrt", "--rr", "3", *command] if allowed else command


class SoundServer:
    """PulseAudio that nobody else sees: no hardware, no configuration, a socket in a folder of the test."""

    def __init__(self, folder: Path):
        self.folder = folder
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        self.socket = runtime / "native"
        (folder / "asound.conf").write_text(ALSA)
        self.env = {
            **os.environ,
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PULSE_SERVER": f"unix:{self.socket}",
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
            "OMP_NUM_THREADS": "1",
        }
        for name in ("PULSE_SINK", "PULSE_SOURCE", "XDG_STATE_HOME", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY"):
            self.env.pop(name, None)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["pulseaudio", "--daemonize=no", "-n", "--exit-idle-time=-1", "--use-pid-file=no", "--realtime=yes",
             "--high-priority=yes", "--disable-shm=yes",
             f"--load=module-native-protocol-unix auth-anonymous=1 socket={self.socket}"],
            env=self.env, stdout=subprocess.DEVNULL, stderr=(self.folder / "pulseaudio.log").open("ab"),
        )  # fmt: skip
        wait_until(lambda: self.try_pactl("info") is not None, "the server does not start")
        # It goes back to an ordinary priority by itself.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(self._process.pid, os.SCHED_RR, os.sched_param(5))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            with contextlib.suppress(FileNotFoundError):
                self.socket.unlink()

    def try_pactl(self, *arguments: str) -> str | None:
        done = subprocess.run(
            ["pactl", *arguments], env=self.env, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    def pactl(self, *arguments: str) -> str:
        out = self.try_pactl(*arguments)
        assert out is not None, f"pactl {arguments} failed"
        return out

    def add_sink(self, name: str, rate: int = RATE, channels: int = 2) -> str:
        """A null sink: what is played to it comes out of ``NAME.monitor``. The number of its module."""
        return self.pactl(
            "load-module", "module-null-sink", f"sink_name={name}", f"rate={rate}", f"channels={channels}"
        )

    def add_world(self) -> None:
        """Both ways on the two channels of one null sink, ``world``, so that their delay is known to the sample.

        What is played to ``feed`` goes to the left and is heard by the microphone ``mic``; what is played to
        ``ears`` goes to the right.
        """
        self.add_sink("world")
        for name, side in (("feed", "front-left"), ("ears", "front-right")):
            self.pactl(
                "load-module", "module-remap-sink", f"sink_name={name}", "master=world", "channels=1", "remix=no",
                "channel_map=mono", f"master_channel_map={side}",
            )  # fmt: skip
        self.pactl(
            "load-module", "module-remap-source", "source_name=mic", "master=world.monitor", "channels=1", "remix=no",
            "channel_map=mono", "master_channel_map=front-left",
        )  # fmt: skip

    def names(self, kind: str) -> set[str]:
        """Of ``sinks``, ``sources`` or ``modules``."""
        return {line.split("\t")[1] for line in self.pactl("list", "short", kind).splitlines()}

    def play(self, path: Path, sink: str | None, *options: str) -> subprocess.Popen[bytes]:
        """To a sink, or to the default."""
        device = [] if sink is None else [f"--device={sink}"]
        command = ["paplay", "--latency-msec=50", *device, *options, str(path)]
        return subprocess.Popen(first(command), env=self.env)

    @contextlib.contextmanager
    def recording(self, source: str, channels: int, rate: int = RATE) -> Iterator[list[np.ndarray]]:
        """Records while entered; then the list holds ``(channels, n)``."""
        path = self.folder / f"{source}.raw"
        with path.open("wb") as file:
            process = subprocess.Popen(
                first(["parec", f"--device={source}", "--format=float32le", f"--rate={rate}",
                       f"--channels={channels}", "--latency-msec=20"]),
                env=self.env, stdout=file,
            )  # fmt: skip
            heard: list[np.ndarray] = []
            try:
                yield heard
            finally:
                process.terminate()
                process.wait()
        samples = np.fromfile(path, np.float32)
        heard.append(samples[: len(samples) // channels * channels].reshape(-1, channels).T)


class Live:
    """``audio-enh live --no-ui`` as a process, and what it said."""

    def __init__(self, server: SoundServer, arguments: tuple[object, ...], env: dict[str, str] | None = None):
        words = [str(SCRIPT), "live", "--no-ui", *map(str, arguments)]
        self.process = subprocess.Popen(
            words,
            env={**server.env, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[dict] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, event: str, timeout: float = 20, **fields) -> dict:
        """The next message of a kind, with fields of a value or for which a function holds."""
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                break
            said = json.loads(line)
            self.said.append(said)
            fits = all(
                value(said[name]) if callable(value) else said[name] == value
                for name, value in fields.items()
                if name in said
            )
            if said["event"] == event and fits:
                return said
        ended = self.process.poll()
        error = "" if ended is None or self.process.stderr is None else self.process.stderr.read()
        raise AssertionError(f"no {event} {fields} within {timeout} s; {self.said[-4:]}, {ended}, {error}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End it by a signal; its exit code and stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.finish()

    def finish(self, timeout: float = 20) -> tuple[int, str]:
        """Wait for its end; its exit code and stderr."""
        code = self.process.wait(timeout)
        assert self.process.stderr is not None
        error = self.process.stderr.read()
        while (line := self._lines.get(timeout=5)) is not None:
            self.said.append(json.loads(line))
        return code, error

    def told(self, event: str) -> list[str]:
        return [said["text"] for said in self.said if said["event"] == event]


def wait_until(holds, otherwise: str, timeout: float = 10) -> None:
    until = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < until, otherwise
        time.sleep(0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SoundServer]:
    """A running server without devices."""
    missing = _missing()
    if missing:
        pytest.skip(missing)
    server = SoundServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def live(server: SoundServer) -> Iterator:
    """Starts ``audio-enh live`` on the server; what still runs at the end is killed."""
    started: list[Live] = []

    def start(*arguments: object, env: dict[str, str] | None = None) -> Live:
        started.append(Live(server, arguments, env))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def noisy_speech(rate: int = RATE, seconds: float = 8.0) -> np.ndarray:
    """A bundled recording, repeated, ``(samples,)``."""
    import importlib.resources

    import soxr

    from audio_enh.io import read_audio

    path = importlib.resources.files("audio_enh") / "samples" / "noisy" / "rain.flac"
    audio, own = read_audio(str(path))
    audio = soxr.resample(audio[0], own, rate)
    return np.resize(audio, round(seconds * rate)).astype(np.float32)


def lag(reference: np.ndarray, later: np.ndarray) -> int:
    """By how many samples ``later`` lags ``reference``, by the peak of their correlation."""
    size = 1 << (len(reference) + len(later)).bit_length()
    product = np.conj(np.fft.rfft(reference, size)) * np.fft.rfft(later, size)
    place = int(np.argmax(np.fft.irfft(product, size)))
    return place if place < size // 2 else place - size


def correlation_by_pieces(reference: np.ndarray, later: np.ndarray, shift: int, rate: int = RATE) -> float:
    """Of pieces of 50 ms, each shifted by itself to where it fits best, near ``shift``, weighted by energy.

    The trim of the clocks moves sound by a sample now and then, and a gap by some milliseconds for good; anything
    else lost, doubled or changed is seen.
    """
    length = rate // 20
    products = energies = 0.0
    for start in range(0, len(reference) - length, length):
        piece = reference[start : start + length].astype(np.float64)
        if np.sum(piece**2) < 1e-3:
            continue
        for reach in (24, rate // 5):
            around = later[max(0, start + shift - reach) : start + shift + length + reach].astype(np.float64)
            if len(around) < length + 2 * reach:
                break  # before the beginning, or beyond the end
            found = scipy.signal.correlate(around, piece, "valid")
            place = int(np.argmax(found))
            energy = np.sqrt(np.sum(piece**2) * np.sum(around[place : place + length] ** 2))
            if found[place] > 0.9 * energy:
                products += found[place]
                energies += energy
                shift += place - reach
                break
        else:
            energies += np.sum(piece**2)  # it is nowhere
    return products / energies


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first, second)[0, 1])
