"""Channels of one scene are enhanced together, so that sounds stay where they are.

A model that sees the two channels of a stereo recording one by one takes away a little more now here, now there: a
talker wanders by several dB. Linked channels are summed to one signal, with their polarities made equal, which the
model enhances. What it did, as a filter in time and frequency, is done to each channel alike; level and phase
differences between channels are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.signal import lfilter
from torch import Tensor

from audio_enh.inference.runners import ModelRunner
from audio_enh.inference.uncertainty import UncertaintyCurve
from audio_enh.options import ChannelMode

#: Channels of :func:`coherence` from here on are one scene.
COHERENT = 0.4
#: So much of a recording, from its first sound on, tells whether its channels are one scene.
DECIDING_SECONDS = 10.0
# A channel that is so much quieter than the loudest holds nothing to go by.
_SILENT = 1e-6
_FRAME_SECONDS = 0.064


def coherence(audio: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    r"""How much each channel has in common with the loudest one.

    With cross spectra :math:`S`, averages over frames of 64 ms, it is
    :math:`\sum_f |S_{1c}| / \sum_f \sqrt{S_{11} S_{cc}}`: 1 for a sound that is louder or of opposite polarity in
    one channel, near 0 for sounds that have nothing to do with each other, less what they have in common by chance.

    Args:
        audio: ``(channels, samples)``.
        sample_rate: in Hz.

    Returns:
        The coherence, 0 to 1, and the level of what is common, with its polarity, where the loudest channel has 1,
        both ``(channels,)``; of a silent channel both are 0.
    """
    size = min(audio.shape[1] // 16, round(_FRAME_SECONDS * sample_rate))
    if size < 4:  # too short to tell
        return audio.new_zeros(len(audio)), audio.new_zeros(len(audio))
    window = torch.hann_window(size, device=audio.device)

    def spectra(signal: Tensor) -> Tensor:
        return torch.fft.rfft(signal.unfold(0, size, size // 2) * window)

    loudest = spectra(audio[int(audio.square().sum(dim=1).argmax())])
    its_power = loudest.abs().square().mean(dim=0)
    # Averages over few frames have something in common by chance.
    by_chance = 1 / len(loudest)
    found = []
    for channel in audio:  # one by one, as there may be hundreds
        spectrum = spectra(channel)
        power = spectrum.abs().square().mean(dim=0)
        cross = (spectrum * loudest.conj()).mean(dim=0)
        magnitude = cross.abs().sum()
        common = magnitude / (power * its_power).sqrt().sum().clamp(min=1e-30)
        common = ((common.square() - by_chance) / (1 - by_chance)).clamp(min=0).sqrt()
        level = magnitude / its_power.sum().clamp(min=1e-30) * torch.where(cross.real.sum() < 0, -1.0, 1.0)
        heard = power.sum() > _SILENT * its_power.sum()
        found.append(torch.stack([common, level]) * heard)
    both = torch.stack(found, dim=1)
    return both[0], both[1]


class ChannelRunner:
    """Runs a model on signals of several channels, linked or each by itself; see :class:`ModelRunner`.

    Args:
        make_runner: gives the runner for so many signals side by side.
        channels: their number.
        sample_rate: the model's, in Hz.
        mode: ``linked``, or ``auto`` for that where the channels are one scene.

    Attributes:
        linked: see :class:`ModelRunner`; false as long as it is not decided.
    """

    def __init__(
        self, make_runner: Callable[[int], ModelRunner], channels: int, sample_rate: int, mode: ChannelMode
    ):
        self._make_runner = make_runner
        self._channels = channels
        self._rate = sample_rate
        self._mode = mode
        self._runner: ModelRunner | None = None
        self._filter: LinkedFilter | None = None
        self._weights = torch.zeros(channels, 1)
        self._waiting: list[Tensor] = []
        self._heard = 0  # samples from the first sound on
        self.linked = False

    @property
    def complete(self) -> bool:
        """See :class:`ModelRunner`."""
        return self._runner is None or self._runner.complete

    @property
    def shared_seconds(self) -> float:
        """See :class:`ModelRunner`."""
        return 0.0 if self._runner is None else self._runner.shared_seconds

    @property
    def uncertainty(self) -> UncertaintyCurve | None:
        """See :class:`ModelRunner`."""
        return None if self._runner is None else self._runner.uncertainty

    def process(self, audio: Tensor) -> Tensor:
        """See the module."""
        if self._runner is not None:
            return self._feed(audio)
        if self._heard == 0:
            sound = audio.any(dim=0).nonzero()
            self._heard = audio.shape[1] - int(sound[0]) if len(sound) else 0
        else:
            self._heard += audio.shape[1]
        self._waiting.append(audio)
        return self._decide() if self._heard >= DECIDING_SECONDS * self._rate else audio[:, :0]

    def end(self) -> Tensor:
        """See :class:`ModelRunner`."""
        first = self._decide() if self._runner is None else torch.zeros(self._channels, 0)
        assert self._runner is not None
        rest = self._finish(self._runner.end())
        return torch.cat([first.to(rest), rest], dim=1)

    def flush(self) -> Tensor:
        """See the module."""
        first = self.end() if self._runner is None else torch.zeros(self._channels, 0)
        assert self._runner is not None
        rest = self._finish(self._runner.flush())
        pieces = [first.to(rest), rest]
        if self._filter is not None:
            pieces.append(self._filter.flush())
        return torch.cat(pieces, dim=1)

    def _decide(self) -> Tensor:
        audio = torch.cat(self._waiting, dim=1) if self._waiting else torch.zeros(self._channels, 0)
        self._waiting = []
        sound = audio.any(dim=0).nonzero()
        start = int(sound[0]) if len(sound) else 0
        known = audio[:, start : start + round(DECIDING_SECONDS * self._rate)]
        common, level = coherence(known, self._rate)
        heard = level != 0
        self.linked = self._mode == "linked" or bool(heard.any() and (common[heard] >= COHERENT).all())
        if self.linked:
            # A channel in which the scene is quieter has more noise to add.
            level = level if heard.any() else torch.ones_like(level)
            self._weights = (level / level.abs().sum())[:, None]
            self._filter = LinkedFilter(self._channels, self._rate)
        self._runner = self._make_runner(1 if self.linked else self._channels)
        return self._feed(audio)

    def _feed(self, audio: Tensor) -> Tensor:
        assert self._runner is not None
        if self._filter is None:
            return self._runner.process(audio)
        mono = (self._weights.to(audio) * audio).sum(dim=0, keepdim=True)
        self._filter.take(audio, mono)
        return self._filter.process(self._runner.process(mono))

    def _finish(self, enhanced: Tensor) -> Tensor:
        return enhanced if self._filter is None else self._filter.process(enhanced)


class LinkedFilter:
    """Does to every channel what a model did to their sum, frame by frame of a Fourier transform.

    In each band and frame one gain of 0 to 1 is applied to all channels: the one by which the sum comes nearest to
    the model's output. What no gain can make of the sum, where the model put sound or changed phases, goes to each
    channel in proportion to its level. Channels that are equal come out as the model's output.

    Args:
        channels: their number.
        sample_rate: in Hz.
    """

    _FORGET = 0.98  # of the channels' levels, per frame of 8 ms

    def __init__(self, channels: int, sample_rate: int):
        self._hop = max(1, round(0.008 * sample_rate))
        self._size = 4 * self._hop
        # Its square, at a quarter of its length, sums to one.
        self._window = torch.hann_window(self._size, dtype=torch.float32) / 1.5**0.5
        margin = self._size - self._hop
        self._input = torch.zeros(
            channels + 1, 0
        )  # the channels and their sum, from the next enhanced sample on
        self._frames = torch.zeros(channels + 2, margin)  # from the next frame on, the enhanced signal last
        self._tail = torch.zeros(channels, self._size - self._hop)
        self._skip = margin  # of the output, which begins before the signal does
        self._state = np.zeros((channels + 1, 1))
        self._samples = 0  # enhanced, less those given back

    def take(self, audio: Tensor, mono: Tensor) -> None:
        """The channels ``(channels, n)`` and their sum ``(1, n)``, of which the enhanced signal comes later."""
        self._input = torch.cat([self._input.to(audio), torch.cat([audio, mono])], dim=1)

    def process(self, enhanced: Tensor) -> Tensor:
        """The enhanced sum, ``(1, n)``: what of the channels is final by now, ``(channels, m)``."""
        samples = enhanced.shape[1]
        self._samples += samples
        both = torch.cat([self._input[:, :samples], enhanced.to(self._input)])
        self._input = self._input[:, samples:].clone()
        return self._advance(torch.cat([self._frames.to(both), both], dim=1))

    def flush(self) -> Tensor:
        """The rest."""
        left = self._samples
        silence = self._frames.new_zeros(len(self._frames), self._skip + left + self._size)
        return self._advance(torch.cat([self._frames, silence], dim=1))[:, :left]

    def _advance(self, signals: Tensor) -> Tensor:
        number = (signals.shape[1] - self._size) // self._hop + 1
        channels = len(signals) - 2
        if number < 1:
            self._frames = signals
            return signals[:channels, :0]
        self._frames = signals[:, number * self._hop :].clone()
        window = self._window.to(signals)
        frames = signals[:, : (number - 1) * self._hop + self._size].unfold(1, self._size, self._hop)
        spectra = torch.fft.rfft(frames * window)
        audio, mono, enhanced = spectra[:channels], spectra[channels], spectra[channels + 1]
        power = mono.abs().square()
        gain = ((enhanced * mono.conj()).real / power.clamp(min=1e-20)).clamp(0, 1)
        filtered = gain * audio
        rest = enhanced - gain * mono
        output = filtered + self._levels(filtered, gain * mono)[:, :, None] * rest
        pieces = torch.fft.irfft(output, self._size) * window
        length = (number - 1) * self._hop + self._size
        total = torch.nn.functional.fold(
            pieces.transpose(1, 2), (1, length), (1, self._size), stride=(1, self._hop)
        )[:, 0, 0]
        total[:, : self._tail.shape[1]] += self._tail.to(total)
        final = number * self._hop
        self._tail = total[:, final:].clone()
        skipped = min(self._skip, final)
        self._skip -= skipped
        result = total[:, skipped:final]
        self._samples -= result.shape[1]
        return result

    def _levels(self, filtered: Tensor, mono: Tensor) -> Tensor:
        """Level of each channel against the sum, with polarity, slowly: ``(channels, frames)``."""
        common = (filtered * mono.conj()).real.sum(dim=2)
        power = mono.abs().square().sum(dim=1, keepdim=True).T
        both = torch.cat([common, power]).double().cpu().numpy()
        smooth, self._state = lfilter([1 - self._FORGET], [1, -self._FORGET], both, zi=self._state)
        level = np.clip(smooth[:-1] / np.maximum(smooth[-1:], 1e-20), -10, 10)
        return torch.from_numpy(level).to(filtered.real)
