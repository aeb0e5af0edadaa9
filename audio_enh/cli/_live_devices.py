"""The devices of ``audio-enh live``: those asked for, and what is made at the sound server for a run."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from audio_enh.errors import UserError

if TYPE_CHECKING:
    from audio_enh.cli._signals import Interruptible
    from audio_enh.streaming.backend import BackendName
    from audio_enh.streaming.live.devices import Device, Direction
    from audio_enh.streaming.live.direct import DirectSource
    from audio_enh.streaming.live.pulse import PulseServer
    from audio_enh.streaming.live.routes import Routes, Tell
    from audio_enh.streaming.live.virtual_mic import VirtualMicrophone


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What devices and which model."""

    input: str | None
    output: str | None
    virtual_mic: str | None
    model: str | None
    backend: BackendName
    device: str
    threads: int


class Devices:
    """Finds the devices asked for, each time one has to be opened."""

    def __init__(
        self,
        wishes: Wishes,
        sounddevice: Any,
        server: PulseServer | None,
        microphone: VirtualMicrophone | None,
        direct: DirectSource,
    ):
        self.sounddevice = sounddevice
        self.microphone = microphone
        self._wishes = wishes
        self._server = server
        self._direct = direct

    def find(self, direction: Direction) -> Device:
        from audio_enh.streaming.live.devices import find_device, list_devices
        from audio_enh.streaming.live.pulse import query_server

        devices = list_devices(self.sounddevice, query_server())
        microphone = self.microphone
        if direction == "input":
            own = [self._direct.name]
            if microphone is not None:
                own += [microphone.source, f"{microphone.sink}.monitor"]
            found = find_device([d for d in devices if d.route not in own], self._wishes.input, "input")
            return self._direct.of(found)
        if microphone is None:
            return find_device(devices, self._wishes.output, "output")
        try:
            return find_device(devices, microphone.sink, "output")
        except UserError:
            return find_device(devices, microphone.label, "output")  # PortAudio tells sinks by their labels

    def make_routes(self, tell: Tell) -> Routes | None:
        """What watches the sound server, where there is one."""
        from audio_enh.streaming.live.routes import Routes

        if self._server is None:
            return None
        return Routes(tell, self.microphone, self._server.default_sink, lambda: self._direct.masters)

    def restore(self, direction: Direction) -> None:
        """The server may have been restarted: what we made there has gone with it."""
        if direction == "output" and self.microphone is not None:
            self.microphone.ensure()


@contextlib.contextmanager
def open_devices(wishes: Wishes, channels: int, interruptible: Interruptible) -> Iterator[Devices]:
    from audio_enh.streaming.live import virtual_mic
    from audio_enh.streaming.live.devices import list_devices
    from audio_enh.streaming.live.direct import DirectSource
    from audio_enh.streaming.live.portaudio import load_sounddevice
    from audio_enh.streaming.live.pulse import query_server

    sounddevice = load_sounddevice()
    server = query_server()
    direct = DirectSource()
    with contextlib.ExitStack() as made:
        made.callback(direct.remove)
        with interruptible.held():
            virtual_mic.cleanup(server)
            microphone = None
            if wishes.virtual_mic is not None:
                devices = list_devices(sounddevice, server)
                microphone = virtual_mic.create(wishes.virtual_mic, server, devices, channels)
                made.callback(microphone.remove)
                made.callback(interruptible.finish)
        yield Devices(wishes, sounddevice, server, microphone, direct)
