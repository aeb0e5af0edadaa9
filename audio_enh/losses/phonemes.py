"""Does the enhanced speech say the same? A recogniser's opinion as a loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PhonemeCTCLoss(nn.Module):
    """CTC loss of the phonemes that a recogniser hears in the clean speech, given the enhanced speech.

    The linguistic loss of UNIVERSE++ (Scheibler et al. 2024, arXiv 2406.12194). Their recogniser is a wav2vec 2.0
    network of 315 M parameters, which is not shipped; any will do that is differentiable.

    Args:
        recogniser: maps signals ``(batch, samples)`` to logits ``(batch, frames, symbols)``. It is frozen.
        blank: its symbol for nothing.
        prepare: signals to what it takes (rate, level); None if it takes them as they are.
    """

    def __init__(
        self, recogniser: nn.Module, blank: int = 0, prepare: Callable[[Tensor], Tensor] | None = None
    ):
        super().__init__()
        self.recogniser = recogniser.eval().requires_grad_(False)
        self.blank = blank
        self.prepare = prepare

    def train(self, mode: bool = True) -> PhonemeCTCLoss:
        """The recogniser stays as it is in evaluation."""
        super().train(mode)
        self.recogniser.eval()
        return self

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """``(batch, samples)`` both; a scalar, per phoneme."""
        with torch.no_grad():
            heard = self._logits(clean).argmax(dim=2)
        sequences = [row.unique_consecutive() for row in heard]
        sequences = [sequence[sequence != self.blank] for sequence in sequences]
        lengths = torch.tensor([len(sequence) for sequence in sequences], device=heard.device)
        log_probabilities = self._logits(estimate).float().log_softmax(dim=2).transpose(0, 1)
        frames = torch.full_like(lengths, log_probabilities.shape[0])
        return F.ctc_loss(
            log_probabilities, torch.cat(sequences), frames, lengths, self.blank, zero_infinity=True
        )

    def _logits(self, audio: Tensor) -> Tensor:
        return self.recogniser(audio if self.prepare is None else self.prepare(audio))
