"""A differentiable stand-in for PESQ: how much the estimate differs from the clean speech in loudness."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_enh.losses.spectral import stft

LISTENING_LEVEL_DB = 79.0  # of speech, dB SPL
TOP_FREQUENCY = 8000.0  # Hz, of wide-band PESQ
EXPONENT = 0.23  # of loudness over intensity (Zwicker)
DEAD_ZONE = 0.25  # part of the softer loudness by which a difference is not noticed
SPLIT_SECOND = 20  # frames of 32 ms, half overlapping
LOUDEST = 45.0  # disturbance of a frame beyond which it gets no worse


class PESQLoss(nn.Module):
    r"""Perceptual disturbance after ITU-T P.862 (2001), without its time alignment.

    .. math:: 0.1 \, d + 0.0309 \, d_a

    which is how far P.862's raw score falls below 4.5: zero when no difference is heard, and 1 is a point of
    opinion score. Both signals are set to the listening level, filtered as for wide-band headphones (P.862.2)
    and turned into loudness (sone per Bark) in frames of 32 ms. The reference follows the estimate's long-term
    spectrum, and the estimate follows the reference's level, as far as a listener would not mind. ``d`` is the
    difference beyond a quarter of the softer one's loudness; ``d_a`` counts once more, and heavily, what was
    added, but not what was taken away. Both are summed by the norms of P.862: over frequency, then over
    instants of a third of a second, where the worst frames count most, then over time.

    Martin-Donas et al. 2018 (IEEE SPL 25(11)) train on the same two disturbances, averaged over frames. The
    Bark scale is Zwicker and Terhardt's (1980) and the threshold of hearing Terhardt's (1979), in place of the
    recommendation's tables: the loss orders signals as PESQ does (``tests/losses/test_pesq.py`` says how
    nearly), but it is not PESQ.

    Args:
        sample_rate: in Hz, 16000 or more; above 8 kHz nothing counts.
        bands: number of bands, equally wide in Bark.
    """

    window: Tensor
    bands: Tensor
    width: Tensor
    threshold: Tensor
    exponent: Tensor
    scale: Tensor
    speech_band: Tensor

    def __init__(self, sample_rate: int = 16000, bands: int = 49):
        super().__init__()
        if sample_rate < 2 * TOP_FREQUENCY:
            raise ValueError(f"wide-band PESQ needs a sample rate of 16000 Hz or more, not {sample_rate}")
        self.n_fft = 2 * round(0.016 * sample_rate)
        frequency = torch.arange(self.n_fft // 2 + 1, dtype=torch.float64) * sample_rate / self.n_fft
        filters, centre, width = _bark_bands(frequency, bands)
        window = torch.hann_window(self.n_fft, dtype=torch.float64)
        threshold = 10 ** (_hearing_threshold(centre) / 10)
        # Below 4 Bark loudness grows faster with intensity.
        exponent = EXPONENT * (6 / (_bark(centre) + 2)).clamp(1, 2) ** 0.15

        # By definition a tone of 1 kHz at 40 dB SPL has a loudness of 1 sone.
        time = torch.arange(self.n_fft, dtype=torch.float64) / sample_rate
        tone = filters @ torch.fft.rfft(window * torch.sin(2 * math.pi * 1000 * time)).abs().square()
        density = _loudness(tone * (1e4 / tone.sum()), threshold, exponent)

        self._constant("window", window)
        self._constant("bands", filters * _headphone_response(frequency))
        self._constant("width", width[:, None])
        self._constant("threshold", threshold[:, None])
        self._constant("exponent", exponent[:, None])
        self._constant("scale", 1 / (density * width).sum())
        self._constant("speech_band", ((centre > 350) & (centre < 3250))[:, None])

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.float(), persistent=False)

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """``(batch, samples)`` both; a scalar, the mean over the batch."""
        return self.disturbance(estimate, clean).mean()

    def disturbance(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """The loss of each item, ``(batch,)``, from ``(batch, samples)`` both."""
        degraded, reference = self._band_powers(estimate), self._band_powers(clean)
        level = (reference * self.speech_band).sum(dim=1, keepdim=True)
        active = (
            level > 1e-4 * level.amax(dim=2, keepdim=True)
        ).float()  # frames within 40 dB of the loudest
        degraded, reference = (
            self._at_listening_level(degraded, active),
            self._at_listening_level(reference, active),
        )
        reference = self._with_spectrum_of(degraded, reference, active)
        degraded = self._with_level_of(reference, degraded)

        loudness = self.scale * _loudness(degraded, self.threshold, self.exponent)
        wanted = self.scale * _loudness(reference, self.threshold, self.exponent)
        heard = F.relu((loudness - wanted).abs() - DEAD_ZONE * torch.minimum(loudness, wanted))
        # A ratio above 2.5 in power is a sound of its own, and annoys; below, nothing was added.
        added = ((degraded + 50) / (reference + 50)) ** 1.2
        added = torch.where(added < 3, 0.0, added.clamp(max=12))

        total = self.width.sum()
        d = total.sqrt() * _norm(heard * self.width, 2)
        d_a = (heard * added * self.width).sum(dim=1)
        # What disturbs is heard a little better in soft frames.
        emphasis = ((self._audible(reference) + 1e5) / 1e7) ** -0.04
        d, d_a = ((value * emphasis).clamp(max=LOUDEST) for value in (d, d_a))
        return 0.1 * _over_time(d) + 0.0309 * _over_time(d_a)

    def _band_powers(self, audio: Tensor) -> Tensor:
        """Power in each Bark band, ``(batch, bands, frames)``."""
        spectrum = stft(audio.float(), self.n_fft, self.n_fft // 2, self.window)
        return self.bands @ (spectrum.real.square() + spectrum.imag.square())

    def _at_listening_level(self, power: Tensor, active: Tensor) -> Tensor:
        """Scaled so that active frames have the listening level on average, where 1 is 0 dB SPL."""
        mean = (power * self.speech_band * active).sum(dim=(1, 2), keepdim=True) / active.sum(
            2, keepdim=True
        ).clamp(1)
        return power * (10 ** (LISTENING_LEVEL_DB / 10) / (mean + 1e-7))

    def _with_spectrum_of(self, degraded: Tensor, reference: Tensor, active: Tensor) -> Tensor:
        """The reference as a linear filter of at most 20 dB would make it: a change of timbre hardly disturbs."""
        frames = active.sum(dim=2, keepdim=True).clamp(min=1)
        mean_degraded = (degraded * active).sum(dim=2, keepdim=True) / frames
        mean_reference = (reference * active).sum(dim=2, keepdim=True) / frames
        return reference * ((mean_degraded + 1e3) / (mean_reference + 1e3)).clamp(0.01, 100)

    def _with_level_of(self, reference: Tensor, degraded: Tensor) -> Tensor:
        """The degraded signal with slow changes of level taken out."""
        gain = (self._audible(reference) + 5e3) / (self._audible(degraded) + 5e3)
        weights = 0.8 * 0.2 ** torch.arange(4, -1, -1, device=gain.device)  # of past frames, oldest first
        smooth = F.conv1d(F.pad(gain[:, None], (4, 0), value=1.0), (weights / weights.sum())[None, None])
        return degraded * smooth.clamp(3e-4, 5)

    def _audible(self, power: Tensor) -> Tensor:
        """Power of the bands above the threshold of hearing, ``(batch, frames)``."""
        return torch.where(power > self.threshold, power, 0.0).sum(dim=1)


def _bark(frequency: Tensor) -> Tensor:
    """Critical-band rate of a frequency in Hz (Zwicker and Terhardt 1980)."""
    return 13 * torch.atan(0.00076 * frequency) + 3.5 * torch.atan((frequency / 7500) ** 2)


def _hearing_threshold(frequency: Tensor) -> Tensor:
    """Threshold in quiet in dB SPL (Terhardt 1979)."""
    f = frequency / 1000
    return 3.64 * f**-0.8 - 6.5 * torch.exp(-0.6 * (f - 3.3) ** 2) + 1e-3 * f**4


def _headphone_response(frequency: Tensor) -> Tensor:
    """Power response of wide-band listening: a second-order Butterworth high-pass at 200 Hz."""
    ratio = (frequency / 200) ** 4
    return ratio / (1 + ratio)


def _bark_bands(frequency: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Share of each bin's power that falls into each band ``(bands, bins)``; the bands' centres in Hz and
    widths in Bark ``(bands,)``."""
    grid = torch.linspace(0, TOP_FREQUENCY, 80001, dtype=torch.float64)
    rate = _bark(grid)
    wanted = torch.linspace(0, float(rate[-1]), count + 1, dtype=torch.float64)
    edges = grid[torch.searchsorted(rate, wanted).clamp(max=len(grid) - 1)]
    step = frequency[1]
    low = torch.maximum(edges[:-1, None], frequency - step / 2)
    high = torch.minimum(edges[1:, None], frequency + step / 2)
    return ((high - low) / step).clamp(min=0), (edges[:-1] + edges[1:]) / 2, _bark(edges).diff()


def _loudness(power: Tensor, threshold: Tensor, exponent: Tensor) -> Tensor:
    """Loudness density by Zwicker's law, up to a constant; zero below the threshold."""
    law = (0.5 + 0.5 * power / threshold).clamp(min=1) ** exponent - 1
    return (threshold / 0.5) ** exponent * law


def _norm(values: Tensor, p: int, mean: bool = False, eps: float = 1e-12) -> Tensor:
    """p-norm over dimension 1, or p-mean; with a gradient at zero, and zero there."""
    powers = values**p
    gathered = powers.mean(dim=1) if mean else powers.sum(dim=1)
    return (gathered + eps) ** (1 / p) - eps ** (1 / p)


def _over_time(disturbance: Tensor) -> Tensor:
    """``(batch, frames)`` to ``(batch,)``: sixth-power mean over instants, half overlapping, and root mean square."""
    size = min(SPLIT_SECOND, disturbance.shape[1])
    instants = disturbance.unfold(1, size, max(1, size // 2)).transpose(1, 2)
    return _norm(_norm(instants, 6, mean=True), 2, mean=True)
