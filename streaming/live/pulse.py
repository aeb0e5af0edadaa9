"""The sound server behind ``pactl``: PulseAudio, or PipeWire speaking its language.

PortAudio as most Linux distributions build it knows one device "pulse", which is whatever source or sink the server
takes by default. The server's own list says what there is, and the environment variables PULSE_SOURCE and PULSE_SINK,
looked at when a stream is opened, which of it that stream gets.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from audio_enh.errors import UserError


@dataclass(frozen=True)
class PulseDevice:
    """A source or sink of the server, with its ordinary format."""

    name: str
    description: str
    channels: int
    sample_rate: int
    monitor: bool = False


@dataclass(frozen=True)
class PulseServer:
    """What the server says about itself and what it has."""

    server_name: str
    sources: tuple[PulseDevice, ...]
    sinks: tuple[PulseDevice, ...]
    default_source: str
    default_sink: str

    @property
    def is_pipewire(self) -> bool:
        return "pipewire" in self.server_name.lower()


def pactl(*arguments: str, timeout: float = 5.0) -> str:
    """Run it; its output.

    Raises:
        UserError: there is no pactl, no server, or it refuses.
    """
    program = shutil.which("pactl")
    if program is None:
        raise UserError("pactl is not installed: apt install pulseaudio-utils")
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"the sound server does not answer: pactl {arguments[0]} timed out") from error
    except OSError as error:
        raise UserError(f"cannot run pactl: {error.strerror}") from error
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise UserError(f"the sound server refuses ({why}): is it running? See pactl info")
    return done.stdout


def query_server() -> PulseServer | None:
    """The server's devices, None if there is no server or no pactl."""
    if shutil.which("pactl") is None:
        return None
    try:
        info = pactl("info")
        return PulseServer(
            server_name=_field(info, "Server Name"),
            sources=_devices("sources"),
            sinks=_devices("sinks"),
            default_source=_field(info, "Default Source"),
            default_sink=_field(info, "Default Sink"),
        )
    except UserError:
        return None


def names_of(kind: str) -> set[str] | None:
    """Names of the ``sources`` or ``sinks`` there are now, None if the server does not answer."""
    try:
        lines = pactl("list", "short", kind).splitlines()
    except UserError:
        return None
    return {row[1] for row in (line.split("\t") for line in lines) if len(row) > 1}


def bring_back(source: str) -> None:
    """Move what this process records to ``source`` again.

    The server moves streams to a source that becomes its default, as a new virtual microphone may: we would hear
    ourselves.
    """
    if not _speaks_json():
        return
    try:
        indices = {
            device["name"]: device["index"]
            for device in json.loads(pactl("--format=json", "list", "sources"))
        }
        for stream in json.loads(pactl("--format=json", "list", "source-outputs")):
            ours = stream.get("properties", {}).get("application.process.id") == str(os.getpid())
            if ours and stream["source"] != indices.get(source):
                pactl("move-source-output", str(stream["index"]), source)
    except (UserError, ValueError, KeyError):
        return  # the server is gone again, or there is nothing to move


def _field(info: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)$", info, re.MULTILINE)
    return found[1].strip() if found else ""


def _devices(kind: str) -> tuple[PulseDevice, ...]:
    if _speaks_json():
        listed = json.loads(pactl("--format=json", "list", kind))
        return tuple(
            PulseDevice(
                device["name"],
                device.get("description") or device["name"],
                *_format(device["sample_specification"]),
                monitor=_is_monitor(device["name"], device),
            )
            for device in listed
        )
    rows = [line.split("\t") for line in pactl("list", "short", kind).splitlines()]
    return tuple(
        PulseDevice(row[1], row[1], *_format(row[3]), monitor=row[1].endswith(".monitor"))
        for row in rows
        if len(row) > 3
    )


def _is_monitor(name: str, device: dict[str, object]) -> bool:
    properties = device.get("properties")
    kind = properties.get("device.class") if isinstance(properties, dict) else None
    return kind == "monitor" or name.endswith(".monitor")


@functools.cache
def _speaks_json() -> bool:
    found = re.search(r"pactl (\d+)", pactl("--version"))
    return found is not None and int(found[1]) >= 16


def _format(specification: str) -> tuple[int, int]:
    """Channels and rate of ``s16le 2ch 48000Hz``."""
    found = re.search(r"(\d+)ch (\d+)Hz", specification)
    return (int(found[1]), int(found[2])) if found else (2, 48000)
