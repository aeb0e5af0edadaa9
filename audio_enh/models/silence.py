"""Causal models that digital silence leaves as they were."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from audio_enh.models.base import CausalModel, State


class SkipsSilence(CausalModel):
    """A causal model whose state stands still in digital silence.

    Of digital silence a stream hears the first 0.1 s only; the rest is left out, and what comes next meets the
    state of then. What comes first meets the state of the beginning, however long the silence before. A recurrence
    that goes on through digital silence comes to expect noise, and takes the first syllable for it.

    In training all is heard, as the items of a batch fall silent at different times.

    Attributes:
        reach: samples of silence after which the ends of the model, filters and windows, hold nothing else.
    """

    # Amplitude from which on a hop is not digital silence, full scale being 1: below what recordings hold, above what
    # a resampler's arithmetic leaves.
    inaudible = 1e-6
    heard_seconds = 0.1

    reach: int

    @abstractmethod
    def init_hearing(self, batch: int) -> State:
        """As :meth:`init_state`, without what is there for silence."""

    @abstractmethod
    def hear(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        """As :meth:`step`, without regard to silence."""

    @property
    def heard_hops(self) -> int:
        """Hops of digital silence that are heard."""
        return -(-max(self.reach, round(self.heard_seconds * self.sample_rate)) // self.hop_length)

    def init_state(self, batch: int = 1) -> State:
        """See :meth:`CausalModel.init_state`: how much digital silence is still to be heard, and the rest."""
        rest = self.init_hearing(batch)
        return (rest[0].new_zeros(batch, 1), *rest)

    def step(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        """See :meth:`CausalModel.step`."""
        if self.training:
            output, new = self.hear(audio, state[1:])
            return output, (torch.full_like(state[0], self.heard_hops + 1), *new)
        countdown = self._countdown(audio, state[0])
        if audio.shape[1] == self.hop_length:
            return self._step_part(audio, countdown, state)
        outputs = []
        for part, of_part in self._parts(audio, countdown):
            if not of_part.any():  # silence in all streams
                output, state = torch.zeros_like(part), (of_part[:, -1:], *state[1:])
            else:
                output, state = self._step_part(part, of_part, state)
            outputs.append(output)
        return torch.cat(outputs, dim=1), state

    def _countdown(self, audio: Tensor, left: Tensor) -> Tensor:
        """How many hops of digital silence are still to be heard before and with each hop, ``(batch, hops)``: 0 where
        it is not heard, most where it sounds. At the start none is."""
        sounds = audio.unflatten(1, (-1, self.hop_length)).abs().amax(dim=2) >= self.inaudible
        full = self.heard_hops + 1.0
        if sounds.shape[1] == 1:
            return torch.where(sounds, full, (left - 1).clamp(min=0))
        hops = torch.arange(sounds.shape[1], device=audio.device)
        last_sound = torch.where(sounds, hops, -1).cummax(dim=1).values
        return torch.where(last_sound < 0, left - 1 - hops, full - (hops - last_sound)).clamp(min=0)

    def _parts(self, audio: Tensor, countdown: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Cut where any stream falls silent or sounds again."""
        silent = countdown == 0
        changes = (silent[:, 1:] != silent[:, :-1]).any(dim=0).nonzero().flatten().tolist()
        lengths = torch.tensor([0, *(change + 1 for change in changes), silent.shape[1]]).diff().tolist()
        samples = [length * self.hop_length for length in lengths]
        return zip(audio.split(samples, dim=1), countdown.split(lengths, dim=1), strict=True)

    def _step_part(self, audio: Tensor, countdown: Tensor, state: State) -> tuple[Tensor, State]:
        """A step in which each stream is silent all the time, or not at all."""
        silent = countdown[:, -1:] == 0
        old = state[1:]
        output, new = self.hear(audio, old)
        kept = (torch.where(_like(silent, a), a, b) for a, b in zip(old, new, strict=True))
        return torch.where(silent, 0.0, output), (countdown[:, -1:], *kept)


def _like(rows: Tensor, other: Tensor) -> Tensor:
    """``(batch, 1)`` with as many dimensions as ``other``."""
    return rows if other.dim() == 2 else rows.view(-1, *(1,) * (other.dim() - 1))
