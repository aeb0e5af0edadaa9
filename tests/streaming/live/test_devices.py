"""Which device is meant; what is said when none is. The modules are played, the lists real."""

import builtins
import sys
from types import SimpleNamespace

import pytest

from audio_enh.errors import DependencyError, UserError
from audio_enh.streaming.live.devices import find_device, list_devices
from audio_enh.streaming.live.opening import open_device
from audio_enh.streaming.live.portaudio import load_sounddevice
from audio_enh.streaming.live.pulse import PulseDevice, PulseServer


def portaudio(hosts, devices):
    """Like sounddevice, of hosts ``(name, default input, default output)``, devices ``(name, host, in, out)``."""
    return SimpleNamespace(
        query_hostapis=lambda: [
            {"name": name, "default_input_device": given, "default_output_device": taken}
            for name, given, taken in hosts
        ],
        query_devices=lambda: [
            {
                "name": name,
                "hostapi": host,
                "max_input_channels": inputs,
                "max_output_channels": outputs,
                "default_samplerate": 44100.0,
            }
            for name, host, inputs, outputs in devices
        ],
    )


LAPTOP = portaudio(
    [("ALSA", 3, 3)],
    [("HDA Intel PCH: ALC257", 0, 2, 2), ("Jabra Evolve2", 0, 1, 2), ("pulse", 0, 32, 32), ("default", 0, 32, 32)],
)  # fmt: skip
SERVER = PulseServer(
    "PulseAudio (on PipeWire 1.0.5)",
    (
        PulseDevice("alsa_output.pci.monitor", "Monitor of Built-in Audio", 2, 48000, monitor=True),
        PulseDevice("alsa_input.pci", "Built-in Audio", 2, 48000),
        PulseDevice("alsa_input.usb-Jabra", "Jabra Evolve2 Mono", 1, 16000),
    ),
    (PulseDevice("alsa_output.pci", "Built-in Audio", 2, 48000),),
    default_source="alsa_input.usb-Jabra",
    default_sink="alsa_output.pci",
)
WINDOWS = portaudio(
    [("MME", 0, 1), ("Windows DirectSound", 2, 3), ("Windows WASAPI", 4, 5)],
    [
        ("Microphone (USB Audio Device wit", 0, 1, 0),
        ("Speakers (Realtek)", 0, 0, 2),
        ("Microphone (USB Audio Device with a long name)", 1, 1, 0),
        ("Speakers (Realtek)", 1, 0, 2),
        ("Microphone (USB Audio Device with a long name)", 2, 1, 0),
        ("Speakers (Realtek)", 2, 0, 2),
    ],
)


def test_the_server_knows_the_defaults_and_the_names():
    devices = list_devices(LAPTOP, SERVER)
    assert find_device(devices, None, "input").route == "alsa_input.usb-Jabra"
    assert find_device(devices, None, "output").route == "alsa_output.pci"
    found = find_device(devices, "mono", "input")
    assert (found.name, found.index, found.inputs, found.sample_rate) == ("Jabra Evolve2 Mono", 2, 1, 16000)
    assert found.host == "PipeWire"
    assert find_device(devices, "0", "output").name == "HDA Intel PCH: ALC257"
    # The monitor has the name of its loudspeaker in its own, and is not meant by it.
    assert find_device(devices, "built-in", "input").route == "alsa_input.pci"
    assert find_device(devices, "monitor of", "input").is_monitor


@pytest.mark.parametrize(
    ("wanted", "direction", "said"),
    [
        ("jabra", "input", "'jabra' could be any of these: 1 Jabra Evolve2; 6 Jabra Evolve2 Mono"),
        ("bose", "output", "no output device is called 'bose': 0 HDA"),
        ("99", "input", "no device 99: see audio-enh live --list-devices"),
        ("7", "input", "device 7, Built-in Audio, has no input"),
    ],
)
def test_what_is_not_clear_is_an_error_that_lists(wanted, direction, said):
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        find_device(list_devices(LAPTOP, SERVER), wanted, direction)


def test_a_loudspeaker_is_not_taken_for_a_microphone():
    only_monitor = PulseServer("pulseaudio", SERVER.sources[:1], SERVER.sinks, "alsa_output.pci.monitor", "")
    with pytest.raises(UserError, match="there is no microphone"):
        find_device(list_devices(LAPTOP, only_monitor), None, "input")
    assert find_device(list_devices(LAPTOP, only_monitor), "Monitor", "input").is_monitor


def test_no_device_at_all():
    with pytest.raises(UserError, match="there is no input device: connect a microphone"):
        find_device(list_devices(portaudio([("ALSA", -1, -1)], [])), None, "input")


def test_windows_takes_the_quick_system(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    devices = list_devices(WINDOWS)
    assert find_device(devices, None, "input").number == 4
    assert find_device(devices, "usb audio", "input").number == 4
    assert find_device(devices, "realtek", "output").number == 5
    assert find_device(devices, "0", "input").number == 0


class Refusing:
    """A module whose devices take only some settings."""

    class PortAudioError(Exception):
        pass

    error = "Invalid sample rate [PaErrorCode -9997]"

    def __init__(self, takes):
        self.tried = []

        def make(**settings):
            self.tried.append((settings["samplerate"], settings["channels"]))
            if not takes(settings):
                raise self.PortAudioError(self.error)
            return SimpleNamespace()

        self.InputStream = self.OutputStream = make


def test_another_rate_and_count_are_tried_when_the_own_is_refused():
    device = find_device(list_devices(LAPTOP), "Jabra", "output")
    module = Refusing(lambda s: s["samplerate"] == 48000 and s["channels"] == 1)
    opened = open_device(module, device, "output", block_seconds=0.01)
    assert (opened.end.sample_rate, opened.end.channels, opened.end.block) == (48000, 1, 480)
    assert module.tried == [(44100, 2), (44100, 1), (48000, 2), (48000, 1)]


def test_the_reason_of_a_refusal_is_told():
    device = find_device(list_devices(LAPTOP), "Jabra", "input")
    with pytest.raises(UserError, match="cannot open the input Jabra Evolve2: Invalid sample rate"):
        open_device(Refusing(lambda s: False), device, "input", block_seconds=0.01)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ImportError("No module named 'sounddevice'"),
            r"the package sounddevice: pip install .*\[live\]",
        ),
        (OSError("PortAudio library not found"), "PortAudio is missing: apt install libportaudio2"),
    ],
)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="says how on Linux")
def test_what_is_not_installed_is_said(monkeypatch, error, said):
    real = builtins.__import__

    def fails(name, *rest):
        if name == "sounddevice":
            raise error
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(builtins, "__import__", fails)
    with pytest.raises(DependencyError, match=said):
        load_sounddevice()
