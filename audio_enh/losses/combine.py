"""A weighted sum of losses."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from torch import Tensor, nn


class WeightedLoss(nn.Module):
    """Sum of losses on level-normalised signals.

    Args:
        terms: name to loss of ``(estimate, clean)``; one whose ``forward`` has a parameter ``noisy`` is given that
            too, and so knows the noise.
        weights: name to weight, for the same names.
        normalise: divide estimate and target by the RMS of the noisy input first, so that a quiet recording
            counts as much as a loud one.
    """

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float], normalise: bool = True):
        super().__init__()
        if set(terms) != set(weights):
            raise ValueError(f"terms {sorted(terms)} and weights {sorted(weights)} must have the same names")
        self.terms = nn.ModuleDict(terms)
        self.weights = dict(weights)
        self.hears_noisy = {
            name for name, term in terms.items() if "noisy" in inspect.signature(term.forward).parameters
        }
        self.normalise = normalise

    def forward(self, estimate: Tensor, clean: Tensor, noisy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """``(batch, samples)`` each; the scalar to minimise and each term before weighting."""
        if self.normalise:
            gain = (noisy.square().mean(dim=-1, keepdim=True) + 1e-9).rsqrt()
            estimate, clean, noisy = estimate * gain, clean * gain, noisy * gain
        parts = {
            name: term(estimate, clean, noisy=noisy) if name in self.hears_noisy else term(estimate, clean)
            for name, term in self.terms.items()
        }
        total = sum((self.weights[name] * part for name, part in parts.items()), start=estimate.new_zeros(()))
        return total, parts
