"""A recurrent unit whose gates do not look at its own past: all times are computed at once but for one short loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class LightRecurrence(nn.Module):
    """Gated running averages of the input, each gated once more on the way out.

    .. math:: h_t = a_t \\, h_{t-1} + (1 - a_t) \\, v_t, \\quad y_t = h_t \\, g_t

    with ``a`` a sigmoid, ``v`` and ``g`` linear in the input: the minimal GRU of Feng et al. 2024 (arXiv 2410.01201)
    with the output gate of a gated linear unit. What a GRU does in a matrix product for each step is one product for
    the whole signal here, which is what training on a CPU waits for.

    Args:
        size: of input and state.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size
        self.gates = nn.Linear(size, 3 * size)
        with torch.no_grad():
            # Memories from 2 to 50 frames long at first, and the gate open.
            memory = torch.logspace(0.3, 1.7, size)
            self.gates.bias[:size] = torch.logit(1 - 1 / memory)
            self.gates.bias[2 * size :] = 1.0

    def init_state(self, batch: int, rows: int) -> Tensor:
        return self.gates.weight.new_zeros(batch, rows, self.size)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, frames, rows, size)`` and state ``(batch, rows, size)`` to the same; rows do not touch."""
        gates = self.gates(x)
        if x.shape[1] == 1:
            keep, value, gate = gates[:, 0].chunk(3, dim=2)
            state = value + keep.sigmoid() * (state - value)
            return (state * gate)[:, None], state
        out, state = _GatedAverage.apply(gates, state)
        return out, state


class _GatedAverage(torch.autograd.Function):
    """All times of :class:`LightRecurrence` from ``(batch, frames, rows, 3 * size)`` and the first state.

    Written out, as it is limited by memory: each number is touched as seldom as may be.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: Any, gates: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        keep, value, gate = gates.chunk(3, dim=3)
        keep = keep.sigmoid()
        average = torch.empty_like(keep)
        past = start
        for k, v, place in zip(keep.unbind(1), value.unbind(1), average.unbind(1), strict=True):
            past = torch.lerp(v, past, k, out=place)
        ctx.save_for_backward(gates, keep, start, average)
        return average * gate, past.clone()

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, of_out: Tensor, of_last: Tensor) -> tuple[Tensor, Tensor]:
        gates, keep, start, average = ctx.saved_tensors
        _, value, gate = gates.chunk(3, dim=3)
        grad = torch.empty_like(gates)
        of_keep, of_value, of_gate = grad.chunk(3, dim=3)
        torch.mul(of_out, average, out=of_gate)
        total = of_out * gate
        total[:, -1] += of_last
        # Of every average, all that depends on it: what comes from above and from the next one.
        places, factors = total.unbind(1), keep.unbind(1)
        for t in range(len(places) - 2, -1, -1):
            places[t].addcmul_(factors[t + 1], places[t + 1])
        # d/dv = total (1 - k); d/dk = total (h before - v), through the sigmoid's k (1 - k).
        torch.addcmul(total, total, keep, value=-1, out=of_value)
        torch.sub(start, value[:, 0], out=of_keep[:, 0])
        torch.sub(average[:, :-1], value[:, 1:], out=of_keep[:, 1:])
        of_keep.mul_(of_value).mul_(keep)
        return grad, factors[0] * places[0]
