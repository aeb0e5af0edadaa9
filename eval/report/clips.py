"""Sound and spectrograms small enough to be carried inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_SECONDS = 12.0
_COLUMNS = 560
_ROWS = 140
_RANGE_DB = 80.0


@dataclass(frozen=True)
class Clip:
    """One signal of one file.

    Attributes:
        role: ``clean``, ``noisy`` or the system's name.
        audio: FLAC, 16 bit, as a data URI: lossless, and every browser plays it from the file system.
        image: spectrogram, PNG as a data URI.
        seconds: length of what is shown.
        cut: the file is longer than that.
        top_khz: highest frequency of the spectrogram.
    """

    role: str
    audio: str
    image: str
    seconds: float
    cut: bool
    top_khz: float


def make_clips(
    paths: Sequence[tuple[str, Path]], difference: tuple[str, str, str] | None = None
) -> list[Clip]:
    """Clips of the signals that belong to one file, their spectrograms on one scale of level.

    Args:
        paths: role and file; one that cannot be read is left out (its row says why).
        difference: one more clip, its role and the roles of which it is the first minus the second; left out where
            the two are not alike in rate, channels and length.
    """
    from audio_enh.errors import AudioFileError
    from audio_enh.io import read_audio

    signals = []
    for role, path in paths:
        try:
            audio, rate = read_audio(path)
        except (AudioFileError, OSError):
            continue
        if audio.shape[1] and np.isfinite(audio).all():
            signals.append((role, audio, rate))
    if not signals:
        return []
    if difference is not None:
        role, first, second = difference
        known = {name: (audio, rate) for name, audio, rate in signals}
        if first in known and second in known:
            (minuend, rate), (subtrahend, other) = known[first], known[second]
            if rate == other and minuend.shape == subtrahend.shape:
                signals.append((role, minuend - subtrahend, rate))
    spectrograms = [_power(audio[:, : round(MAX_SECONDS * rate)].mean(0), rate) for _, audio, rate in signals]
    loudest = max(float(power.max()) for power in spectrograms) or 1.0
    return [
        Clip(
            role,
            _flac(audio[:, : round(MAX_SECONDS * rate)], rate),
            _png(power, loudest),
            min(audio.shape[1] / rate, MAX_SECONDS),
            audio.shape[1] / rate > MAX_SECONDS,
            rate / 2000,
        )
        for (role, audio, rate), power in zip(signals, spectrograms, strict=True)
    ]


def _power(audio: NDArray[np.floating], rate: int) -> NDArray[np.float64]:
    """Power spectrogram on the picture's grid, ``(rows, columns)``, low frequencies first."""
    window = np.hanning(round(0.032 * rate))
    padded = np.pad(audio.astype(np.float64), window.size // 2)
    starts = np.linspace(0, max(0, padded.size - window.size), _COLUMNS).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window.size)[starts] * window
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.linspace(0, power.shape[1], _ROWS + 1).astype(int)
    return np.add.reduceat(power, edges[:-1], axis=1).T


def _png(power: NDArray[np.float64], loudest: float) -> str:
    from matplotlib import colormaps
    from PIL import Image

    level = 10 * np.log10(np.maximum(power / loudest, 10 ** (-_RANGE_DB / 10)))
    image = Image.fromarray(np.round((level / _RANGE_DB + 1) * 255).astype(np.uint8)[::-1])
    palette = np.round(colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8)
    image.putpalette(palette.tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return _uri("image/png", stream)


def _flac(audio: NDArray[np.floating], rate: int) -> str:
    import soundfile  # FLAC has room for 8 channels

    stream = io.BytesIO()
    soundfile.write(stream, np.clip(audio[:8], -1, 1).T, rate, format="FLAC", subtype="PCM_16")
    return _uri("audio/flac", stream)


def _uri(kind: str, stream: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
