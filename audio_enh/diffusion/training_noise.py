"""The noise of training: drawn for each item from its number, handed out within the batch, perturbed."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def item_noise(like: Tensor, item: Tensor, seed: int, stream: int = 0) -> Tensor:
    """Standard normal noise in the shape and type of ``like``, each item's from its number alone.

    Complex noise has unit variance, half in each part. An item's noise does not depend on the batch it is in,
    so that a resumed run, or one shared out among several processes, sees the same.

    Args:
        like: ``(batch, ...)``, real or complex.
        item: numbers ``(batch,)``.
        seed: of the run.
        stream: tells several draws for one item apart.
    """
    noise = torch.empty_like(like)
    generator = torch.Generator(like.device)
    for row, number in zip(noise, item.tolist(), strict=True):
        generator.manual_seed(_mixed(number, seed, stream))
        row.normal_(generator=generator)
    return noise


def item_uniform(item: Tensor, seed: int, stream: int) -> Tensor:
    """Uniform variates ``(batch,)`` in float64, each item's from its number alone."""
    values = [_mixed(number, seed, stream) / 2**32 for number in item.tolist()]
    return torch.tensor(values, dtype=torch.float64, device=item.device)


def assign_noise(noise: Tensor, data: Tensor) -> Tensor:
    """The same noises in the order in which they lie nearest to the data: Immiscible Diffusion.

    Li et al. 2024 (arXiv 2406.12303): each item is paired with a noise by the linear assignment that minimises
    the sum of distances within the batch, so that nearby data get nearby noise and trajectories cross less.

    Args:
        noise, data: ``(batch, ...)``.
    """
    a, b = (torch.view_as_real(x) if x.is_complex() else x for x in (data, noise))
    # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b, whose first two terms no assignment changes.
    cost = -(a.flatten(1).float() @ b.flatten(1).float().T)
    _, order = linear_sum_assignment(cost.cpu().numpy())
    return noise[torch.from_numpy(order).to(noise.device)]


def _mixed(number: int, seed: int, stream: int) -> int:
    """32 well mixed bits of three integers (the steps of MurmurHash3)."""
    state = 0
    for word in (number & 0xFFFFFFFF, number >> 32, seed & 0xFFFFFFFF, stream):
        state = (((state ^ word) * 5) + 0xE6546B64) & 0xFFFFFFFF
        state = ((state ^ (state >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
        state = ((state ^ (state >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
        state ^= state >> 16
    return state
