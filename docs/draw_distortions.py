"""Draws the contact sheets of docs/distortions.md: ``python docs/draw_distortions.py [family...]``."""

from __future__ import annotations

import io
import sys
from importlib import resources
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from audio_enh.distortions import FAMILIES, Distortion, Family, Recordings
from audio_enh.io import read_audio
from audio_enh.plots import spectrogram_db

SEVERITIES = (0.2, 0.6, 1.0)
SECONDS = 2.5
FLOOR_DB = -75.0
OUT = Path(__file__).parent / "distortions"


def speech() -> tuple[np.ndarray, int]:
    """A sentence at -26 dB, as the simulator gets it in training."""
    path = Path(str(resources.files("audio_enh"))) / "samples" / "clean" / "rain.flac"
    audio, rate = read_audio(path)
    audio = audio[:, int(0.3 * rate) : int((0.3 + SECONDS) * rate)]
    return (audio * (10 ** (-26 / 20) / np.sqrt(np.mean(audio**2)))).astype(np.float32), rate


def caption(distortion: Distortion) -> str:
    """The parameters that follow from severity."""
    values = []
    for name, spec in distortion.parameters().items():
        if spec.free:
            continue
        value = getattr(distortion, name)
        text = f"{value:.3g}" if isinstance(value, float) and value < 1000 else str(value)
        if isinstance(value, float) and value >= 1000:
            text = f"{value:.0f}"
        unit = f" {spec.unit}" if spec.unit and spec.unit != name else ""
        values.append(f"{name} {text}{unit}")
    return ", ".join(values)


def panel(axis: Axes, picture: np.ndarray, title: str, rate: int) -> None:
    axis.imshow(
        picture,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=FLOOR_DB,
        vmax=0,
        extent=(0, SECONDS, 0, rate / 2000),
    )
    axis.set_title(title, loc="left", pad=3, fontsize=8)
    axis.set_yticks([0, 4, 8])
    axis.tick_params(labelsize=7, length=2)


def draw(family: Family) -> Path:
    audio, rate = speech()
    recordings = Recordings()
    clean = spectrogram_db(audio[0], rate)
    top = clean.max()
    rows = [kind for kind, _ in family.members if kind.unavailable(recordings) is None]
    figure = Figure(figsize=(10.5, 1.25 * len(rows) + 1.7), dpi=90, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.02, w_pad=0.03)
    axes = figure.subplots(len(rows) + 1, len(SEVERITIES), sharex=True, sharey=True, squeeze=False)
    panel(axes[0, 0], clean - top, "clean", rate)
    for axis in axes[0, 1:]:
        axis.set_axis_off()
    severities = ", ".join(f"{each:g}" for each in SEVERITIES)
    scales = f"kHz over seconds, {-FLOOR_DB:g} dB from black to white"
    note = f"{family.name}\n\nin each row severity {severities}\n{scales}"
    axes[0, 1].text(0, 0.95, note, transform=axes[0, 1].transAxes, va="top", fontsize=9)
    for line, kind in zip(axes[1:], rows, strict=True):
        for axis, severity in zip(line, SEVERITIES, strict=True):
            rng = np.random.default_rng(2)
            distortion = kind.at(severity, rate, rng)
            damaged = distortion(audio, rate, rng, recordings)
            panel(axis, spectrogram_db(damaged[0], rate) - top, caption(distortion), rate)
        line[0].set_title(f"{kind.name()}: {line[0].get_title(loc='left')}", loc="left", pad=3, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer)
    path = OUT / f"{family.name.replace(' ', '_')}.png"
    path.parent.mkdir(exist_ok=True)
    # 32 colours tell all that the colour map does and take a third of the bytes.
    Image.open(buffer).convert("RGB").quantize(32, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


if __name__ == "__main__":
    for each in FAMILIES:
        if len(sys.argv) < 2 or each.name in sys.argv[1:]:
            sys.stdout.write(f"{draw(each)}\n")
