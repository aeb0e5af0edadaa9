"""Losses between spectrograms at several resolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def stft(audio: Tensor, n_fft: int, hop_length: int, window: Tensor) -> Tensor:
    """Complex spectrogram ``(batch, bins, frames)`` of ``(batch, samples)``; the window is centred in ``n_fft``."""
    return torch.stft(
        audio, n_fft, hop_length, win_length=len(window), window=window, center=True, return_complex=True
    )


class _MultiResolution(nn.Module):
    """Holds one Hann window per resolution."""

    def __init__(self, n_ffts: Sequence[int], hop_lengths: Sequence[int], win_lengths: Sequence[int]):
        super().__init__()
        if not len(n_ffts) == len(hop_lengths) == len(win_lengths):
            raise ValueError("n_ffts, hop_lengths and win_lengths must have one entry per resolution each")
        self.sizes = list(zip(n_ffts, hop_lengths, win_lengths, strict=True))
        for i, length in enumerate(win_lengths):
            self.register_buffer(f"window_{i}", torch.hann_window(length), persistent=False)

    def spectra(self, estimate: Tensor, clean: Tensor) -> list[tuple[Tensor, Tensor]]:
        pairs = []
        for i, (n_fft, hop_length, _) in enumerate(self.sizes):
            window = self.get_buffer(f"window_{i}")
            # Apart: no gradient is computed for the target's.
            pairs.append((stft(estimate, n_fft, hop_length, window), stft(clean, n_fft, hop_length, window)))
        return pairs


class CompressedSpectralLoss(_MultiResolution):
    r"""Squared distance of power-law compressed spectra, averaged over resolutions.

    .. math:: (1 - \alpha) \, | |S|^c - |\hat S|^c |^2 + \alpha \, | |S|^c e^{j\phi} - |\hat S|^c e^{j\hat\phi} |^2

    Ephrat et al. 2018 and Braun and Tashev 2021 (arXiv 2009.12286), who give c = 0.3 and alpha = 0.3.

    Args:
        n_ffts, hop_lengths: per resolution; windows as long as ``n_ffts``.
        compression: the exponent c.
        complex_weight: alpha.
        floor: power added to each bin's, which bounds the gradient where a bin is silent. The default is 50 dB below
            the mean bin of a unit signal; bands that are weak by nature, as those above 8 kHz, need less.
    """

    def __init__(
        self,
        n_ffts: Sequence[int] = (512, 1024),
        hop_lengths: Sequence[int] = (128, 256),
        compression: float = 0.3,
        complex_weight: float = 0.3,
        floor: float = 1e-3,
    ):
        super().__init__(n_ffts, hop_lengths, n_ffts)
        self.compression = compression
        self.complex_weight = complex_weight
        self.floor = floor

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """``(batch, samples)`` both; a scalar."""
        total = estimate.new_zeros(())
        for estimated, target in self.spectra(estimate, clean):
            real, imag, magnitude = self._compress(estimated)
            target_real, target_imag, target_magnitude = self._compress(target)
            magnitudes = (magnitude - target_magnitude).square().mean()
            complexes = ((real - target_real).square() + (imag - target_imag).square()).mean()
            total = total + (1 - self.complex_weight) * magnitudes + self.complex_weight * complexes
        return total / len(self.sizes)

    def _compress(self, spectrum: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        real, imag = spectrum.real, spectrum.imag
        power = real.square() + imag.square() + self.floor
        magnitude = power ** (self.compression / 2)
        gain = magnitude * power.rsqrt()
        return real * gain, imag * gain, magnitude


class MultiResolutionSTFTLoss(_MultiResolution):
    """Spectral convergence plus log-magnitude L1, averaged over resolutions.

    Yamamoto et al. 2020 (Parallel WaveGAN, arXiv 1910.11480), as in Defossez et al. 2020, whose resolutions
    are the defaults.
    """

    def __init__(
        self,
        n_ffts: Sequence[int] = (512, 1024, 2048),
        hop_lengths: Sequence[int] = (50, 120, 240),
        win_lengths: Sequence[int] = (240, 600, 1200),
    ):
        super().__init__(n_ffts, hop_lengths, win_lengths)

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """``(batch, samples)`` both; a scalar."""
        total = estimate.new_zeros(())
        for estimated, target in self.spectra(estimate, clean):
            estimated_magnitude = _magnitude(estimated)
            target_magnitude = _magnitude(target)
            error = torch.linalg.norm(target_magnitude - estimated_magnitude)
            convergence = error / torch.linalg.norm(target_magnitude).clamp(min=1e-6)
            log_distance = (target_magnitude.log() - estimated_magnitude.log()).abs().mean()
            total = total + convergence + log_distance
        return total / len(self.sizes)


def _magnitude(spectrum: Tensor) -> Tensor:
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=1e-7).sqrt()
