"""macOS and Windows: a virtual microphone is a driver, which somebody has to install."""

from __future__ import annotations

from collections.abc import Sequence

from audio_enh.errors import UserError
from audio_enh.streaming.live.devices import Device

# Part of the output's name, what to choose in the other program, and where to get it.
_DARWIN = (
    ("blackhole", "BlackHole"),
    ("vb-cable", "VB-Cable"),
    ("loopback audio", "Loopback Audio"),
)
_WINDOWS = (
    ("cable input", "CABLE Output"),
    ("vb-audio", "VB-Audio's output"),
    ("voicemeeter input", "VoiceMeeter Output"),
)
_INSTALL = {
    "darwin": "install BlackHole (brew install blackhole-2ch, or existential.audio/blackhole)",
    "win32": "install VB-CABLE (vb-audio.com/Cable)",
}


class Cable:
    """An output of a driver that is a microphone at its other end."""

    def __init__(self, name: str, sink: str):
        self.name = name
        self.source = name
        self.sink = self.label = sink

    def ensure(self) -> None: ...

    def remove(self) -> None: ...


def find(devices: Sequence[Device], platform: str) -> Cable:
    """The driver's output among the devices.

    Raises:
        UserError: there is none; says which one to install.
    """
    known = _DARWIN if platform == "darwin" else _WINDOWS
    for part, microphone in known:
        for device in devices:
            if device.outputs > 0 and part in device.name.lower():
                other_end = device.name if platform == "darwin" else microphone
                return Cable(other_end, device.name)
    how = _INSTALL.get(platform, "this system has none that audio-enh knows")
    raise UserError(
        f"no virtual microphone is installed: {how}, then run this again and choose it as the microphone "
        "in the other program"
    )
