"""A differentiable form of ESTOI: how much of the speech's modulation in each band is lost."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audio_enh.losses.spectral import stft

FRAME_SECONDS = 0.0256  # half overlapping
BANDS = 15  # third octaves
LOWEST_BAND = 150.0  # centre in Hz
SEGMENT = 30  # frames: 384 ms
STEP = 3  # frames between segments, where the metric has 1: two neighbours are nearly the same
DYNAMIC_RANGE_DB = 40.0  # frames of the clean speech further below its loudest one are left out


class ESTOILoss(nn.Module):
    """One minus the extended short-time objective intelligibility.

    Jensen and Taal 2016 (IEEE/ACM TASLP 24(11)): the amplitudes of third-octave bands over segments of 384 ms,
    made zero-mean and of unit norm over time in each band and then over the bands in each frame, are correlated
    with those of the clean speech; the mean over all frames and segments where someone speaks. The metric
    resamples to 10 kHz first and takes silent frames out of the waveform; here both happen in the spectrogram
    (``tests/losses/test_stoi.py`` says how near the two are).

    A clean signal that is silent or shorter than a segment costs nothing: there is nothing to understand.

    Args:
        sample_rate: in Hz, 10000 or more.
    """

    window: Tensor
    bands: Tensor

    def __init__(self, sample_rate: int = 16000):
        super().__init__()
        if sample_rate < 10000:
            raise ValueError(f"ESTOI needs a sample rate of 10000 Hz or more, not {sample_rate}")
        self.hop_length = round(FRAME_SECONDS / 2 * sample_rate)
        length = 2 * self.hop_length
        self.n_fft = 1 << (2 * length - 1).bit_length()
        frequency = torch.arange(self.n_fft // 2 + 1) * sample_rate / self.n_fft
        centre = LOWEST_BAND * 2 ** (torch.arange(BANDS) / 3)[:, None]
        bands = (frequency >= centre * 2 ** (-1 / 6)) & (frequency < centre * 2 ** (1 / 6))
        self.register_buffer("bands", bands.float(), persistent=False)
        self.register_buffer("window", torch.hann_window(length), persistent=False)

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """``(batch, samples)`` both; a scalar, the mean over the batch."""
        return self.loss(estimate, clean).mean()

    def loss(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """The loss of each item, ``(batch,)``, from ``(batch, samples)`` both."""
        if clean.shape[1] < SEGMENT * self.hop_length:
            return 0 * estimate.sum(dim=1)
        processed, reference = self._band_powers(estimate), self._band_powers(clean)
        energy = reference.sum(dim=1)
        loudest = energy.amax(dim=1, keepdim=True)
        active = energy > loudest * 10 ** (-DYNAMIC_RANGE_DB / 10)
        count = active.sum(dim=1)
        # Active frames move to the front, in their order.
        order = torch.argsort((~active).to(torch.uint8), dim=1, stable=True)[:, None].expand_as(reference)
        # Relative to the speech, so that the floors below do not depend on the recording's level.
        scale = (energy.mean(dim=1) / BANDS + 1e-12)[:, None, None]
        x, y = (
            (powers.gather(2, order) / scale + 1e-8).sqrt().unfold(2, SEGMENT, STEP)
            for powers in (reference, processed)
        )
        x, y = (_unit(_unit(value, 3), 1) for value in (x, y))
        correlation = (x * y).sum(dim=1).mean(dim=2)  # (batch, segments)
        whole = STEP * torch.arange(correlation.shape[1], device=count.device) + SEGMENT <= count[:, None]
        return (whole * (1 - correlation)).sum(dim=1) / whole.sum(dim=1).clamp(min=1)

    def _band_powers(self, audio: Tensor) -> Tensor:
        """Power in each third octave, ``(batch, bands, frames)``."""
        spectrum = stft(audio.float(), self.n_fft, self.hop_length, self.window)
        return self.bands @ (spectrum.real.square() + spectrum.imag.square())


def _unit(value: Tensor, dim: int) -> Tensor:
    """Zero mean and unit norm; the floor keeps the gradient of what hardly changes finite."""
    value = value - value.mean(dim=dim, keepdim=True)
    return value * (value.square().sum(dim=dim, keepdim=True) + 1e-5).rsqrt()
