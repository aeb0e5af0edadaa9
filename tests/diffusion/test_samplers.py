"""Samplers: the references' numbers, laws they must keep, distributions they must reach."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from audio_enh.diffusion.bridge import bridge_sde, guarded_bridge_ode
from audio_enh.diffusion.noise import generator_noise, seeded_noise
from audio_enh.diffusion.samplers import (
    SAMPLERS,
    denoising_ode,
    denoising_step,
    predictor_corrector,
    probability_flow,
    probability_flow_rk45,
    samplers_for,
)
from audio_enh.diffusion.sdes import BBED, OUVE, SBVE, Flow, Process, over_items
from audio_enh.diffusion.times import GRIDS, time_grid
from tests.diffusion.goldens import arrays

PROCESSES = [OUVE(), BBED(T=0.98), SBVE(), Flow()]


class Known:
    """Knows the answer: clean speech is ``target`` plus, if ``spread`` is not 0, normal noise of that deviation."""

    def __init__(self, process: Process, target: Tensor, spread: float = 0.0):
        self.process, self.target, self.spread = process, target, spread
        self.calls: list[float] = []

    def _moments(self, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.calls.append(float(t[0]))
        weight = over_items(self.process.mean_weights(t)[0], y)
        variance = (weight * self.spread) ** 2 + over_items(self.process.std(t), y) ** 2
        return self.process.mean(self.target, y, t), variance, weight

    def score(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        mean, variance, _ = self._moments(y, t)
        return (mean - x_t) / variance

    def denoise(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        mean, variance, weight = self._moments(y, t)
        gain = torch.where(variance > 0, weight * self.spread**2 / variance.clamp(min=1e-20), 0.0)
        return self.target + gain * (x_t - mean)


def fitting() -> list:
    return [
        pytest.param(process, name, id=f"{type(process).__name__}-{name}")
        for process in PROCESSES
        for name in samplers_for(process)
    ]


def sampler(name: str) -> Callable[..., Tensor]:
    function, fixed = SAMPLERS[name]
    return partial(function, **fixed)


def replay(draws: Tensor) -> Callable[[], Tensor]:
    draw = iter(draws)
    return lambda: next(draw)


def test_predictor_corrector_is_the_references() -> None:
    golden, process = arrays("sampler_pc"), OUVE()
    noise = replay(golden["draws"])
    out = predictor_corrector(process, Known(process, golden["target"]), golden["y"], noise, steps=5)
    torch.testing.assert_close(out, golden["result"], atol=1e-5, rtol=0)
    with pytest.raises(StopIteration):  # and it took just as many draws
        noise()


class Mixture:
    """What the references' bridges were sampled with."""

    def __init__(self, target: Tensor):
        self.target = target

    def denoise(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        return 0.7 * self.target + 0.2 * x_t + 0.1 * y

    def score(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        raise AssertionError("a bridge is sampled by its clean estimate")


def test_bridge_sde_is_the_references() -> None:
    golden = arrays("sampler_sb_sde")
    out = bridge_sde(SBVE(), Mixture(golden["target"]), golden["y"], replay(golden["draws"]), steps=5)
    torch.testing.assert_close(out, golden["result"], atol=1e-5, rtol=0)


def test_bridge_ode_is_the_references_with_its_guards() -> None:
    golden = arrays("sampler_sb_ode")
    no_noise = replay(torch.zeros(0))
    out = guarded_bridge_ode(SBVE(), Mixture(golden["target"]), golden["y"], no_noise, steps=5)
    torch.testing.assert_close(out, golden["result"], atol=1e-5, rtol=0)


def test_bridge_ode_without_guards_is_their_formula_after_the_pole_at_the_start() -> None:
    process, y, x = SBVE(), torch.randn(1, 8).double(), torch.randn(1, 8).double()
    target = torch.randn(1, 8).double()
    t, after = (torch.tensor([time], dtype=torch.float64) for time in (0.8, 0.6))
    (past, future), (past_next, future_next) = process.variances(t), process.variances(after)
    s, f, s_next, f_next = (v.sqrt() for v in (past, future, past_next, future_next))
    expected = (
        s_next * f_next / (s * f) * x
        + (f_next**2 - f * s_next * f_next / s) / (past + future) * target
        + (s_next**2 - s * s_next * f_next / f) / (past + future) * y
    )
    torch.testing.assert_close(denoising_step(process, x, target, y, t, after), expected)
    # From T on the state is the mean: nothing of the noise that is not there is blown up.
    end = torch.tensor([1.0], dtype=torch.float64)
    start = denoising_step(process, y, target, y, end, after)
    torch.testing.assert_close(start, process.mean(target, y, after))


@pytest.mark.parametrize(("process", "name"), fitting())
@pytest.mark.parametrize(("steps", "grid"), [(1, "uniform"), (2, "quadratic"), (7, "karras")])
def test_finds_what_the_model_is_sure_of(process: Process, name: str, steps: int, grid: str) -> None:
    y = torch.randn(2, 1, 8, 4, dtype=torch.complex64)
    target = torch.randn_like(y)
    reports: list[tuple[int, int]] = []
    model = Known(process, target)
    noise = generator_noise(y, torch.Generator().manual_seed(0))
    out = sampler(name)(
        process, model, y, noise, steps=steps, grid=grid, on_step=lambda i, n: reports.append((i, n))
    )
    assert out.shape == y.shape
    assert out.isfinite().all()
    if name != "pf_rk45":
        assert reports == [(i + 1, steps) for i in range(steps)]
        assert model.calls == sorted(model.calls, reverse=True)
    if name in ("ode", "ode_heun", "sde"):  # exact however few the steps: only what is left at t_eps
        left = process.std(torch.tensor([process.t_eps])).item() if isinstance(process, SBVE) else 0.0
        assert (out - target).abs().max() < 5 * left + 1e-4


@pytest.mark.parametrize(
    ("process", "name", "steps"),
    [
        (OUVE(), "pc", 100),
        (OUVE(), "pf_heun", 60),
        (OUVE(), "pf_rk45", 30),
        (OUVE(), "ode", 200),
        (OUVE(), "ode_heun", 60),
        (SBVE(), "sde", 200),
    ],
    ids=lambda value: str(value) if not isinstance(value, Process) else type(value).__name__,
)
def test_reaches_the_distribution_of_clean_speech(process: Process, name: str, steps: int) -> None:
    """Clean speech of deviation 0.3 around 1; noisy is 0.5. 20,000 samples."""
    y, target = torch.full((1, 20_000), 0.5), torch.ones(1, 20_000)
    if isinstance(process, OUVE):
        # The process's end still holds e^-1.5 of clean speech; a prior without it is off by that.
        process.theta = 6.0
    model = Known(process, target, spread=0.3)
    noise = generator_noise(y, torch.Generator().manual_seed(0))
    out = sampler(name)(process, model, y, noise, steps=steps)
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)
    # The last step, without noise, takes the deviation of t_eps out.
    assert out.std().item() == pytest.approx(0.3, abs=0.03)


def test_euler_maruyama_and_langevin() -> None:
    process = OUVE(
        theta=6.0, t_eps=0.003
    )  # Euler-Maruyama ends there, with what the process has added until then
    y, target = torch.full((1, 20_000), 0.5), torch.ones(1, 20_000)
    for options in (
        {"predictor": "euler_maruyama"},
        {"corrector": "langevin", "snr": 0.1, "corrector_steps": 2},
        {"corrector": "none"},
    ):
        model = Known(process, target, spread=0.3)
        noise = generator_noise(y, torch.Generator().manual_seed(0))
        out = predictor_corrector(process, model, y, noise, steps=100, **options)
        assert out.mean().item() == pytest.approx(1.0, abs=0.03)
        assert out.std().item() == pytest.approx(0.3, abs=0.04)
        corrections = {"none": 0, "langevin": 2}.get(str(options.get("corrector")), 1)
        assert len(model.calls) == 100 * (1 + corrections)


@pytest.mark.parametrize(("process", "name"), fitting())
def test_a_batch_gives_each_item_what_it_gets_alone(process: Process, name: str) -> None:
    y = torch.randn(3, 1, 8, 4, dtype=torch.complex64)
    y[1] *= 10  # adaptive steps and norms must not spread to the neighbours
    target = torch.randn_like(y)
    seeds = [5, 9, 5]

    def run(rows: list[int]) -> Tensor:
        noise = seeded_noise(y[rows], [seeds[row] for row in rows])
        options = {"corrector": "langevin"} if name == "pc" else {}
        model = Known(process, target[rows], spread=0.2)
        return sampler(name)(process, model, y[rows], noise, steps=4, **options)

    together = run([0, 1, 2])
    for row in range(3):
        torch.testing.assert_close(run([row])[0], together[row], atol=1e-5, rtol=1e-4)


def test_orders_of_convergence() -> None:
    """Twice the steps: half the error by Euler's method, a quarter by Heun's."""
    process = OUVE()
    y, target = torch.randn(1, 50).double(), torch.randn(1, 50).double()
    z = torch.randn(1, 50).double()
    exact = probability_flow_rk45(process, Known(process, target, 0.3), y, lambda: z, rtol=1e-10, atol=1e-10)

    def error(order: int, steps: int) -> float:
        model = Known(process, target, 0.3)
        out = probability_flow(process, model, y, lambda: z, steps=steps, order=order)
        return (out - exact).norm().item()

    assert error(1, 100) / error(1, 200) == pytest.approx(2, rel=0.15)
    assert error(2, 100) / error(2, 200) == pytest.approx(4, rel=0.25)
    assert error(2, 100) < 0.05 * error(1, 100)


def test_heun_is_nearer_where_the_estimate_changes() -> None:
    process = SBVE()
    y, target = torch.randn(1, 50).double(), torch.randn(1, 50).double()

    def out(order: int, steps: int) -> Tensor:
        return denoising_ode(process, Mixture(target), y, lambda: y, steps=steps, order=order)

    exact = out(1, 5000)
    assert (out(2, 8) - exact).norm() < 0.9 * (out(1, 8) - exact).norm()


@pytest.mark.parametrize("kind", list(GRIDS))
def test_grids(kind: str) -> None:
    times = time_grid(1.0, 0.03, 7, kind)
    assert times[0] == 1.0
    assert times[-1] == 0.03
    assert (times.diff() < 0).all()
    rho = GRIDS[kind]
    torch.testing.assert_close(
        (times ** (1 / rho)).diff(), torch.full((6,), (0.03 ** (1 / rho) - 1) / 6).double()
    )
    assert time_grid(1.0, 0.0, 2, kind).tolist() == [1.0, 0.0]


def test_what_cannot_be_done_is_refused() -> None:
    y = torch.randn(1, 4)
    model = Known(SBVE(), y)
    for function in (predictor_corrector, probability_flow, probability_flow_rk45):
        with pytest.raises(TypeError, match="without noise"):
            function(SBVE(), model, y, lambda: y)
    with pytest.raises(TypeError, match="SBVE"):
        bridge_sde(OUVE(), model, y, lambda: y)
    with pytest.raises(ValueError, match="steps"):
        denoising_ode(SBVE(), model, y, lambda: y, steps=0)
    with pytest.raises(ValueError, match="grid"):
        denoising_ode(SBVE(), model, y, lambda: y, grid="even")
    process = OUVE()
    with pytest.raises(RuntimeError, match="RK45"):
        probability_flow_rk45(process, Known(process, y), y, lambda: y, max_evaluations=7)
