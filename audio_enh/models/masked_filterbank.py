"""What the causal U-Nets have in common at their ends: a level-free compressed spectrum in, a bounded mask out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audio_enh.models.base import State
from audio_enh.models.blocks import LevelTracker
from audio_enh.models.high_pass import HighPass
from audio_enh.models.silence import SkipsSilence


class MaskedFilterBank(SkipsSilence):
    """A causal model that masks the coefficients of a filter bank; what lies between is the subclass's.

    The input level is divided out by a tracker that forgets (:class:`LevelTracker`), so that the mask does
    not depend on the recording's gain. A mask below one never makes a band louder; silence stays silence.

    Args:
        sample_rate: in Hz.
        hop_length: samples per step; the synthesis window has twice as many.
        window_length: samples of the analysis window, all in the past; half as many bands.
        compression: exponent of the coefficients' magnitude at the network's input.
        level_time_constant: of the level tracker, in seconds.
        high_pass: cut-off in Hz of a high-pass filter before all else, so that rumble and offsets reach neither the
            level tracker nor the network; 0 for none.
    """

    # Power added to the tracked one: -80 dB of full scale, below which sound is not amplified further.
    power_floor = 1e-8
    # Amplitude of what the network hears in digital silence, relative to that floor.
    faint = 0.3
    # Steeper filters turn the phase further than the filter bank can take back for low voices.
    high_pass_order = 2
    back_in_phase: Tensor

    def __init__(
        self,
        sample_rate: int,
        hop_length: int,
        window_length: int,
        compression: float,
        level_time_constant: float,
        high_pass: float,
    ):
        super().__init__()
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.delay = hop_length
        self.latency = 3 * hop_length
        self.reach = window_length + hop_length
        self.n_bands = window_length // 2
        self.compression = compression
        self.high_pass: HighPass | None = None
        if high_pass:
            self.high_pass = HighPass(high_pass, sample_rate, hop_length, self.high_pass_order)
            centres = (np.arange(self.n_bands) + 0.5) * sample_rate / window_length
            self.register_buffer("back_in_phase", self.high_pass.in_phase(centres), persistent=False)
        self.level = LevelTracker(hop_length, sample_rate, level_time_constant)
        # As good as random, and always the same.
        phase = 2 * torch.pi * (torch.arange(self.n_bands) * 5**0.5 / 2 % 1)
        self.silence: Tensor
        self.register_buffer("silence", torch.stack([phase.cos(), phase.sin()]), persistent=False)

    def without_rumble(self, audio: Tensor, state: State) -> tuple[Tensor, State, State]:
        """The audio through the high-pass filter, if there is one, its state, and the state of the rest."""
        if self.high_pass is None:
            return audio, (), state
        audio, rumble = self.high_pass(audio, state[0])
        return audio, (rumble,), state[1:]

    def in_phase(self, spectrum: Tensor) -> Tensor:
        """``(batch, frames, 2, bands)`` of the filtered signal with the phase that it had before."""
        if self.high_pass is None:
            return spectrum
        return _product(spectrum, self.back_in_phase)

    def flush(self, tail: Tensor, state: State) -> Tensor:
        """See :meth:`CausalModel.flush`: the stream goes on with zeros until every sample is out."""
        wanted = tail.shape[1] + self.delay
        hops = -(-wanted // self.hop_length)
        padding = hops * self.hop_length - tail.shape[1]
        output, _ = self.step(F.pad(tail, (0, padding)), state)
        return output[:, :wanted]

    def forward(self, audio: Tensor) -> Tensor:
        """See :meth:`EnhancementModel.forward`."""
        return self.flush(audio, self.init_state(audio.shape[0]))[:, self.delay :]

    def features(self, spectrum: Tensor, power: Tensor) -> Tensor:
        """Level-free compressed real part, imaginary part and magnitude, ``(batch, frames, 3, bands)``.

        Args:
            spectrum: ``(batch, frames, 2, bands)``, real and imaginary part.
            power: the tracked level, ``(batch, frames)``.
        """
        gain = (power + self.power_floor).rsqrt()
        spectrum = spectrum * gain[:, :, None, None]
        # Digital silence was heard in training before clean speech only, which is to pass: the network would let
        # noise pass that comes after it. Faint tones instead, where the level is at the floor, are like a quiet room.
        silent = self.power_floor / (power + self.power_floor)
        spectrum = spectrum + self.faint * silent[:, :, None, None] * self.silence
        # The floor keeps the gradient of the root finite; it is 40 dB below the signal's mean.
        bin_power = spectrum.square().sum(dim=2, keepdim=True) + 1e-4
        magnitude = bin_power ** (self.compression / 2)
        return torch.cat([spectrum * (magnitude * bin_power.rsqrt()), magnitude], dim=2)


def apply_bounded_mask(spectrum: Tensor, mask: Tensor) -> Tensor:
    """Complex product of ``spectrum`` and ``mask`` after the mask's magnitude ``r`` went through ``tanh(r)``.

    Args:
        spectrum, mask: ``(batch, frames, 2, bands)``, real and imaginary part in the third dimension.
    """
    magnitude = (mask.square().sum(dim=2, keepdim=True) + 1e-8).sqrt()
    return _product(spectrum, mask * (torch.tanh(magnitude) / magnitude))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Complex product of ``(..., 2, bands)``, real and imaginary parts."""
    turned = torch.cat([-a[..., 1:, :], a[..., :1, :]], dim=-2)  # i a
    return a * b[..., :1, :] + turned * b[..., 1:, :]
