"""The PESQ-like loss: orders real recordings as PESQ does, and can be minimised from anywhere."""

import pytest
import torch
from scipy.stats import spearmanr

from audio_enh.eval.metrics import pesq_wb
from audio_enh.losses import PESQLoss
from tests.losses.recordings import RATE, at_snr, noisy_recordings, pair, read, speech, sweep


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


@sweep
def test_gradient_is_finite_everywhere(rate, kinds):
    estimate, clean = pair(rate, kinds)
    value = PESQLoss(rate)(estimate, clean)
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
