"""PulseAudio: a null sink to play to, and its monitor remapped, as many programs hide monitors.

PipeWire's ``pipewire-pulse`` knows the same modules.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from audio_enh.errors import UserError
from audio_enh.streaming.live.pulse import names_of, pactl

from . import owner

# Of the server's own kind of clock: every program asks for 48 kHz or is resampled from it.
SAMPLE_RATE = 48000


@dataclass(frozen=True)
class Module:
    """A loaded module of the server that some audio-enh made."""

    number: str
    arguments: str
    owner: str

    @property
    def name(self) -> str:
        """Of the sink or source that it is."""
        words = self.arguments.replace("source_name=", "sink_name=").partition("sink_name=")[2].split()
        return words[0] if words else "?"


class PulseMicrophone:
    """Two modules; see `create`."""

    def __init__(self, name: str, channels: int):
        self.name = name
        self.channels = channels
        self.source = owner.slug(name)
        self.sink = f"{self.source}.input"
        self.label = f"{name} (input)"
        self._numbers: list[str] = []

    def ensure(self) -> None:
        """Make what is not there, both or nothing."""
        there = {module.number for module in modules() if module.owner == owner.me()}
        if self._numbers and set(self._numbers) <= there:
            return
        self.remove()
        mark = f"{owner.PROPERTY}='{owner.me()}'"
        shape = f"channels={self.channels} rate={SAMPLE_RATE}"
        try:
            self._load(
                "module-null-sink",
                f"sink_name={self.sink}",
                *shape.split(),
                f"sink_properties=\"device.description='{_plain(self.label)}' {mark}\"",
            )
            self._load(
                "module-remap-source",
                f"master={self.sink}.monitor",
                f"source_name={self.source}",
                *shape.split(),
                f"source_properties=\"device.description='{_plain(self.name)}' {mark}\"",
            )
        except UserError as error:
            self.remove()
            raise UserError(f"cannot make the virtual microphone {self.name}: {error}") from error

    def _load(self, module: str, *arguments: str) -> None:
        self._numbers.append(pactl("load-module", module, *arguments).strip())

    def remove(self) -> None:
        """Unload what was loaded, unless the server has been restarted and the numbers are others' now."""
        if not self._numbers:
            return
        with contextlib.suppress(UserError):  # no server, no modules
            ours = {module.number for module in modules() if module.owner == owner.me()}
            # The source lives on the sink.
            for number in reversed(self._numbers):
                if number in ours:
                    with contextlib.suppress(UserError):
                        pactl("unload-module", number)
        self._numbers.clear()


class ExistingMicrophone:
    """A sink with its source that somebody else made: used, and left there."""

    def __init__(self, name: str, source: str, sink: str):
        self.name = self.label = name
        self.source = source
        self.sink = sink

    def ensure(self) -> None: ...

    def remove(self) -> None: ...


def create(name: str, channels: int) -> PulseMicrophone | ExistingMicrophone:
    """Make one, or take one of that name which is there already.

    Raises:
        UserError: another audio-enh has it, or the server refuses.
    """
    microphone = PulseMicrophone(name, channels)
    ours = [module for module in modules() if module.name in (microphone.sink, microphone.source)]
    if ours:
        raise UserError(
            f"process {owner.process(ours[0].owner)} already is the virtual microphone {name}: "
            "choose another name, --virtual-mic NAME"
        )
    if microphone.sink in (names_of("sinks") or ()) and microphone.source in (names_of("sources") or ()):
        return ExistingMicrophone(name, microphone.source, microphone.sink)
    microphone.ensure()
    return microphone


def modules() -> list[Module]:
    """What audio-enh made on this server, by any process."""
    found = []
    for line in pactl("list", "short", "modules").splitlines():
        number, _, rest = line.partition("\t")
        _, _, arguments = rest.partition("\t")
        whose = owner.find(arguments)
        if whose is not None:
            found.append(Module(number, arguments, whose))
    return found


def cleanup() -> list[str]:
    """Unload what dead processes made; the names."""
    removed = []
    for module in reversed(modules()):
        if not owner.is_alive(module.owner):
            with contextlib.suppress(UserError):
                pactl("unload-module", module.number)
                removed.append(module.name)
    return removed


def _plain(label: str) -> str:
    """Without what would end the quotes of a module's argument."""
    return label.replace("'", "").replace('"', "").replace("\\", "")
