"""One signal through a model, block by block: resampling, alignment, dry/wet mix, silence."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from audio_enh.dsp.drywet import SilenceGate
from audio_enh.dsp.resample import StreamResampler
from audio_enh.errors import CheckpointError, UserError
from audio_enh.inference.runners import ModelRunner, Progress
from audio_enh.inference.uncertainty import UncertaintyCurve

Audio = NDArray[np.float32]


class AlignedStream:
    """Enhances a signal in blocks of any size; made by :meth:`Enhancer.stream`.

    What ``process`` and ``flush`` return, put together, is as long as the input and aligned with it, and does
    not depend on where the blocks were cut. Memory does not grow with the signal. Output comes when it is
    final: see :class:`Enhancer` for how much input it waits for. After ``flush`` a new signal may follow.

    Where several streams share their windows, ``end`` tells that no more input comes without asking for the output;
    ``flush`` may wait until it is ``complete``.

    Args:
        make_runner: gives a fresh runner for ``channels`` signals side by side, which tells its progress to what it
            is given.
        model_rate: rate of the model, in Hz.
        sample_rate: rate of the signal, in Hz.
        channels: number of channels of the signal.
        wet: weight of the enhanced signal in ``wet * enhanced + (1 - wet) * input``.
        device: where the model is.
        progress: told how many seconds of the signal are done, whenever they have become more.

    Attributes:
        seconds_done: of the signal.
        on_removed: called with what was taken away, input minus output, of every stretch of output.
        uncertainty: after ``flush``, how far the draws of a generative model were apart; None where it made one.
        linked: after ``flush``, whether the channels were enhanced together.
        shared_seconds: after ``flush``, time that its windows took; of a call with windows of other streams, its part
            by the number of channels.
    """

    def __init__(
        self,
        make_runner: Callable[[Progress], ModelRunner],
        *,
        model_rate: int,
        sample_rate: int,
        channels: int,
        wet: float,
        device: torch.device,
        progress: Progress | None = None,
    ):
        self._make_runner = make_runner
        self.model_rate = model_rate
        self.sample_rate = sample_rate
        self.channels = channels
        self.wet = wet
        self._device = device
        self._progress = progress
        self.uncertainty: UncertaintyCurve | None = None
        self.linked = False
        self.shared_seconds = 0.0
        self.on_removed: Callable[[Audio], None] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the signal so far; the next block is the first of a new one."""
        self.seconds_done = 0.0
        self._runner = self._make_runner(self._tell)
        self._to_model = StreamResampler(self.sample_rate, self.model_rate, self.channels)
        self._from_model = StreamResampler(self.model_rate, self.sample_rate, self.channels)
        self._gate = SilenceGate(self.sample_rate, self.channels)
        self._dry: deque[Audio] = deque()  # input that waits for its output
        self._waiting = 0
        self._received = 0
        self._ended = False

    @property
    def complete(self) -> bool:
        """After ``end``: whether the model has done all windows."""
        return self._runner.complete

    @torch.inference_mode()
    def process(self, block: Audio) -> Audio:
        """Take the next samples.

        Args:
            block: float32 ``(channels, n)``, any ``n``, full scale is 1.

        Returns:
            float32 ``(channels, m)``, the output that is final by now.

        Raises:
            UserError: the block holds NaN or infinite samples.
        """
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"expected a block of shape ({self.channels}, samples), not {block.shape}")
        # A copy: the caller may fill the same buffer again while these samples wait.
        block = np.array(block, np.float32)
        check_finite(block, self.sample_rate, start=self._received)
        self._received += block.shape[1]
        if self.wet == 0:
            self._tell(self._received / self.sample_rate)
            if self.on_removed is not None:
                self.on_removed(np.zeros_like(block))
            return block
        self._dry.append(block)
        self._waiting += block.shape[1]
        return self._mix(self._from_model.process(self._enhance(self._to_model.process(block))))

    @torch.inference_mode()
    def end(self) -> Audio:
        """No more input comes: the output that is final by now, float32 ``(channels, m)``."""
        self._ended = True
        if self.wet == 0 or not self._received:
            return np.zeros((self.channels, 0), np.float32)
        last = self._enhance(self._to_model.flush())
        rest = self._checked(self._runner.end().cpu().numpy())
        return self._mix(self._from_model.process(np.concatenate([last, rest], axis=1)))

    @torch.inference_mode()
    def flush(self) -> Audio:
        """End the signal: the output still due, float32 ``(channels, m)``."""
        pieces = [np.zeros((self.channels, 0), np.float32)]
        if not self._ended:
            pieces.append(self.end())
        if self.wet > 0 and self._received:
            rest = self._checked(self._runner.flush().cpu().numpy())
            self.shared_seconds = self._runner.shared_seconds
            self.uncertainty = self._runner.uncertainty
            self.linked = self._runner.linked
            pieces.append(self._mix(self._from_model.process(rest)))
            pieces.append(self._mix(self._from_model.flush()))
            assert self._waiting == 0, "a model gave fewer samples than it got"
        self.reset()
        return np.concatenate(pieces, axis=1)

    def _tell(self, seconds_done: float) -> None:
        self.seconds_done = seconds_done
        if self._progress is not None:
            self._progress(seconds_done)

    def _enhance(self, audio: Audio) -> Audio:
        tensor = torch.from_numpy(np.ascontiguousarray(audio)).to(self._device)
        return self._checked(self._runner.process(tensor).cpu().numpy())

    def _checked(self, enhanced: Audio) -> Audio:
        if not np.isfinite(enhanced).all():
            raise CheckpointError("the model gave NaN or infinite samples: try another --model")
        return enhanced

    def _mix(self, enhanced: Audio) -> Audio:
        # Rounded up at each of the two changes of rate, the way back may end a sample or two late.
        enhanced = enhanced[:, : self._waiting]
        dry = self._take_dry(enhanced.shape[1])
        gain = self._gate(dry)
        if gain is not None:
            enhanced = enhanced * gain
        mixed = self.wet * enhanced + (1 - self.wet) * dry
        if self.on_removed is not None:
            self.on_removed(dry - mixed)
        return mixed

    def _take_dry(self, samples: int) -> Audio:
        pieces = [np.zeros((self.channels, 0), np.float32)]
        self._waiting -= samples
        while samples > 0:
            block = self._dry.popleft()
            if block.shape[1] > samples:
                self._dry.appendleft(block[:, samples:])
                block = block[:, :samples]
            pieces.append(block)
            samples -= block.shape[1]
        return np.concatenate(pieces, axis=1)


def check_finite(audio: NDArray[np.floating], sample_rate: int, start: int = 0) -> None:
    """Raise a UserError that says where the first NaN or infinite sample of ``(channels, n)`` is.

    Args:
        start: absolute position of the first sample, in samples.
    """
    finite = np.isfinite(audio)
    if finite.all():
        return
    first = int(np.argmin(finite.all(axis=0)))
    channel = int(np.argmin(finite[:, first]))
    count = int(finite.size - np.count_nonzero(finite))
    raise UserError(
        f"{count} sample{'s' * (count > 1)} NaN or infinite, first {audio[channel, first]} at "
        f"{(start + first) / sample_rate:.3f} s (sample {start + first}, channel {channel + 1}): "
        "repair the recording, or replace them with numpy.nan_to_num"
    )
