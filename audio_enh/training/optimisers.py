"""Optimisers that need to look at the parameters."""

from __future__ import annotations

from collections.abc import Iterable

from torch.nn import Parameter
from torch.optim import AdamW


def adamw_sparing_vectors(
    parameters: Iterable[Parameter], lr: float, betas: tuple[float, float], weight_decay: float
) -> AdamW:
    """AdamW whose weight decay leaves biases, slopes and norms alone: parameters of at most one dimension."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=lr, betas=(betas[0], betas[1]))
