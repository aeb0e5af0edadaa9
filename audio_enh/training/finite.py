"""Steps whose loss or gradient is not finite are not taken: one bad batch must not spoil all that follow."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from audio_enh.errors import UserError

log = logging.getLogger(__name__)

#: A run ends after so many such steps in a row. With float16 more: its scaler finds the scale by steps that fail,
#: of which there can be sixteen before the scale of the loss is 1.
MOST_IN_A_ROW = {False: 10, True: 30}


def mark_broken(loss: Tensor) -> Tensor:
    """The same loss, whose gradient is not finite where the loss is not.

    So :class:`FiniteSteps` has to look at gradients only, which are the same in all processes.
    """
    return loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan)


class FiniteSteps:
    """Lets an optimiser take its step only if the gradient is finite, and counts the steps that were skipped.

    Attributes:
        skipped: steps so far.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._in_a_row = 0
        self._buffers: list[Tensor] = []

    def remember(self, module: nn.Module) -> None:
        """Keep the buffers of a module, such as statistics of batches, as they are before a step."""
        now = list(module.buffers())
        if [(b.shape, b.dtype, b.device) for b in now] != [
            (b.shape, b.dtype, b.device) for b in self._buffers
        ]:
            self._buffers = [buffer.clone() for buffer in now]
            return
        for kind in {buffer.dtype for buffer in now}:  # of one kind they are copied together
            pairs = [(kept, b) for kept, b in zip(self._buffers, now, strict=True) if b.dtype == kind]
            torch._foreach_copy_([kept for kept, _ in pairs], [b for _, b in pairs])

    def check(self, module: nn.Module, parameters: Iterable[Tensor], items: Tensor, scaled: bool) -> None:
        """To be called between the backward pass and the optimiser's step.

        Where the gradient is not finite, it is taken away, so that the optimiser leaves the weights and its own state
        alone, and the module gets its remembered buffers back.

        Args:
            module: as it was remembered.
            parameters: of the optimiser.
            items: numbers of the batch's items, to name them.
            scaled: whether the loss is scaled for float16.

        Raises:
            UserError: this happened too often in a row.
        """
        parameters = [parameter for parameter in parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if norm.isfinite():
            self._in_a_row = 0
            return
        for parameter in parameters:
            parameter.grad = None
        for buffer, kept in zip(module.buffers(), self._buffers, strict=True):
            buffer.copy_(kept)
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row >= MOST_IN_A_ROW[scaled]:
            raise UserError(
                f"{self._in_a_row} steps in a row had a loss or a gradient that is NaN or infinite (items "
                f"{int(items.min())} to {int(items.max())} were the last): a smaller optim.optimizer.lr, a "
                "trainer.gradient_clip_val, or trainer.precision=32-true may help. The saved weights are good"
            )
        if self.skipped & (self.skipped - 1) == 0:  # not a line for each
            log.warning(
                "skipped a step: its loss or gradient is NaN or infinite (items %d to %d; %d skipped so far)",
                items.min(),
                items.max(),
                self.skipped,
            )
