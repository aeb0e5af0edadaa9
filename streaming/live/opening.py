"""Opening devices: what they refuse is tried another way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from audio_enh.errors import UserError

from .devices import Device, Direction
from .endpoints import Capture, Playback
from .portaudio import routed

# PortAudio's own smallest choices stall on some systems without a word, and give bursts on others. Two blocks of
# 10 ms ran for hours on PulseAudio.
BLOCK_SECONDS = 0.010
DEVICE_LATENCY = 0.020
OPEN_SECONDS = 8.0
# What every driver has one of.
_COMMON_RATES = (48000, 44100, 16000)


class OpenDevice:
    """A running stream of PortAudio and what its callback works on.

    Args:
        stream: of `sounddevice`, not yet started.
        end: whose callback it calls.
        device: which it is of.
    """

    def __init__(self, stream: Any, end: Capture | Playback, device: Device):
        self.end = end
        self.device = device
        self._stream = stream

    def start(self) -> None:
        self._stream.start()

    @property
    def alive(self) -> bool:
        """Whether PortAudio believes that it runs. It may be wrong: see `Beat`."""
        return bool(self._stream.active)

    def close(self, timeout: float = 2.0) -> bool:
        """Stop and close. False if PortAudio did not come back in time: it may hang on a device that is gone."""
        thread = threading.Thread(target=self._close, name="closing", daemon=True)
        thread.start()
        thread.join(timeout)
        return not thread.is_alive()

    def _close(self) -> None:
        for step in (self._stream.abort, self._stream.close):
            with contextlib.suppress(Exception):  # there is nobody left to tell
                step(ignore_errors=True)


def open_device(
    sounddevice: Any, device: Device, direction: Direction, *, block_seconds: float
) -> OpenDevice:
    """Open it at its own rate, or at another that it takes; a microphone with all its channels, else at most two.

    Raises:
        UserError: it takes none, or is busy.
    """
    is_input = direction == "input"
    stream_class = sounddevice.InputStream if is_input else sounddevice.OutputStream
    error: Exception | None = None
    for sample_rate in dict.fromkeys((device.sample_rate, *_COMMON_RATES)):
        block = max(1, round(block_seconds * sample_rate))
        for channels in _channel_counts(device, direction):
            end: Capture | Playback
            end = (Capture if is_input else Playback)(sample_rate, channels, block)
            try:
                with routed("PULSE_SOURCE" if is_input else "PULSE_SINK", device.route):
                    stream = _in_time(
                        f"the {direction} {device.name} does not answer: is the sound server all right?",
                        stream_class,
                        device=device.index,
                        samplerate=sample_rate,
                        channels=channels,
                        blocksize=block,
                        latency=DEVICE_LATENCY,
                        dtype="float32",
                        callback=end.callback,
                    )
            except (sounddevice.PortAudioError, ValueError) as refused:
                # The first refusal is about what the device itself offers, and says most.
                error = error or refused
            else:
                return OpenDevice(stream, end, device)
    raise UserError(f"cannot open the {direction} {device.name}: {_reason(error)}")


def _in_time(otherwise: str, make: Callable[..., Any], **settings: Any) -> Any:
    """Open a stream; PortAudio may wait for ever for a sound server that is not ready."""
    made: list[Any] = []
    refused: list[Exception] = []

    def run() -> None:
        try:
            made.append(make(**settings))
        except Exception as error:
            refused.append(error)

    thread = threading.Thread(target=run, name="opening", daemon=True)
    thread.start()
    thread.join(OPEN_SECONDS)
    if refused:
        raise refused[0]
    if not made:
        raise UserError(otherwise)
    return made[0]


def _channel_counts(device: Device, direction: Direction) -> list[int]:
    """What to try. Drivers that only give all they have are asked for that in any case."""
    available = device.channels(direction)
    counts = [min(available, 2), 1, available]
    if direction == "input" and device.is_real:
        counts = [available, *counts]
    return list(dict.fromkeys(counts))


def _reason(error: Exception | None) -> str:
    text = " ".join(str(error).split())
    low = text.lower()
    if "unavailable" in low or "busy" in low or "-9985" in low:
        return f"it is busy; close the program that uses it ({text})"
    return text
