"""The PESQ-like loss: orders real recordings as PESQ does, and can be minimised from anywhere."""

from importlib.resources import files
from itertools import product

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import butter, sosfilt
from scipy.stats import spearmanr

from audio_enh.eval.metrics import pesq_wb
from audio_enh.losses import PESQLoss

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


def test_ranks_recordings_as_pesq_does():
    loss = PESQLoss()
    scores, losses = [], []
    for clean, degraded in noisy_recordings():
        scores.append(pesq_wb(clean, degraded, RATE))
        losses.append(float(loss(torch.from_numpy(degraded)[None], torch.from_numpy(clean)[None])))
    assert spearmanr(scores, losses).statistic < -0.95  # measured: -0.959


def test_falls_as_the_noise_does_and_is_zero_without():
    clean = speech()
    noise = torch.from_numpy(at_snr(clean[0].numpy(), read("noise/rain.ogg"), 0))[None] - clean
    values = [float(PESQLoss()(clean + gain * noise, clean)) for gain in (1, 0.3, 0.1, 0.03, 0.01, 0)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0


def test_hears_neither_level_nor_mild_colouring():
    clean, loss = speech(), PESQLoss()
    assert float(loss(0.1 * clean, clean)) < 1e-3
    bass = torch.fft.irfft(
        torch.fft.rfft(clean) * torch.linspace(1, 0.5, clean.shape[1] // 2 + 1), clean.shape[1]
    )
    assert float(loss(bass, clean)) < 0.1


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("kinds", list(product(("silence", "speech", "noise"), repeat=2)))
def test_gradient_is_finite_everywhere(rate, kinds):
    sounds = {
        "silence": torch.zeros(1, rate),
        "speech": speech()[:, :rate].repeat(1, 2)[:, :rate],
        "noise": 0.3 * torch.randn(1, rate, generator=torch.Generator().manual_seed(0)),
    }
    estimate = sounds[kinds[0]].clone().requires_grad_()
    value = PESQLoss(rate)(estimate, sounds[kinds[1]])
    value.backward()
    assert value.isfinite()
    assert estimate.grad.isfinite().all()


def test_descent_improves_pesq_itself():
    """The gradient points where PESQ gets better, not only the stand-in."""
    clean = speech("waves")
    estimate = torch.from_numpy(at_snr(clean[0].numpy(), read("noise/rain.ogg"), 10))[None].clone()
    before = pesq_wb(clean[0].numpy(), estimate[0].numpy(), RATE)
    estimate.requires_grad_()
    optimizer = torch.optim.Adam([estimate], lr=3e-4)
    for _ in range(30):
        optimizer.zero_grad()
        PESQLoss()(estimate, clean).backward()
        optimizer.step()
    assert pesq_wb(clean[0].numpy(), estimate[0].detach().numpy(), RATE) > before + 0.3


def test_a_batch_is_the_mean_of_its_items_and_short_ones_have_a_value():
    loss = PESQLoss()
    clean = torch.cat([speech("dog")[:, :RATE], speech("rain")[:, :RATE]])
    noisy = clean + 0.01 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    each = [float(loss(n[None], c[None])) for n, c in zip(noisy, clean, strict=True)]
    assert float(loss(noisy, clean)) == pytest.approx(sum(each) / 2, rel=1e-4)
    assert loss(noisy[:, :600], clean[:, :600]).isfinite()


def test_low_rates_are_refused():
    with pytest.raises(ValueError, match="16000"):
        PESQLoss(8000)
