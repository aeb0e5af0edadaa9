"""Training losses: each maps ``(estimate, clean)``, both ``(batch, samples)``, to a scalar to minimise.

One that also needs the noise takes a third parameter, ``noisy``.
"""

from audio_enh.losses.combine import WeightedLoss
from audio_enh.losses.pesq import PESQLoss
from audio_enh.losses.spectral import CompressedSpectralLoss, MultiResolutionSTFTLoss
from audio_enh.losses.stoi import ESTOILoss
from audio_enh.losses.waveform import SISDRLoss, WaveformL1Loss

__all__ = [
    "CompressedSpectralLoss",
    "ESTOILoss",
    "MultiResolutionSTFTLoss",
    "PESQLoss",
    "SISDRLoss",
    "WaveformL1Loss",
    "WeightedLoss",
]
