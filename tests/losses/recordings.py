"""Recordings and signals for the tests of perceptual losses."""

from importlib.resources import files
from itertools import product

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import butter, sosfilt

RATE = 16000
SAMPLES = files("audio_enh") / "samples"


def read(name: str) -> np.ndarray:
    audio, _ = soundfile.read(str(SAMPLES / name), dtype="float32")
    return audio


def speech(name: str = "dog") -> torch.Tensor:
    """A real sentence, ``(1, samples)``."""
    return torch.from_numpy(read(f"clean/{name}.flac"))[None]


def at_snr(clean: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    noise = np.resize(noise, len(clean))
    return clean + noise * np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-snr / 20)


def noisy_recordings():
    """Real speech in real noise at many ratios, and damaged in other ways: ``(clean, degraded)``."""
    for talker, noise, snr in product(("dog", "rain", "waves"), ("chainsaw", "rain", "dog"), (-5, 5, 15, 25)):
        clean = read(f"clean/{talker}.flac")
        yield clean, at_snr(clean, read(f"noise/{noise}.ogg"), snr)
    clean = read("clean/helicopter.flac")
    for cutoff in (1000, 2000, 4000):
        yield clean, sosfilt(butter(6, cutoff, fs=RATE, output="sos"), clean).astype(np.float32)
    for limit in (0.02, 0.1, 0.3):
        yield clean, np.clip(clean, -limit * np.abs(clean).max(), limit * np.abs(clean).max())


KINDS = ("silence", "speech", "noise")


def sweep(test):
    """Runs a test for all pairs of kinds of sound at two rates."""
    test = pytest.mark.parametrize("kinds", list(product(KINDS, repeat=2)))(test)
    return pytest.mark.parametrize("rate", [16000, 48000])(test)


def pair(rate: int, kinds: tuple[str, str]) -> tuple[torch.Tensor, torch.Tensor]:
    """A second of an estimate, which takes a gradient, and of a clean signal, ``(1, samples)`` each."""
    sounds = {
        "silence": torch.zeros(1, rate),
        "speech": speech()[:, :rate].repeat(1, 2)[:, :rate],
        "noise": 0.3 * torch.randn(1, rate, generator=torch.Generator().manual_seed(0)),
    }
    return sounds[kinds[0]].clone().requires_grad_(), sounds[kinds[1]]
