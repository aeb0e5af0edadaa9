"""Runs a causal model on a live signal that comes in blocks of any size."""

from __future__ import annotations

import torch
from torch import Tensor

from audio_enh.models.base import CausalModel


class StreamRunner:
    """Feed a `CausalModel` blocks of any length and get the output of its ``forward``, piece by piece.

    It holds the state, collects samples until they fill a hop, and drops the model's warm-up, so that what
    ``process`` and ``flush`` return, put together, is as long as the input and aligned with it. What a call
    returns is as long as the model allows, often not as long as the block given: a sample comes out at the
    latest once ``delay + hop_length`` further samples have gone in.

    >>> runner = StreamRunner(model)                                               # doctest: +SKIP
    >>> enhanced = torch.cat([*map(runner.process, blocks), runner.flush()], -1)   # doctest: +SKIP

    Args:
        model: the model; used as it is (call ``model.eval()`` where that matters), without gradients.
        batch: streams run side by side.
    """

    def __init__(self, model: CausalModel, batch: int = 1) -> None:
        if batch < 1:
            raise ValueError(f"a stream needs a batch of at least 1, not {batch}")
        self.model = model
        self.batch = batch
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Forget the stream: the next sample is the first."""
        self._state = self.model.init_state(self.batch)
        self._pending: Tensor | None = None
        self._warm_up = self.model.delay

    @torch.no_grad()
    def process(self, audio: Tensor) -> Tensor:
        """Take the next samples, ``(batch, n)`` with any ``n >= 0``.

        Returns:
            ``(batch, m)``, the output samples that are final by now.
        """
        if audio.dim() != 2 or audio.shape[0] != self.batch:
            raise ValueError(f"expected audio of shape ({self.batch}, samples), not {tuple(audio.shape)}")
        if self._pending is not None:
            audio = torch.cat([self._pending, audio], dim=-1)
        ready = audio.shape[-1] - audio.shape[-1] % self.model.hop_length
        # A copy: the caller may fill the same buffer again, and a view would keep a long block alive.
        self._pending = audio[:, ready:].clone()
        if ready == 0:
            return audio[:, :0]
        output, self._state = self.model.step(audio[:, :ready], self._state)
        return self._drop_warm_up(output)

    @torch.no_grad()
    def flush(self) -> Tensor:
        """End the stream and get ready for a new one.

        Returns:
            ``(batch, m)``, the output that was still due.
        """
        tail = self._pending
        if tail is None:
            # Nothing came in, so no block has told what device and type the audio has.
            tail = self._state[0].new_zeros(self.batch, 0)
        output = self._drop_warm_up(self.model.flush(tail, self._state))
        self.reset()
        return output

    def _drop_warm_up(self, output: Tensor) -> Tensor:
        dropped = min(self._warm_up, output.shape[-1])
        self._warm_up -= dropped
        return output[:, dropped:]
