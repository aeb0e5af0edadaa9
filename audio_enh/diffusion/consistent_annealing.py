r"""The process and the sampler of UNIVERSE: noise of geometrically rising strength, and consistent annealed sampling.

The state is ``x_t = x_0 + sigma(t) z`` with ``sigma(t) = sigma_min (sigma_max / sigma_min)^t``, t from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from audio_enh.diffusion.noise import Noise
from audio_enh.diffusion.times import OnStep, check_steps, tell


def geometric_sigma(t: Tensor, sigma_min: float, sigma_max: float) -> Tensor:
    """Standard deviation of the noise at times ``(batch,)`` between 0 and 1."""
    return sigma_min * (sigma_max / sigma_min) ** t


Ratio = TypeVar("Ratio", float, Tensor)


def annealing_factors(gamma: Ratio, epsilon: float) -> tuple[Ratio, Ratio]:
    """``eta`` and ``beta`` of :func:`sample_consistently`, for noise levels of ratio ``gamma``."""
    return 1 - gamma**epsilon, (1 - gamma ** (2 * (epsilon - 1))) ** 0.5


def sample_consistently(
    score: Callable[[Tensor, Tensor], Tensor],
    noise: Noise,
    *,
    steps: int,
    sigma_min: float,
    sigma_max: float,
    epsilon: float = 1.3,
    start: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    r"""Consistent annealed sampling: Jolicoeur-Martineau et al. 2021 (arXiv 2009.05475), as in Serra et al. 2022
    (arXiv 2206.03065).

    Over a geometric sequence of ``steps`` noise levels of ratio ``gamma``

    .. math:: x \leftarrow x + \eta \sigma_n^2 s(x, \sigma_n) + \beta \sigma_{n+1} z,
              \quad \eta = 1 - \gamma^\epsilon, \quad \beta = \sqrt{1 - \gamma^{2 (\epsilon - 1)}}

    by which the noise in ``x`` has the strength ``sigma_{n+1}`` that the network is told of, given an exact score.
    The last step removes it all.

    Args:
        score: of states ``(batch, ...)`` at noise levels ``(batch,)``.
        noise: gives the next standard normal draw, see :mod:`audio_enh.diffusion.noise`.
        steps: evaluations of the score. One goes from noise to the end at once.
        sigma_min, sigma_max: last and first noise level.
        epsilon: 1 or more; at 1 the way is deterministic, higher is noisier.
        start: what to add the first noise to, an estimate of the outcome; None is silence.
        on_step: told after every step.

    Returns:
        The sample, of the noise's shape.
    """
    check_steps(steps)
    if epsilon < 1:
        raise ValueError(f"epsilon must be 1 or more, not {epsilon}")
    gamma = (sigma_max / sigma_min) ** (-1 / max(1, steps - 1))
    eta, beta = annealing_factors(gamma, epsilon)
    sigma = sigma_max
    x = sigma * noise()
    if start is not None:
        x = start + x
    for n in range(steps - 1):
        following = sigma_max * gamma ** (n + 1)
        x = x + eta * sigma**2 * score(x, _levels(sigma, x)) + beta * following * noise()
        sigma = following
        tell(on_step, n, steps)
    x = x + sigma**2 * score(x, _levels(sigma, x))
    tell(on_step, steps - 1, steps)
    return x


def _levels(sigma: float, x: Tensor) -> Tensor:
    return torch.full(x.shape[:1], sigma, dtype=x.dtype, device=x.device)
