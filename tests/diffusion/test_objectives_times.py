"""Training times follow the densities they are named after, for processes with and without a monotone noise."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, laplace, norm

from audio_enh.diffusion.training_times import (
    ImportanceTimes,
    LaplaceTimes,
    LogNormalTimes,
    UniformTimes,
    even_variates,
)


def growing(t):
    """Exponential noise over ten octaves, as of a variance-exploding process."""
    return 1e-3 * 1000**t


def bridge(t):
    return 0.6 * (t * (1 - t)).sqrt()


def variates(n=20000):
    return even_variates(torch.arange(n), seed=1)


def test_variates_are_even_in_every_run_of_items():
    for start in (0, 7, 100000):
        u = even_variates(torch.arange(start, start + 64), seed=5)
        assert kstest(u.numpy(), "uniform").statistic < 0.05  # independent ones: about 0.1
    assert not torch.equal(even_variates(torch.arange(4), 0), even_variates(torch.arange(4), 1))


def test_uniform():
    t = UniformTimes()(variates(), growing, 0.03, 1.0)
    assert kstest(t.numpy(), "uniform", (0.03, 0.97)).statistic < 0.01


def test_log_normal_noise_levels():
    t = LogNormalTimes(-3.0, 0.8)(variates(), growing, 0.0, 1.0)
    assert kstest(growing(t).log().numpy(), norm(-3.0, 0.8).cdf).statistic < 0.01


def test_laplace_log_snr():
    t = LaplaceTimes(0.5, 0.4, sigma_data=0.1)(variates(), growing, 0.0, 1.0)
    log_snr = 2 * (math.log(0.1) - growing(t).log())
    assert kstest(log_snr.numpy(), laplace(0.5, 0.4).cdf).statistic < 0.01


def test_bridge_has_both_times_of_a_noise_level():
    t = LaplaceTimes(0.0, 0.5, sigma_data=0.1)(variates(), bridge, 1e-4, 1 - 1e-4).numpy()
    assert abs(np.mean(t < 0.5) - 0.5) < 0.01
    log_snr = 2 * (math.log(0.1) - np.log(bridge(torch.from_numpy(t)).numpy()))
    assert kstest(log_snr, laplace(0.0, 0.5).cdf).statistic < 0.01


def test_no_overlap_with_the_process_is_said():
    with pytest.raises(ValueError, match="noise levels"):
        LogNormalTimes(50.0, 0.1)(variates(4), growing, 0.0, 1.0)


def test_importance_prefers_large_losses_and_keeps_the_mean():
    times = ImportanceTimes(bins=10, uniform=0.1)
    for first in range(0, 4000, 100):
        t = times(even_variates(torch.arange(first, first + 100), 0), growing, 0.0, 1.0)
        times.observe(t, 1 + 9 * (t > 0.8).float(), 0.0, 1.0)
    t = times(variates(), growing, 0.0, 1.0)
    # The last fifth has ten times the loss: 20/28 of the adapted draws and a fifth of the uniform ones.
    assert float((t > 0.8).float().mean()) == pytest.approx(0.9 * 20 / 28 + 0.1 * 0.2, abs=0.01)
    weight = times.weight(t, 0.0, 1.0)
    assert float((weight * (1 + 9 * (t > 0.8).float())).mean()) == pytest.approx(0.8 + 0.2 * 10, rel=0.01)


def test_importance_is_uniform_until_all_is_seen_and_deaf_in_validation():
    times = ImportanceTimes(bins=10)
    times.observe(torch.rand(100) * 0.5, torch.ones(100), 0.0, 1.0)
    t = times(variates(), growing, 0.0, 1.0)
    assert kstest(t.numpy(), "uniform").statistic < 0.01
    before = times.square.clone()
    times.eval().observe(torch.rand(10), torch.ones(10) * 9, 0.0, 1.0)
    assert torch.equal(times.square, before)
