r"""From noisy to clean: pure functions of (process, model, noisy coefficients, noise).

Every sampler takes the same arguments:

``process``
    :class:`audio_enh.diffusion.sdes.Process`.
``model``
    has ``score(x, y, t)`` and ``denoise(x, y, t)``, of which samplers use one:
    :class:`audio_enh.diffusion.times.Estimates`.
``y``
    noisy coefficients, ``(batch, ...)``.
``noise``
    source of noise in the shape of ``y``: :mod:`audio_enh.diffusion.noise`.
``steps``
    number of steps, at least 1.
``grid``
    how they are spread: :data:`audio_enh.diffusion.times.GRIDS`.
``on_step``
    told the number of steps done and that of all, after each.

and gives the clean estimate in the shape of ``y``. No sampler mixes the items of a batch: each gets what it would get
alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from audio_enh.diffusion.bridge import bridge_sde, guarded_bridge_ode
from audio_enh.diffusion.noise import Noise
from audio_enh.diffusion.sdes import SBVE, Flow, Process, over_items
from audio_enh.diffusion.times import Estimates, Grid, OnStep, check_steps, item_times, tell, time_grid


def predictor_corrector(
    process: Process,
    model: Estimates,
    y: Tensor,
    noise: Noise,
    *,
    steps: int = 30,
    grid: Grid = "uniform",
    on_step: OnStep | None = None,
    predictor: Literal["reverse_diffusion", "euler_maruyama"] = "reverse_diffusion",
    corrector: Literal["annealed_langevin", "langevin", "none"] = "annealed_langevin",
    corrector_steps: int = 1,
    snr: float = 0.5,
) -> Tensor:
    r"""Stochastic sampling of Song et al. 2021 (arXiv 2011.13456), as in SGMSE (Richter et al. 2023, algorithm 1).

    At each time first the corrector moves the state within its distribution, then the predictor moves it to the next
    time. A step costs ``corrector_steps + 1`` evaluations.

    Args:
        predictor: both discretise the reverse SDE to first order,
            ``x <- x - (f - g^2 s) dt + g sqrt(dt) z``. Reverse diffusion has its last evaluation at ``t_eps`` and
            goes from there to 0, Euler-Maruyama ends at ``t_eps``. Both leave the noise of the last step out.
        corrector: step size by the process's noise (``2 (snr std)^2``), by the ratio of the norms of noise and score
            (Song et al., algorithm 4), or no correction.
        corrector_steps: of each correction.
        snr: r, size of the corrector's steps.
    """
    check_steps(steps)
    _check_noisy_end(process)
    if predictor == "reverse_diffusion":
        times = _times_to_zero(process, steps, grid)
    elif predictor == "euler_maruyama":
        times = time_grid(process.T, process.t_eps, steps + 1, grid).tolist()
    else:
        raise ValueError(f"unknown predictor {predictor!r}: choose reverse_diffusion or euler_maruyama")
    if corrector not in ("annealed_langevin", "langevin", "none"):
        raise ValueError(f"unknown corrector {corrector!r}: choose annealed_langevin, langevin or none")
    corrector_steps = 0 if corrector == "none" else corrector_steps

    x = mean = process.prior(y, noise)
    for i in range(steps):
        t = item_times(times[i], y)
        for _ in range(corrector_steps):
            score, z = model.score(x, y, t), noise()
            typical = process.std(t) if corrector == "annealed_langevin" else _norm(z) / _norm(score)
            size = snr * typical
            step = over_items(2 * size.square(), y)
            x = x + step * score + (2 * step).sqrt() * z
        dt = times[i] - times[i + 1]
        diffusion = over_items(process.diffusion(t), y)
        drift = process.drift(x, y, t) - diffusion.square() * model.score(x, y, t)
        mean = x - dt * drift
        x = mean + diffusion * dt**0.5 * noise()
        tell(on_step, i, steps)
    return mean


def probability_flow(
    process: Process,
    model: Estimates,
    y: Tensor,
    noise: Noise,
    *,
    steps: int = 30,
    grid: Grid = "uniform",
    on_step: OnStep | None = None,
    order: Literal[1, 2] = 2,
) -> Tensor:
    r"""The ODE with the same marginals, ``dx = (f - g^2 s / 2) dt``, by Euler's or Heun's method with fixed steps.

    The start is the only noise. At ``t_eps`` one step without noise goes on to 0. An evaluation more than
    ``order * steps``.

    Args:
        order: 1 Euler, 2 Heun (Karras et al. 2022, algorithm 1).
    """
    check_steps(steps)
    _check_noisy_end(process)
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, not {order}")
    times = time_grid(process.T, process.t_eps, steps + 1, grid).tolist()
    x = process.prior(y, noise)
    for i in range(steps):
        dt = times[i + 1] - times[i]
        slope = _flow(process, model, x, y, item_times(times[i], y))
        moved = x + dt * slope
        if order == 2:
            slope = (slope + _flow(process, model, moved, y, item_times(times[i + 1], y))) / 2
            moved = x + dt * slope
        x = moved
        tell(on_step, i, steps)
    return _last_denoising(process, model, x, y)


def probability_flow_rk45(
    process: Process,
    model: Estimates,
    y: Tensor,
    noise: Noise,
    *,
    steps: int = 30,
    grid: Grid = "uniform",
    on_step: OnStep | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_evaluations: int = 2000,
) -> Tensor:
    """The same ODE by Dormand's and Prince's method of order 5(4), each item with step sizes of its own.

    Args:
        steps: only sets the first step size, ``1 / steps`` of the way.
        grid: not used.
        rtol, atol: bound of the error of a step, ``atol + rtol |x|``, in the mean square over the coefficients.
        max_evaluations: after which it gives up.

    Raises:
        RuntimeError: the tolerance is not met within ``max_evaluations``.
    """
    check_steps(steps)
    _check_noisy_end(process)
    x = process.prior(y, noise)
    t = torch.full(y.shape[:1], process.T, dtype=torch.float64, device=y.device)
    step = torch.full_like(t, (process.T - process.t_eps) / steps)
    span = process.T - process.t_eps
    evaluations = 0
    while bool((t > process.t_eps).any()):
        if evaluations >= max_evaluations:
            raise RuntimeError(
                f"RK45 has not converged in {max_evaluations} evaluations: raise rtol and atol"
            )
        # An item at its end makes steps of length 0.
        h = torch.minimum(step, t - process.t_eps)
        width = over_items(-h, y)
        slopes: list[Tensor] = []
        for place, row in _DORMAND_PRINCE:
            at = x + width * sum(a * k for a, k in zip(row, slopes, strict=True)) if row else x
            slopes.append(_flow(process, model, at, y, (t - place * h).to(y.real.dtype)))
            evaluations += 1
        fifth = sum(b * k for b, k in zip(_FIFTH, slopes, strict=False))
        error = width * sum(e * k for e, k in zip(_ERROR, slopes, strict=True))
        moved = x + width * fifth
        bound = atol + rtol * torch.maximum(x.abs(), moved.abs())
        ratio = (error.abs() / bound).flatten(1).square().mean(1).sqrt().double()
        accepted = ratio <= 1
        x = torch.where(over_items(accepted, y) > 0, moved, x)
        t = torch.where(accepted, t - h, t)
        t = torch.where(t - process.t_eps < 1e-12 * span, process.t_eps, t)
        step = h * (0.9 * ratio.clamp(min=1e-10) ** -0.2).clamp(0.2, 10)
        step = torch.where(h > 0, step, span)
        if on_step is not None:
            done = float((process.T - t.max()) / span)
            on_step(round(done * steps), steps)
    return _last_denoising(process, model, x, y)


def denoising_ode(
    process: Process,
    model: Estimates,
    y: Tensor,
    noise: Noise,
    *,
    steps: int = 4,
    grid: Grid = "uniform",
    on_step: OnStep | None = None,
    order: Literal[1, 2] = 1,
) -> Tensor:
    r"""Deterministic steps that keep the clean estimate and the noise the state implies.

    .. math:: x_{t'} = mean(\hat x_0, y, t') + \frac{\sigma_{t'}}{\sigma_t} (x_t - mean(\hat x_0, y, t))

    For the bridge this is its ODE (Jukic et al. 2024, eq. 15), for the flow Euler's method, for the others DDIM (Song
    et al. 2021, arXiv 2010.02502), exact where the estimate does not change.

    Args:
        order: 2 repeats each step but the last with the mean of the estimates at its two ends (Heun): twice the
            evaluations.
    """
    check_steps(steps)
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, not {order}")
    if isinstance(process, SBVE | Flow):
        times = time_grid(process.T, process.t_eps, steps + 1, grid).tolist()
    else:  # what they add until t_eps, in mean and noise, is not to be left in
        times = _times_to_zero(process, steps, grid)
    x = process.prior(y, noise)
    for i in range(steps):
        t, after = item_times(times[i], y), item_times(times[i + 1], y)
        clean = model.denoise(x, y, t)
        moved = denoising_step(process, x, clean, y, t, after)
        if order == 2 and i < steps - 1:
            clean = (clean + model.denoise(moved, y, after)) / 2
            moved = denoising_step(process, x, clean, y, t, after)
        x = moved
        tell(on_step, i, steps)
    return x


def denoising_step(
    process: Process, x: Tensor, clean: Tensor, y: Tensor, t: Tensor, t_next: Tensor
) -> Tensor:
    """One step of :func:`denoising_ode` from ``t`` to ``t_next``, both ``(batch,)``."""
    before, after = process.std(t), process.std(t_next)
    # A bridge starts without noise, from its mean. A flow has none, but what is off its line shrinks with time.
    shrink = torch.where(before > 0, after / before.clamp(min=1e-12), t_next / t)
    return process.mean(clean, y, t_next) + over_items(shrink, x) * (x - process.mean(clean, y, t))


#: What checkpoints and the command line call them, with the options each fixes.
SAMPLERS: dict[str, tuple[Callable[..., Tensor], dict[str, Any]]] = {
    "pc": (predictor_corrector, {}),
    "pf_heun": (probability_flow, {"order": 2}),
    "pf_rk45": (probability_flow_rk45, {}),
    "ode": (denoising_ode, {"order": 1}),
    "ode_heun": (denoising_ode, {"order": 2}),
    "ode_guarded": (guarded_bridge_ode, {}),
    "sde": (bridge_sde, {}),
}


def samplers_for(process: Process) -> tuple[str, ...]:
    """Names in :data:`SAMPLERS` of those that fit the process."""
    if isinstance(process, SBVE):
        return ("ode", "ode_heun", "ode_guarded", "sde")
    if isinstance(process, Flow):
        return ("ode", "ode_heun")
    return ("pc", "pf_heun", "pf_rk45", "ode", "ode_heun")


def _times_to_zero(process: Process, steps: int, grid: Grid) -> list[float]:
    """Times of so many evaluations, the last one at ``t_eps``, and 0."""
    return [*time_grid(process.T, process.t_eps, steps, grid).tolist(), 0.0]


def _check_noisy_end(process: Process) -> None:
    if isinstance(process, SBVE | Flow):
        raise TypeError(
            f"{type(process).__name__} begins without noise and has no score there: use denoising_ode"
        )


def _flow(process: Process, model: Estimates, x: Tensor, y: Tensor, t: Tensor) -> Tensor:
    half = 0.5 * over_items(process.diffusion(t), y).square()
    return process.drift(x, y, t) - half * model.score(x, y, t)


def _last_denoising(process: Process, model: Estimates, x: Tensor, y: Tensor) -> Tensor:
    """From ``t_eps`` to 0: one step of the reverse SDE without its noise."""
    t = item_times(process.t_eps, y)
    diffusion = over_items(process.diffusion(t), y)
    return x - process.t_eps * (process.drift(x, y, t) - diffusion.square() * model.score(x, y, t))


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


# Dormand and Prince 1980: place within the step and weights of the earlier slopes, for each of the seven slopes.
_DORMAND_PRINCE: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0.0, ()),
    (1 / 5, (1 / 5,)),
    (3 / 10, (3 / 40, 9 / 40)),
    (4 / 5, (44 / 45, -56 / 15, 32 / 9)),
    (8 / 9, (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729)),
    (1.0, (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656)),
    (1.0, (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)),
)
_FIFTH = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
_FOURTH = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
_ERROR = tuple(b - c for b, c in zip((*_FIFTH, 0.0), _FOURTH, strict=True))
