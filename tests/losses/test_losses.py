"""Losses: zero at the target, growing with the error, blind to level where they should be."""

import pytest
import torch

from audio_enh.eval.metrics import si_sdr
from audio_enh.losses import (
    CompressedSpectralLoss,
    MultiResolutionSTFTLoss,
    SISDRLoss,
    WaveformL1Loss,
    WeightedLoss,
)


def signals(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 8000, generator=generator), torch.randn(2, 8000, generator=generator)


@pytest.mark.parametrize("loss", [CompressedSpectralLoss(), MultiResolutionSTFTLoss(), WaveformL1Loss()])
def test_zero_at_the_target_and_growing_with_the_error(loss):
    clean, noise = signals()
    assert float(loss(clean, clean)) == pytest.approx(0, abs=1e-6)
    values = [float(loss(clean + gain * noise, clean)) for gain in (0.01, 0.1, 1.0)]
    assert values == sorted(values)
    assert values[0] > 0


def test_si_sdr_loss_is_the_metric_and_saturates():
    clean, noise = signals()
    estimate = 0.7 * clean + 0.3 * noise
    expected = sum(si_sdr(c.numpy(), e.numpy()) for c, e in zip(clean, estimate, strict=True)) / 2
    assert float(SISDRLoss(ceiling=80)(estimate, clean)) == pytest.approx(-expected, abs=1e-2)
    assert float(SISDRLoss(ceiling=30)(clean, clean)) == pytest.approx(-30, abs=0.1)


@pytest.mark.parametrize("loss", [CompressedSpectralLoss(), MultiResolutionSTFTLoss(), SISDRLoss()])
def test_silent_target_and_silent_estimate_have_finite_gradients(loss):
    for estimate, clean in [
        (torch.zeros(1, 4000), torch.zeros(1, 4000)),
        (torch.randn(1, 4000), torch.zeros(1, 4000)),
    ]:
        estimate.requires_grad_()
        loss(estimate, clean).backward()
        assert estimate.grad.isfinite().all()


def test_weighted_sum_does_not_depend_on_the_recordings_level():
    clean, noise = signals()
    loss = WeightedLoss(
        {"l1": WaveformL1Loss(), "spectral": CompressedSpectralLoss()}, {"l1": 2.0, "spectral": 1.0}
    )
    total, parts = loss(clean + 0.5 * noise, clean, clean + noise)
    quiet, _ = loss(0.01 * (clean + 0.5 * noise), 0.01 * clean, 0.01 * (clean + noise))
    assert float(total) == pytest.approx(2 * float(parts["l1"]) + float(parts["spectral"]))
    assert float(quiet) == pytest.approx(float(total), rel=1e-3)


def test_terms_and_weights_must_match():
    with pytest.raises(ValueError, match="same names"):
        WeightedLoss({"l1": WaveformL1Loss()}, {"l2": 1.0})
