"""Processes: what they claim in closed form is what their stochastic differential equation does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import torch
from torch import Tensor

from audio_enh.diffusion.sdes import BBED, OUVE, PROCESSES, SBVE, Flow, Process
from tests.diffusion.goldens import arrays

ALL = [OUVE(), BBED(), SBVE(), Flow(), OUVE(2.0, 0.1, 1.0), BBED(k=10.0, theta=0.08), SBVE(k=0.5, c=1.0)]
NOISY = [process for process in ALL if not isinstance(process, Flow)]


def identify(process: Process) -> str:
    return f"{type(process).__name__}-{ALL.index(process)}"


def simulate(process: Process, x0: float, y: float, times: list[float], paths: int) -> list[Tensor]:
    """States of Euler-Maruyama paths of the equation at the given times, in steps of 1/200."""
    generator = torch.Generator().manual_seed(0)
    x, ys = torch.full((1, paths), x0), torch.full((1, paths), y)
    states, steps = [], 200
    for i in range(round(times[-1] * steps)):
        t = torch.tensor([(i + 0.5) / steps])
        noise = torch.randn(1, paths, generator=generator)
        x = x + process.drift(x, ys, t) / steps + process.diffusion(t) * steps**-0.5 * noise
        if (i + 1) in [round(time * steps) for time in times]:
            states.append(x)
    return states


@pytest.mark.parametrize("process", ALL, ids=identify)
def test_moments_are_those_of_simulated_paths(process: Process) -> None:
    times, paths = [0.1, 0.4, 0.7, 0.9], 100_000
    x0, y = 0.8, -0.5
    for time, states in zip(times, simulate(process, x0, y, times, paths), strict=True):
        t = torch.tensor([time], dtype=torch.float64)
        mean = process.mean(torch.tensor([x0]).double(), torch.tensor([y]).double(), t).item()
        std = process.std(t).item()
        # Five standard errors, and what steps of 1/200 cost.
        assert states.mean().item() == pytest.approx(mean, abs=5 * std / paths**0.5 + 1e-2)
        assert states.std().item() == pytest.approx(std, rel=5 / (2 * paths) ** 0.5 + 1e-2, abs=1e-5)


@pytest.mark.parametrize("process", ALL, ids=identify)
def test_begins_at_clean(process: Process) -> None:
    x0, y = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    torch.testing.assert_close(process.mean(x0, y, torch.zeros(2)), x0)
    assert process.std(torch.zeros(2)).abs().max() < 1e-6
    # Noise comes as in a Brownian motion at first.
    t = torch.tensor([1e-4], dtype=torch.float64)
    expected = process.diffusion(torch.zeros(1).double()) * t.sqrt()
    torch.testing.assert_close(process.std(t), expected, rtol=2e-3, atol=0)


@pytest.mark.parametrize(
    "process", [BBED(T=0.9999), SBVE(), Flow()], ids=lambda process: type(process).__name__
)
def test_bridges_end_at_noisy(process: Process) -> None:
    x0, y, t = torch.randn(2, 3), torch.randn(2, 3), torch.full((2,), process.T)
    torch.testing.assert_close(process.mean(x0, y, t), y, atol=1e-3, rtol=0)
    assert process.std(t).max() < 0.03
    assert process.std(t * 0.5).min() > process.std(t).max() or isinstance(process, Flow)


def test_bridge_is_exact_near_its_ends() -> None:
    """Single precision does not spoil the small differences there."""
    t = torch.tensor([1e-4, 1e-3, 0.5, 0.999, 0.9999])
    for process in (SBVE(), BBED(T=0.99999)):
        torch.testing.assert_close(process.std(t).double(), process.std(t.double()), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("k", "theta"), [(2.6, 0.51), (10.0, 0.08), (0.5, 1.0)])
def test_bbed_variance_by_quadrature(k: float, theta: float) -> None:
    process = BBED(k, theta)
    for time in np.linspace(0.001, 0.999, 13):
        # Lay et al. 2023, before they integrate: (1 - t)^2 times the integral of g^2 / (1 - s)^2.
        integral, _ = scipy.integrate.quad(lambda s: (k**s / (1 - s)) ** 2, 0, time, limit=500)
        expected = (1 - time) * math.sqrt(theta * integral)
        assert process.std(torch.tensor([time])).item() == pytest.approx(expected, rel=1e-8)
    if k == 2.6:
        grid = torch.linspace(0, 0.999, 1000)
        peak = process.std(grid).argmax()
        assert process.std(grid)[peak].item() == pytest.approx(0.535, abs=5e-4)
        assert grid[peak].item() == pytest.approx(0.71, abs=0.01)


def test_ouve_is_the_references() -> None:
    golden, process = arrays("sde_ouve"), OUVE()
    x, y, t = golden["x"], golden["y"], golden["t"]
    torch.testing.assert_close(process.drift(x, y, t), golden["drift"], atol=1e-6, rtol=0)
    torch.testing.assert_close(process.diffusion(t), golden["diffusion"], atol=1e-6, rtol=0)
    torch.testing.assert_close(process.mean(x, y, t), golden["mean"], atol=1e-6, rtol=0)
    torch.testing.assert_close(process.std(t), golden["std"], atol=1e-6, rtol=0)


def test_sbve_is_the_references() -> None:
    golden, process = arrays("sde_sbve"), SBVE()
    x, y, t = golden["x"], golden["y"], golden["t"]
    torch.testing.assert_close(process.mean(x, y, t), golden["mean"], atol=1e-6, rtol=0)
    # The reference adds 1e-8 to the remaining variance, which shows where there is none: at T its std is 1e-4.
    past, future = process.variances(t.double())
    guarded = (past * (future + 1e-8) / (past + future)).sqrt().float()
    torch.testing.assert_close(guarded, golden["std"], atol=1e-6, rtol=0)
    torch.testing.assert_close(process.std(t)[t < 1], golden["std"][t < 1], atol=1e-6, rtol=0)


def test_prior_is_noisy_speech_and_the_noise_of_the_end() -> None:
    y = torch.randn(1, 1, 64, 64, dtype=torch.complex64)
    z = torch.randn_like(y)
    for process in ALL:
        start = process.prior(y, lambda: z)
        std = process.std(torch.tensor([process.T])) if not isinstance(process, SBVE | Flow) else 0.0
        torch.testing.assert_close(start, y + std * z)


def test_every_process_is_known_by_name() -> None:
    assert {type(process) for process in ALL} == set(PROCESSES.values())


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [(OUVE, {"sigma_max": 0.01}), (BBED, {"k": 1.0}), (BBED, {"T": 1.0}), (SBVE, {"c": 0.0})],
)
def test_senseless_arguments_are_refused(kind: type[Process], arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        kind(**arguments)
