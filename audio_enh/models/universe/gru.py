"""A GRU that reads a signal from both ends at once: on a CPU, PyTorch's takes most of its time to call operators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BidirectionalGRU(nn.GRU):
    """:class:`torch.nn.GRU` in both directions, with its parameters.

    Args:
        inputs, hidden: features; twice ``hidden`` come out.
        layers: number of layers.
    """

    def __init__(self, inputs: int, hidden: int, layers: int = 1):
        super().__init__(inputs, hidden, layers, batch_first=True, bidirectional=True)

    def read(self, x: Tensor) -> Tensor:
        """``(batch, frames, inputs)`` to ``(batch, frames, 2 * hidden)``."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return self(x)[0]
        for layer in range(self.num_layers):
            pair = self.all_weights[2 * layer : 2 * layer + 2]
            of_input, of_state, input_bias, state_bias = zip(*pair, strict=True)
            gates = F.linear(x, torch.cat(of_input), torch.cat(input_bias))
            onward, back = gates.transpose(0, 1).unflatten(2, (2, -1)).unbind(2)
            states = _Recurrence.apply(
                torch.stack([onward, back.flip(0)], dim=1), torch.stack(of_state), torch.stack(state_bias)
            )
            x = torch.cat([states[:, 0], states[:, 1].flip(0)], dim=2).transpose(0, 1)
        return x


class _Recurrence(torch.autograd.Function):
    """The states of GRUs side by side, from what the inputs give to their gates.

    .. math:: r, z = \\sigma(g_{r,z} + s_{r,z}), \\quad n = \\tanh(g_n + r s_n), \\quad h_t = n + z (h_{t-1} - n)

    with :math:`s = W h_{t-1} + b`. What does not depend on later frames is done for all frames at once.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Gates ``(frames, GRUs, batch, 3 * hidden)``, ``weight`` ``(GRUs, 3 * hidden, hidden)``, ``bias``
        ``(GRUs, 3 * hidden)`` to states ``(frames, GRUs, batch, hidden)``."""
        frames, *shape, _ = gates.shape
        hidden = weight.shape[2]
        states = gates.new_zeros(frames + 1, *shape, hidden)
        from_state, opened = torch.empty_like(gates), torch.empty_like(gates)
        by_frame = zip(
            gates[..., : 2 * hidden].unbind(),
            gates[..., 2 * hidden :].unbind(),
            from_state.unbind(),
            from_state[..., : 2 * hidden].unbind(),
            from_state[..., 2 * hidden :].unbind(),
            opened[..., : 2 * hidden].unbind(),
            opened[..., :hidden].unbind(),
            opened[..., hidden : 2 * hidden].unbind(),
            opened[..., 2 * hidden :].unbind(),
            states[:-1].unbind(),
            states[1:].unbind(),
            strict=True,
        )
        across, offset = weight.transpose(1, 2).contiguous(), bias[:, None]
        for g_rz, g_n, s, s_rz, s_n, rz, r, z, n, before, after in by_frame:
            torch.baddbmm(offset, before, across, out=s)
            torch.add(g_rz, s_rz, out=rz).sigmoid_()
            torch.addcmul(g_n, r, s_n, out=n).tanh_()
            torch.lerp(n, before, z, out=after)
        ctx.save_for_backward(weight, from_state, opened, states)
        return states[1:].clone()

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, from_state, opened, states = ctx.saved_tensors
        r, z, n = opened.chunk(3, dim=-1)
        s_n, before = from_state.chunk(3, dim=-1)[2], states[:-1]
        # dh/dg_n, and what is to be multiplied by dh for the gradients of s.
        to_n = (1 - z) * (1 - n * n)
        factors = torch.stack([to_n * s_n * r * (1 - r), (before - n) * z * (1 - z), to_n * r], dim=-2)
        of_states = grad.clone()
        of_s = torch.empty_like(from_state)
        by_frame = [part.unbind() for part in (of_states, of_s, of_s.unflatten(-1, (3, -1)), factors, z)]
        for t in range(len(grad) - 1, -1, -1):
            total, s, parts, factor, kept = (part[t] for part in by_frame)
            torch.mul(total.unsqueeze(-2), factor, out=parts)
            if t:
                by_frame[0][t - 1].addcmul_(total, kept).baddbmm_(s, weight)
        of_gates = of_s.clone()
        torch.mul(of_states, to_n, out=of_gates.chunk(3, dim=-1)[2])
        # Sums over frames and batch.
        rows, columns = (part.transpose(0, 1).flatten(1, 2) for part in (of_s, before))
        return of_gates, rows.transpose(1, 2) @ columns, rows.sum(dim=1)
