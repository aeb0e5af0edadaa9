"""The running level of a recording: what generative models want divided out."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from audio_enh.models.generative import LevelKind, level_from


class Leveller:
    """Finds the level of a signal around every sample, whatever blocks the signal comes in.

    The level of one whole recording would need all of it before the first sample can be enhanced, and would drown
    quiet passages in the noise that a diffusion process adds. The level of each window would make windows that
    overlap differ. So the level is measured in blocks of :attr:`block_seconds`, pooled over :attr:`reach` blocks to
    either side, and interpolated between the middles of blocks, logarithmically: a slow curve that belongs to places
    of the recording. A signal of up to ``reach + 1`` blocks has one level, the one of the whole.

    Args:
        kind: see :func:`level_from`.
        batch: signals side by side, each with its level.
        sample_rate: in Hz.
    """

    block_seconds = 1.0
    reach = 5

    def __init__(self, kind: LevelKind, batch: int, sample_rate: int):
        self.kind = kind
        self.block = round(self.block_seconds * sample_rate) // 2 * 2
        self._measured: deque[tuple[Tensor, Tensor, int]] = (
            deque()
        )  # peak, sum of squares, samples of each block
        self._first_measured = 0  # index of the first of them
        self._blocks = 0  # measured so far
        self._unmeasured = torch.zeros(batch, 0)
        self._unlevelled = torch.zeros(batch, 0)
        self._next = 0  # of the pieces between middles of blocks: the first one is half a block long
        self._left: Tensor | None = None  # logarithm of the level where the next piece begins

    def process(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Take ``(batch, n)``: the samples whose level is known by now, ``(batch, m)``, and their levels."""
        self._unmeasured = torch.cat([self._unmeasured.to(audio), audio], dim=1)
        self._unlevelled = torch.cat([self._unlevelled.to(audio), audio], dim=1)
        while self._unmeasured.shape[1] >= self.block:
            self._measure(self._unmeasured[:, : self.block])
            self._unmeasured = self._unmeasured[:, self.block :]
        self._unmeasured = self._unmeasured.clone()
        pieces = []
        # Piece k ends in the middle of block k, whose level takes `reach` blocks more.
        while self._next + self.reach < self._blocks:
            pieces.append(self._piece(self.block // 2 if self._next == 0 else self.block))
        return self._levelled(pieces, audio)

    def flush(self) -> tuple[Tensor, Tensor]:
        """End the signal: what was still waiting, as in :meth:`process`."""
        if self._unmeasured.shape[1]:
            self._measure(self._unmeasured)
        pieces = []
        left = self._unlevelled.shape[1]
        while left > 0:
            length = min(left, self.block // 2 if self._next == 0 else self.block)
            pieces.append(self._piece(length))
            left -= length
        return self._levelled(pieces, self._unlevelled)

    def _measure(self, block: Tensor) -> None:
        peak = block.abs().amax(dim=1)
        self._measured.append((peak, block.square().sum(dim=1), block.shape[1]))
        self._blocks += 1

    def _level(self, index: int) -> Tensor:
        """Logarithm of the level in the middle of a block, ``(batch,)``."""
        while self._first_measured < index - self.reach:
            self._measured.popleft()
            self._first_measured += 1
        last = index + self.reach + 1 - self._first_measured
        around = [measured for i, measured in enumerate(self._measured) if i < last]
        peak = torch.stack([peak for peak, _, _ in around]).amax(dim=0)
        squares = torch.stack([squares for _, squares, _ in around]).sum(dim=0)
        return level_from(self.kind, peak, squares / sum(samples for _, _, samples in around)).log()

    def _piece(self, length: int) -> Tensor:
        """Levels of the next piece, ``(batch, length)``."""
        right = self._level(min(self._next, self._blocks - 1))
        left = right if self._left is None else self._left
        weight = (torch.arange(length, device=right.device) + 0.5) / self.block
        self._next += 1
        self._left = right
        # Equal ends give one level to the bit.
        return torch.lerp(left[:, None], right[:, None], weight[None]).exp()

    def _levelled(self, pieces: list[Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
        if not pieces:
            return like[:, :0], like[:, :0]
        levels = torch.cat(pieces, dim=1)
        audio = self._unlevelled[:, : levels.shape[1]]
        self._unlevelled = self._unlevelled[:, levels.shape[1] :].clone()
        return audio, levels
