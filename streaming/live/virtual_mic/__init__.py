"""A microphone that other programs can choose, made of what this one plays.

On Linux it is made for the time of the run and removed afterwards, in the sound server's own way. What was made says
whose it is in its own properties at the server: `cleanup` removes what belongs to a process that is no more, and
nothing else. There is no state file that could tell of another server or of an earlier boot. On macOS and Windows,
where that takes a driver, an installed one is found.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Protocol

from audio_enh.errors import UserError
from audio_enh.streaming.live.devices import Device
from audio_enh.streaming.live.pulse import PulseServer

from . import cables, pipewire
from . import pulse as pulseaudio

DEFAULT_NAME = "audio-enh microphone"


class VirtualMicrophone(Protocol):
    """One that exists.

    Attributes:
        name: what programs call it.
        source: its name at the sound server.
        sink: what is to be played to: a sink of the sound server, or a device's name.
        label: what the sink is called where people read it.
    """

    name: str
    source: str
    sink: str
    label: str

    def ensure(self) -> None:
        """Make it again if it has gone, with the server."""

    def remove(self) -> None:
        """Remove it if it was made; what was there before stays."""


def create(
    name: str, server: PulseServer | None, devices: Sequence[Device], channels: int = 1
) -> VirtualMicrophone:
    """Make a virtual microphone, or find the driver that is one.

    Raises:
        UserError: there is no way here, or the name is taken.
    """
    facility(server, devices)
    if server is None or not sys.platform.startswith("linux"):
        return cables.find(devices, sys.platform)
    cleanup(server)
    if server.is_pipewire and shutil.which("pw-loopback") is not None:
        return pipewire.create(name, server, channels)
    return pulseaudio.create(name, channels)


def facility(server: PulseServer | None, devices: Sequence[Device]) -> str:
    """How a virtual microphone is made here, in words.

    Raises:
        UserError: it cannot be.
    """
    if not sys.platform.startswith("linux"):
        return f"driver installed: {cables.find(devices, sys.platform).name}"
    if server is None:
        raise UserError(
            "a virtual microphone needs PulseAudio or PipeWire, and pactl: apt install pulseaudio-utils; is the "
            "sound server running? See pactl info"
        )
    if server.is_pipewire and shutil.which("pw-loopback") is not None:
        return "made by PipeWire's pw-loopback"
    return f"made by modules of {server.server_name}"


def cleanup(server: PulseServer | None) -> list[str]:
    """Remove virtual microphones whose process has died; their names."""
    if server is None:
        return []
    removed = pulseaudio.cleanup()
    if server.is_pipewire and shutil.which("pw-dump") is not None:
        removed += pipewire.cleanup()
    return removed
