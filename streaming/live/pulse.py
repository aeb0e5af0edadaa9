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

#: The property that says whose a device of ours is; its value is that of `virtual_mic.owner.me`.
OWNER = "audio_enh.owner"


@dataclass(frozen=True)
class PulseDevice:
    """A source or sink of the server, with its ordinary format."""

    name: str
    description: str
    channels: int
    sample_rate: int
    monitor: bool = False
    channel_map: tuple[str, ...] = ()


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
            start_new_session=True,  # Ctrl-C is for us; what is being tidied up goes on
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


@dataclass(frozen=True)
class ServerStream:
    """What plays to a sink or records from a source.

    Attributes:
        index: its number at the server.
        device: number of the sink or source.
        process: number of the process that it belongs to, None if the server tells none.
        module: number of the server's module that it belongs to, None for a program's.
    """

    index: str
    device: str
    process: int | None
    module: str | None


def streams_of(kind: str) -> list[ServerStream]:
    """All ``sink-inputs`` or ``source-outputs``.

    Raises:
        UserError: as `pactl`.
    """
    found = []
    for block in re.split(r"^(?=(?:Sink Input|Source Output) #)", pactl("list", kind), flags=re.MULTILINE):
        head = re.match(r"(?:Sink Input|Source Output) #(\d+)", block)
        device = re.search(r"^\t(?:Sink|Source): (\d+)", block, re.MULTILINE)
        if head and device:
            process = re.search(r'application\.process\.id = "(\d+)"', block)
            module = re.search(r"^\tOwner Module: (\d+)", block, re.MULTILINE)
            found.append(
                ServerStream(
                    head[1], device[1], int(process[1]) if process else None, module[1] if module else None
                )
            )
    return found


def numbers_of(kind: str) -> dict[str, str]:
    """Numbers of the ``sources`` or ``sinks`` there are now, by name.

    Raises:
        UserError: as `pactl`.
    """
    rows = [line.split("\t") for line in pactl("list", "short", kind).splitlines()]
    return {row[1]: row[0] for row in rows if len(row) > 1}


def owned_sinks() -> set[str]:
    """Names of the sinks that some audio-enh made, as their properties tell.

    Raises:
        UserError: as `pactl`.
    """
    blocks = re.split(r"^(?=Sink #)", pactl("list", "sinks"), flags=re.MULTILINE)
    names = (re.search(r"^\tName: (.*)$", block, re.MULTILINE) for block in blocks if OWNER in block)
    return {found[1] for found in names if found}


def default_sink() -> str:
    """Name of the server's default output.

    Raises:
        UserError: as `pactl`.
    """
    return _field(pactl("info"), "Default Sink")


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
                channel_map=tuple(device.get("channel_map", "").split(",")),
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
