"""Low-rank adaptation: fine-tuning that changes each weight by a product of two thin matrices.

Hu et al. 2021 (arXiv 2106.09685); UNIVERSE++ is so tuned to a recogniser's opinion, with rank 16 and alpha 4
(Scheibler et al. 2024, arXiv 2406.12194).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_KINDS = (nn.Linear, nn.Conv1d, nn.ConvTranspose1d)


class LowRank(nn.Module):
    """A weight plus ``alpha / rank * up @ down``, of which ``up`` is 0 at first.

    Args:
        weight: ``(rows, ...)``; what follows the rows is taken as one dimension.
        rank: of the change; at most the weight's own.
        alpha: strength of the change.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float):
        super().__init__()
        rows, columns = weight.flatten(1).shape
        rank = min(rank, rows, columns)
        self.scale = alpha / rank
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns, dtype=weight.dtype, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight, same shape."""
        return weight + self.scale * (self.up @ self.down).view_as(weight)


def add_lora(module: nn.Module, rank: int = 16, alpha: float = 4.0, train_biases: bool = True) -> None:
    """Freeze a module but for low-rank changes of its linear and convolutional weights, in place.

    Weight normalisation is taken into the weights first. At the start the module computes what it did.

    Args:
        module: a trained model or a part of one.
        rank, alpha: see :class:`LowRank`.
        train_biases: biases of these layers are trained too.

    Raises:
        ValueError: rank below 1.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, not {rank}")
    module.requires_grad_(False)
    for layer in [m for m in module.modules() if isinstance(m, _KINDS)]:
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        layer.weight.requires_grad_(False)
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank, alpha))
        if train_biases and layer.bias is not None:
            layer.bias.requires_grad_(True)


def merge_lora(module: nn.Module) -> None:
    """Take the changes into the weights, in place: plain layers again, all of them trainable."""
    for layer in [m for m in module.modules() if isinstance(m, _KINDS)]:
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    module.requires_grad_(True)
