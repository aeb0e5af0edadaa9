"""The ESTOI loss: nearly the metric itself on real recordings, and can be minimised from anywhere."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from audio_enh.eval.metrics import estoi
from audio_enh.losses import ESTOILoss
from tests.losses.recordings import RATE, noisy_recordings, pair, speech, sweep


def test_is_nearly_the_metric():
    loss = ESTOILoss()
    scores, values = [], []
    for clean, degraded in noisy_recordings():
        scores.append(estoi(clean, degraded, RATE))
        values.append(
            1 - float(loss(torch.from_numpy(degraded).float()[None], torch.from_numpy(clean)[None]))
        )
    assert np.abs(np.subtract(scores, values)).max() < 0.02  # measured: 0.015
    assert spearmanr(scores, values).statistic > 0.995  # measured: 0.9994


def test_zero_for_the_clean_speech_at_any_level():
    clean, loss = speech(), ESTOILoss()
    assert float(loss(clean, clean)) < 1e-3
    assert float(loss(0.1 * clean, clean)) < 0.01


@sweep
def test_gradient_is_finite_everywhere(rate, kinds):
    estimate, clean = pair(rate, kinds)
    value = ESTOILoss(rate)(estimate, clean)
    value.backward()
    assert 0 <= float(value) <= 2
    assert estimate.grad.isfinite().all()
    if kinds[1] == "silence":
        assert float(value) == 0


def test_descent_improves_the_metric_itself():
    clean = speech()[:, : 2 * RATE]
    noise = 0.5 * clean.std() * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    loss, estimate = ESTOILoss(), (clean + noise).requires_grad_()
    optimizer = torch.optim.Adam([estimate], lr=2e-3)
    for _ in range(20):
        optimizer.zero_grad()
        loss(estimate, clean).backward()
        optimizer.step()
    before, after = (
        estoi(clean[0].numpy(), signal[0].detach().numpy(), RATE) for signal in (clean + noise, estimate)
    )
    assert after > before + 0.02


def test_a_batch_is_the_mean_of_its_items_and_pauses_do_not_count():
    clean, loss = speech()[:, : 3 * RATE], ESTOILoss()
    noisy = clean + 0.02 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    values = loss.loss(torch.cat([noisy, clean]), torch.cat([clean, clean]))
    assert float(loss(torch.cat([noisy, clean]), torch.cat([clean, clean]))) == pytest.approx(
        float(values.mean())
    )
    assert float(values[0]) == pytest.approx(float(loss(noisy, clean)), rel=1e-5)
    pause = torch.zeros(1, RATE)
    longer = loss(torch.cat([noisy, pause], 1), torch.cat([clean, pause], 1))
    assert float(longer) == pytest.approx(float(values[0]), abs=0.01)


@pytest.mark.parametrize("samples", [1, 100, 6000])
def test_what_is_shorter_than_a_segment_costs_nothing(samples):
    estimate = torch.ones(2, samples, requires_grad=True)
    value = ESTOILoss()(estimate, torch.ones(2, samples))
    value.backward()
    assert float(value) == 0


def test_low_rates_are_refused():
    with pytest.raises(ValueError, match="10000"):
        ESTOILoss(8000)
