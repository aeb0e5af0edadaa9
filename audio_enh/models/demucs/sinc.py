"""Resampling by two with windowed sinc interpolation, whole signals or streams.

A band-limited signal known at the integers is ``x(t) = sum_n x[n] sinc(t - n)``. Going up by two, the even
outputs are the inputs themselves and the odd ones are ``x(n + 1/2)``, so one FIR with the taps
``sinc(j + 1/2)`` does all the work. Going down by two, the ideal low-pass at the new Nyquist frequency has
the taps ``sinc(j / 2) / 2``: 1/2 at 0, zero at the other even places, and half of the same FIR at the odd
ones. It is half of the adjoint of going up. The sinc is cut after ``zeros`` zero crossings by a Hann window,
which leaves both filters symmetric (linear phase, aligned with the input) and 6 dB down at half the band.

Reference: Smith, "Digital audio resampling", https://ccrma.stanford.edu/~jos/resample/
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ZEROS = 56


def half_sample_kernel(zeros: int = ZEROS) -> Tensor:
    """Windowed sinc at the half-integers ``-zeros + 1/2 ... zeros - 1/2``: ``(2 * zeros,)``, float32."""
    if zeros < 1:
        raise ValueError(f"zeros must be at least 1, not {zeros}")
    t = torch.arange(-zeros, zeros, dtype=torch.float64) + 0.5
    # The Hann window has its feet on -zeros and +zeros.
    return (torch.sinc(t) * torch.cos(torch.pi * t / (2 * zeros)) ** 2).float()


class _Resample2(nn.Module):
    """What both directions share: the kernel, and a history of past input as the state of a stream."""

    kernel: Tensor
    context: int

    def __init__(self, zeros: int = ZEROS) -> None:
        super().__init__()
        self.zeros = zeros
        # Follows from `zeros`: no part of a checkpoint.
        self.register_buffer("kernel", half_sample_kernel(zeros).view(1, 1, -1), persistent=False)

    def init_state(self, batch: int = 1) -> Tensor:
        """The silence before the first sample: ``(batch, context)``."""
        return self.kernel.new_zeros(batch, self.context)

    def step(self, audio: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Resample the next samples of a stream; the result lags by ``zeros`` samples of the lower rate.

        The lag is the filter's look-ahead: what a stream still owes at its end comes out by stepping on with
        that much silence.

        Args:
            audio: ``(batch, samples)``; an even number of them when going down.
            state: ``(batch, context)``, the input so far, from `init_state` or the last call.
        """
        signal = torch.cat([state, audio], dim=-1)
        return self._resample(signal), signal[:, signal.shape[-1] - self.context :]

    def _resample(self, signal: Tensor) -> Tensor:
        """Resample ``signal`` where the filter lies wholly inside it, which takes ``context`` samples off."""
        raise NotImplementedError

    def _filter(self, signal: Tensor) -> Tensor:
        # In full precision under autocast too: half-precision samples are a noise floor of -50 to -60 dB.
        with torch.autocast(signal.device.type, enabled=False):
            return F.conv1d(signal.to(self.kernel.dtype).unsqueeze(1), self.kernel).squeeze(1)


class Upsample2(_Resample2):
    """Twice the sample rate.

    Args:
        zeros: zero crossings of the sinc on each side.

    Shape:
        ``(batch, n)`` to ``(batch, 2 n)``: output ``2 i`` is input ``i``.
    """

    def __init__(self, zeros: int = ZEROS) -> None:
        super().__init__(zeros)
        self.context = 2 * zeros - 1

    def forward(self, audio: Tensor) -> Tensor:
        return self._resample(F.pad(audio, (self.zeros - 1, self.zeros)))

    def _resample(self, signal: Tensor) -> Tensor:
        if signal.shape[-1] == self.context:
            return signal[:, :0]
        between = self._filter(signal)
        even = signal[:, self.zeros - 1 : self.zeros - 1 + between.shape[-1]]
        return torch.stack([even.to(between.dtype), between], dim=-1).flatten(1)


class Downsample2(_Resample2):
    """Half the sample rate.

    Args:
        zeros: zero crossings of the sinc on each side, in samples of the lower rate.

    Shape:
        ``(batch, n)`` to ``(batch, ceil(n / 2))``: output ``i`` lies at input ``2 i``. An odd length is taken
        as followed by silence.
    """

    def __init__(self, zeros: int = ZEROS) -> None:
        super().__init__(zeros)
        # One sample pair more than the filter needs, so that the lag is `zeros` as in the other direction and
        # two stages in a row stay in phase.
        self.context = 4 * zeros

    def forward(self, audio: Tensor) -> Tensor:
        odd = audio.shape[-1] % 2
        return self._resample(F.pad(audio, (2 * self.zeros, 2 * self.zeros + odd)))

    def _resample(self, signal: Tensor) -> Tensor:
        if signal.shape[-1] % 2:
            raise ValueError("a stream is halved in pairs of samples: the number of samples must be even")
        if signal.shape[-1] == self.context:
            return signal[:, :0]
        even, odd = signal[:, ::2], signal[:, 1::2]
        filtered = self._filter(odd[:, :-1])
        return (even[:, self.zeros : self.zeros + filtered.shape[-1]] + filtered) / 2
