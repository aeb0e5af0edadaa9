"""Which devices there are, and which one is meant."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from audio_enh.errors import UserError

from .pulse import PulseDevice, PulseServer

Direction = Literal["input", "output"]

# Where a device is offered by several systems, the one that is quick and takes names in full.
_PREFERRED_HOSTS = ("Windows WASAPI", "Core Audio", "PulseAudio", "JACK Audio Connection Kit", "ALSA")


@dataclass(frozen=True)
class Device:
    """A microphone or loudspeaker.

    Attributes:
        number: to name it by; PortAudio's where PortAudio has it, others follow.
        name: as its system calls it.
        host: that system.
        inputs, outputs: channels.
        sample_rate: its own, in Hz.
        index: PortAudio's number.
        route: name of the source or sink by which the sound server knows it, None if PortAudio reaches it itself.
        is_default_input, is_default_output: what is taken if none is named.
        is_monitor: it hears what a loudspeaker plays.
        positions: of its channels, by the sound server's names, where one knows them.
    """

    number: int
    name: str
    host: str
    inputs: int
    outputs: int
    sample_rate: int
    index: int
    route: str | None = None
    is_default_input: bool = False
    is_default_output: bool = False
    is_monitor: bool = False
    positions: tuple[str, ...] = ()

    def channels(self, direction: Direction) -> int:
        return self.inputs if direction == "input" else self.outputs

    @property
    def is_real(self) -> bool:
        """Whether its channels are those of a device. ALSA's plugins, such as "default", offer 32 that are not."""
        return self.host != "ALSA" or self.route is not None or "hw:" in self.name

    def is_default(self, direction: Direction) -> bool:
        return self.is_default_input if direction == "input" else self.is_default_output


def list_devices(sounddevice: Any, server: PulseServer | None = None) -> list[Device]:
    """Everything that can be opened.

    Args:
        sounddevice: the module.
        server: sound server whose sources and sinks are listed too, where PortAudio has a device that leads there.
    """
    hosts = sounddevice.query_hostapis()
    found = list(sounddevice.query_devices())
    native = any(host["name"] == "PulseAudio" for host in hosts)
    way = None
    if server is not None and not native:
        way = next((number for number, device in enumerate(found) if device["name"] == "pulse"), None)
    default_input, default_output = _defaults(hosts)
    devices = [
        Device(
            number=number,
            name=device["name"],
            host=hosts[device["hostapi"]]["name"],
            inputs=device["max_input_channels"],
            outputs=device["max_output_channels"],
            sample_rate=round(device["default_samplerate"]),
            index=number,
            is_default_input=number == default_input and way is None,
            is_default_output=number == default_output and way is None,
            is_monitor="monitor" in device["name"].lower() and native,
        )
        for number, device in enumerate(found)
    ]
    if server is not None and way is not None:
        for source in server.sources:
            devices.append(_routed(source, len(devices), way, server, "input"))
        for sink in server.sinks:
            devices.append(_routed(sink, len(devices), way, server, "output"))
    return devices


def _defaults(hosts: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """PortAudio takes the first system it was built with; on Windows that is the slowest."""
    ordered = sorted(
        hosts,
        key=lambda host: _PREFERRED_HOSTS.index(host["name"]) if host["name"] in _PREFERRED_HOSTS else 99,
    )
    inputs = [host["default_input_device"] for host in ordered if host["default_input_device"] >= 0]
    outputs = [host["default_output_device"] for host in ordered if host["default_output_device"] >= 0]
    return (inputs or [-1])[0], (outputs or [-1])[0]


def _routed(device: PulseDevice, number: int, way: int, server: PulseServer, direction: Direction) -> Device:
    is_input = direction == "input"
    return Device(
        number=number,
        name=device.description,
        host="PipeWire" if server.is_pipewire else "PulseAudio",
        inputs=device.channels if is_input else 0,
        outputs=0 if is_input else device.channels,
        sample_rate=device.sample_rate,
        index=way,
        route=device.name,
        is_default_input=is_input and device.name == server.default_source,
        is_default_output=not is_input and device.name == server.default_sink,
        is_monitor=device.monitor,
        positions=device.channel_map,
    )


def find_device(devices: Sequence[Device], wanted: str | None, direction: Direction) -> Device:
    """The device meant by a number, a name, or a part of one whatever its case; the default if None.

    Raises:
        UserError: none fits, several do, or the one that fits cannot be used in this direction.
    """
    usable = [device for device in devices if device.channels(direction) > 0]
    if not usable:
        raise UserError(f"there is no {direction} device: {_advice(direction)}")
    if wanted is None:
        return _default(usable, direction)
    if wanted.isdecimal():
        return _by_number(devices, int(wanted), direction)
    return _by_name(usable, wanted, direction)


def _default(usable: Sequence[Device], direction: Direction) -> Device:
    # Behind "pulse" and "default" is what the server has. A server without a microphone takes what a loudspeaker
    # plays, which would make a loop.
    served = [device for device in usable if device.route is not None] or usable
    candidates = [device for device in served if not device.is_monitor]
    if not candidates:
        raise UserError(
            f"there is no microphone: {_advice(direction)}; what a loudspeaker plays can be named with --input: "
            + _listed(served, direction)
        )
    return next((device for device in candidates if device.is_default(direction)), candidates[0])


def _by_number(devices: Sequence[Device], number: int, direction: Direction) -> Device:
    device = next((device for device in devices if device.number == number), None)
    if device is None:
        raise UserError(f"there is no device {number}: see audio-enh live --list-devices")
    if not device.channels(direction):
        raise UserError(f"device {number}, {device.name}, has no {direction}: {_listed(devices, direction)}")
    return device


def _by_name(usable: Sequence[Device], wanted: str, direction: Direction) -> Device:
    exact = [device for device in usable if wanted in (device.name, device.route)]
    low = wanted.lower()
    matches = exact or [
        device for device in usable if low in device.name.lower() or low in (device.route or "").lower()
    ]
    # The speakers' monitor has the speakers' name in its own: it is meant only if it is named.
    matches = [device for device in matches if not device.is_monitor] or matches
    # Windows lists a device once for each of its sound systems.
    for host in _PREFERRED_HOSTS:
        if any(device.host == host for device in matches) and sys.platform == "win32":
            matches = [device for device in matches if device.host == host]
            break
    if not matches:
        raise UserError(f"no {direction} device is called '{wanted}': {_listed(usable, direction)}")
    if len(matches) > 1:
        raise UserError(f"'{wanted}' could be any of these: {_listed(matches, direction)}")
    return matches[0]


def _listed(devices: Sequence[Device], direction: Direction) -> str:
    return "; ".join(f"{d.number} {d.name}" for d in devices if d.channels(direction) > 0)


def _advice(direction: Direction) -> str:
    what = "a microphone" if direction == "input" else "headphones"
    if sys.platform.startswith("linux"):
        return (
            f"connect {what}; with a sound server, install its ALSA plugin (apt install libasound2-plugins)"
        )
    if sys.platform == "darwin":
        return f"connect {what}, and allow the terminal to use it in System Settings, Privacy"
    return f"connect {what}, and allow desktop apps to use it in Settings, Privacy"
