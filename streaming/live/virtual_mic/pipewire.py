"""PipeWire: ``pw-loopback`` makes a sink and a source that are one, for as long as it runs."""

from __future__ import annotations

import contextlib
import ctypes
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from audio_enh.errors import UserError
from audio_enh.streaming.live.pulse import PulseServer, query_server

from . import owner

_START_SECONDS = 5.0


class PipeWireMicrophone:
    """A child process; it goes when we go, even if we are killed."""

    def __init__(self, name: str, channels: int):
        self.name = name
        self.channels = channels
        self.source = owner.slug(name)
        self.sink = f"{self.source}.input"
        self.label = f"{name} (input)"
        self._child: subprocess.Popen[bytes] | None = None

    def ensure(self) -> None:
        """Start the child if it does not run, and wait until the server knows its two nodes."""
        if self._child is not None and self._child.poll() is None and self._is_known():
            return
        self.remove()
        label = self.name.replace("\\", "").replace('"', "")
        shared = f'{owner.PROPERTY}="{owner.me()}"'
        position = "[ MONO ]" if self.channels == 1 else "[ FL FR ]"
        capture = (
            f'media.class=Audio/Sink node.name="{self.sink}" node.description="{label} (input)" {shared}'
        )
        playback = f'media.class=Audio/Source node.name="{self.source}" node.description="{label}" {shared}'
        command = ["pw-loopback", "-c", str(self.channels), "-m", position]
        self._child = subprocess.Popen(
            [*command, "--capture-props", capture, "--playback-props", playback],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; we stop it when the last sound is out
            preexec_fn=_dies_with_parent(),
        )
        until = time.monotonic() + _START_SECONDS
        while not self._is_known():
            if self._child.poll() is not None or time.monotonic() > until:
                self.remove()
                raise UserError(
                    f"cannot make the virtual microphone {self.name}: pw-loopback made no device; try it by hand"
                )
            time.sleep(0.05)

    def _is_known(self) -> bool:
        server = query_server()
        return server is not None and any(sink.name == self.sink for sink in server.sinks)

    def remove(self) -> None:
        """End the child; its nodes go with it."""
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            child.wait(2)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def create(name: str, server: PulseServer, channels: int) -> PipeWireMicrophone:
    """Make one.

    Raises:
        UserError: the name is taken, or the server does not make it.
    """
    microphone = PipeWireMicrophone(name, channels)
    if any(sink.name == microphone.sink for sink in server.sinks):
        raise UserError(
            f"there already is a virtual microphone {name}: choose another name, --virtual-mic NAME"
        )
    microphone.ensure()
    return microphone


def cleanup() -> list[str]:
    """Destroy nodes whose process has died; their names. Where children die with us there are none."""
    try:
        dump = subprocess.run(["pw-dump"], capture_output=True, timeout=5, check=True).stdout
        objects = json.loads(dump)
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    removed = []
    for thing in objects:
        properties = (thing.get("info") or {}).get("props") or {}
        whose = properties.get(owner.PROPERTY)
        if whose is None or owner.is_alive(str(whose)) or shutil.which("pw-cli") is None:
            continue
        done = subprocess.run(
            ["pw-cli", "destroy", str(thing["id"])], capture_output=True, timeout=5, check=False
        )
        if done.returncode == 0:
            removed.append(str(properties.get("node.name", "?")))
    return removed


def _dies_with_parent() -> Callable[[], None] | None:
    """For a child of ours: the kernel ends it when we die, of whatever."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG
    return lambda: libc.prctl(set_parent_death_signal, signal.SIGTERM)
