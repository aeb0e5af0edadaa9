"""Samplers of the Schroedinger bridge alone. Its ODE is :func:`audio_enh.diffusion.samplers.denoising_ode`."""

from __future__ import annotations

import torch
from torch import Tensor

from audio_enh.diffusion.noise import Noise
from audio_enh.diffusion.sdes import SBVE, Process, over_items
from audio_enh.diffusion.times import Estimates, Grid, OnStep, check_steps, item_times, tell, time_grid


def bridge_sde(
    process: Process,
    model: Estimates,
    y: Tensor,
    noise: Noise,
    *,
    steps: int = 4,
    grid: Grid = "uniform",
    on_step: OnStep | None = None,
) -> Tensor:
    r"""Stochastic steps of the bridge: Jukic et al. 2024, eq. 14, the posterior of the state given a later one.

    .. math:: x_{t'} = r x_t + (1 - r) \hat x_0 + \sigma_{t'} \sqrt{1 - r} z, \quad r = \sigma_{t'}^2 / \sigma_t^2

    The last step is without noise.

    Raises:
        TypeError: the process is not :class:`SBVE`.
    """
    check_steps(steps)
    process = _bridge(process)
    times = time_grid(process.T, process.t_eps, steps + 1, grid).tolist()
    x = mean = process.prior(y, noise)
    for i in range(steps):
        t, after = item_times(times[i], y), item_times(times[i + 1], y)
        past_before, _ = process.variances(t)
        past_after, _ = process.variances(after)
        ratio = past_after / past_before
        clean = model.denoise(x, y, t)
        mean = over_items(ratio, y) * x + over_items(1 - ratio, y) * clean
        if i < steps - 1:
            x = mean + over_items((past_after * (1 - ratio)).sqrt(), y) * noise()
        tell(on_step, i, steps)
    return mean


def guarded_bridge_ode(
    process: Process,
    model: Estimates,
    y: Tensor,
    noise: Noise,
    *,
    steps: int = 50,
    grid: Grid = "uniform",
    on_step: OnStep | None = None,
    guard: float = 1e-8,
) -> Tensor:
    r"""The bridge's ODE with the guards and the rounding of its authors' implementation, to compare with.

    .. math:: x_{t'} = \frac{\sigma_{t'} \bar\sigma_{t'}}{\sigma_t \bar\sigma_t} x_t + \frac 1 {\sigma_T^2}
        \left(\bar\sigma_{t'}^2 - \frac{\bar\sigma_t \sigma_{t'} \bar\sigma_{t'}}{\sigma_t}\right) \hat x_0
        + \frac 1 {\sigma_T^2}
        \left(\sigma_{t'}^2 - \frac{\sigma_t \sigma_{t'} \bar\sigma_{t'}}{\bar\sigma_t}\right) y

    At ``T`` the first and last weight have poles that cancel. The implementation adds ``guard`` to every denominator
    and to the remaining variance, and computes in single precision: with five steps, weights of 5300 and -5300 that
    leave 5 % of ``y`` too much in the first step, and rounding errors of 2e-4. Its model is told the time to go to,
    not that of the state. :func:`denoising_ode` has none of this.

    Args:
        guard: epsilon.

    Raises:
        TypeError: the process is not :class:`SBVE`.
    """
    check_steps(steps)
    process = _bridge(process)
    times = time_grid(process.T, process.t_eps, steps + 1, grid).float().to(y.device)
    # In this order of operations, for rounding is most of what there is to agree with.
    past = ((process.c * (process.k ** (2 * times) - 1.0)) / (2 * torch.tensor(process.k).log())).sqrt()
    whole = past[0] ** 2
    future = (whole - past**2 + guard).sqrt()
    x = y
    for i in range(steps):
        (s, s_next), (f, f_next) = past[i : i + 2], future[i : i + 2]
        of_state = s_next * f_next / (s * f + guard)
        of_clean = 1 / (whole + guard) * (f_next**2 - f * s_next * f_next / (s + guard))
        of_noisy = 1 / (whole + guard) * (s_next**2 - s * s_next * f_next / (f + guard))
        clean = model.denoise(x, y, item_times(float(times[i + 1]), y))
        x = of_state * x + of_clean * clean + of_noisy * y
        tell(on_step, i, steps)
    return x


def _bridge(process: Process) -> SBVE:
    if not isinstance(process, SBVE):
        raise TypeError(f"the sampler is for the process SBVE, not {type(process).__name__}")
    return process
