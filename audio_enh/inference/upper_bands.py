"""Models of a low sample rate on full-band signals: another model enhances the bands that they do not know."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audio_enh.dsp.resample import StreamResampler
from audio_enh.inference.runners import CausalRunner, ModelRunner
from audio_enh.inference.uncertainty import UncertaintyCurve
from audio_enh.models.full_band import UpperBands


class UpperBandsRunner:
    """A :class:`ModelRunner` at the upper bands' rate around one at a lower rate; the outputs are added.

    Args:
        lower: the runner at the lower rate.
        lower_rate: in Hz.
        upper: gives the bands above.
        batch: signals side by side.
        block_length: samples per step of ``upper``.
    """

    def __init__(self, lower: ModelRunner, lower_rate: int, upper: UpperBands, batch: int, block_length: int):
        self._lower = lower
        self._upper = CausalRunner(upper, batch, block_length)
        self._down = StreamResampler(upper.sample_rate, lower_rate, batch)
        self._up = StreamResampler(lower_rate, upper.sample_rate, batch)
        self._device = next(upper.parameters()).device
        self._parts = [torch.zeros(batch, 0, device=self._device) for _ in range(2)]
        self._ended = False

    linked = False

    @property
    def complete(self) -> bool:
        """See :class:`ModelRunner`."""
        return self._lower.complete

    @property
    def shared_seconds(self) -> float:
        """See :class:`ModelRunner`."""
        return self._lower.shared_seconds

    @property
    def uncertainty(self) -> UncertaintyCurve | None:
        """Of the lower bands, where draws of a generative model tell one."""
        return self._lower.uncertainty

    def process(self, audio: Tensor) -> Tensor:
        """See :class:`ModelRunner`."""
        below = self._lower.process(self._tensor(self._down.process(audio.cpu().numpy())))
        return self._join(self._up.process(below.cpu().numpy()), self._upper.process(audio))

    def end(self) -> Tensor:
        """See :class:`ModelRunner`."""
        self._ended = True
        last = self._lower.process(self._tensor(self._down.flush()))
        below = torch.cat([last, self._lower.end().to(last)], dim=1)
        return self._join(self._up.process(below.cpu().numpy()), self._upper.flush())

    def flush(self) -> Tensor:
        """See :class:`ModelRunner`."""
        pieces = [] if self._ended else [self.end()]
        rest = self._up.process(self._lower.flush().cpu().numpy())
        nothing = self._parts[0][:, :0]
        pieces.append(self._join(np.concatenate([rest, self._up.flush()], axis=1), nothing))
        return torch.cat(pieces, dim=1)

    def _tensor(self, audio: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(audio)).to(self._device)

    def _join(self, below: np.ndarray, above: Tensor) -> Tensor:
        """The sum as far as both parts are there."""
        new = (self._tensor(below), above.to(self._device))
        self._parts = [torch.cat([part, more], dim=1) for part, more in zip(self._parts, new, strict=True)]
        # Rounded up at each change of rate, the way back may end a sample or two late.
        ready = min(part.shape[1] for part in self._parts)
        total = sum(part[:, :ready] for part in self._parts)
        self._parts = [part[:, ready:].clone() for part in self._parts]
        assert isinstance(total, Tensor)
        return total
