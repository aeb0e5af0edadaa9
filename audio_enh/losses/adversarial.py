"""Least-squares adversarial losses (Mao et al. 2017, arXiv 1611.04076) and feature matching."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """What discriminators minimise: answers of 1 to what is real and of 0 to what is made.

    Args:
        real, made: answers of each discriminator.

    Returns:
        The sum over discriminators, a scalar.
    """
    return sum_of([(1 - r).square().mean() + m.square().mean() for r, m in zip(real, made, strict=True)])


def generator_loss(made: Sequence[Tensor]) -> Tensor:
    """What the generator minimises: answers of 1 to what it made; summed over discriminators."""
    return sum_of([(1 - answer).square().mean() for answer in made])


def feature_matching_loss(real: Sequence[Sequence[Tensor]], made: Sequence[Sequence[Tensor]]) -> Tensor:
    """L1 distance of the discriminators' features, summed over layers and discriminators (Kong et al. 2020)."""
    pairs = [pair for a, b in zip(real, made, strict=True) for pair in zip(a, b, strict=True)]
    return sum_of([F.l1_loss(m, r) for r, m in pairs])


def sum_of(terms: Sequence[Tensor]) -> Tensor:
    """Of at least one scalar."""
    return sum(terms[1:], start=terms[0])
