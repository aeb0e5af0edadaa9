"""All inputs of an interface, as they are, through a sound server that would rather mix them.

PortAudio asks the server, by way of ALSA, for channels in the positions of loudspeakers. An interface whose inputs
are called ``aux0`` to ``aux3`` is then remixed to those, which leaves nothing or the wrong thing. A source of our
own gives its inputs those positions, one by one and unmixed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os

from audio_enh.errors import UserError

from .devices import Device
from .pulse import pactl
from .virtual_mic import owner
from .virtual_mic.pulse import modules

# What ALSA's plugin asks for, by the number of channels; beyond the largest that fits, aux0, aux1 and so on.
_POSITIONS = (
    "front-left",
    "front-right",
    "rear-left",
    "rear-right",
    "front-center",
    "lfe",
    "side-left",
    "side-right",
)
_COMPLETE = (1, 2, 4, 5, 6, 8)


def asked_for(channels: int) -> tuple[str, ...]:
    """Positions of a stream of so many channels that is opened through ALSA."""
    if channels == 1:
        return ("mono",)
    whole = max(count for count in _COMPLETE if count <= channels)
    return (*_POSITIONS[:whole], *(f"aux{number}" for number in range(channels - whole)))


class DirectSource:
    """Made where a device needs it, for as long as the run lasts.

    Attributes:
        name: of it at the server.
    """

    def __init__(self) -> None:
        self._number: str | None = None
        self._master = ""
        self.name = f"audio_enh.inputs.{os.getpid()}"

    def of(self, device: Device) -> Device:
        """The device by whose route its inputs come one by one: itself, or one that is made.

        Raises:
            UserError: the server refuses.
        """
        positions = device.positions
        if device.route is None or len(positions) < 2 or positions == asked_for(len(positions)):
            self.remove()
            return device
        if device.route != self._master or not self._is_there():
            self.remove()
            properties = f"device.description='inputs of audio-enh' {owner.PROPERTY}='{owner.me()}'"
            self._number = pactl(
                "load-module",
                "module-remap-source",
                f"master={device.route}",
                f"source_name={self.name}",
                f"channels={len(positions)}",
                f"channel_map={','.join(asked_for(len(positions)))}",
                f"master_channel_map={','.join(positions)}",
                "remix=no",
                f'source_properties="{properties}"',
            ).strip()
            self._master = device.route
        return dataclasses.replace(device, route=self.name)

    @property
    def masters(self) -> dict[str, str]:
        """What the server's module records from, by the module's number."""
        return {} if self._number is None else {self._number: self._master}

    def remove(self) -> None:
        """Unload it, if it is there."""
        if self._number is not None:
            with contextlib.suppress(UserError):
                if self._is_there():
                    pactl("unload-module", self._number)
        self._number, self._master = None, ""

    def _is_there(self) -> bool:
        return any(module.number == self._number and module.owner == owner.me() for module in modules())
