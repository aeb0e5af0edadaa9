"""Negative log-likelihood of a signal under predicted mixtures of normal distributions."""

from __future__ import annotations

import math

from torch import Tensor


def mixture_nll(target: Tensor, mean: Tensor, sigma: Tensor, logits: Tensor) -> Tensor:
    r"""Per value, in nats: the loss of UNIVERSE's condition network (Serra et al. 2022, arXiv 2206.03065).

    .. math:: -\frac 1 N \log \sum_k \prod_i \alpha_{k} \mathcal N(x_i; \mu_{ki}, \sigma_{ki})

    A component explains the whole signal: the mixture is between courses of the signal, not in every value.

    Args:
        target: ``(batch, channels, frames)``.
        mean, sigma: ``(batch, components, channels, frames)``.
        logits: of the weights, broadcastable to them.

    Returns:
        ``(batch,)``.
    """
    z = (target[:, None] - mean) / sigma
    log_density = -0.5 * z.square() - sigma.log() - 0.5 * math.log(2 * math.pi)
    by_component = (log_density + logits.log_softmax(dim=1)).sum(dim=(2, 3))
    return -by_component.logsumexp(dim=1) / (target.shape[1] * target.shape[2])
