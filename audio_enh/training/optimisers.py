"""Optimisers: those that need to look at the parameters, and one operator for a step where there is one."""

from __future__ import annotations

from collections.abc import Iterable

from torch.nn import Parameter
from torch.optim import Adam, AdamW, Optimizer


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


def fuse(optimizer: Optimizer) -> None:
    """Have Adam and AdamW take a step by one operator on CPU and GPU, if their settings leave that open.

    It is not asked for when they are made: Lightning would then refuse to clip gradients at 16-mixed.
    """
    if type(optimizer) not in (Adam, AdamW):
        return
    for group in optimizer.param_groups:
        told = group["fused"] is not None or group["foreach"] or group["differentiable"]
        if not told and all(
            p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in group["params"]
        ):
            group["fused"] = True
