"""Signal-to-distortion ratios of Le Roux, Wisdom, Erdogan, Hershey: "SDR - half-baked or well done?",
ICASSP 2019, arXiv:1811.02508.

All are 10 log10 of an energy ratio, in dB, and differ in what counts as target and as error. With
``s`` the reference, ``x`` the estimate and ``a = <x, s> / <s, s>``, so that ``a s`` is the orthogonal
projection of the estimate on the reference:

==========  ===========  ==============================================================
SNR         ``s``        ``s - x``
SI-SDR      ``a s``      ``a s - x``                        the estimate's gain is free
SD-SDR      ``a s``      ``s - x``                          a lowered gain costs twice
SI-SIR      ``a s``      the error's part in the plane of reference and noise
SI-SAR      ``a s``      the error's part outside this plane
==========  ===========  ==============================================================

As in the paper the means are not removed: a constant offset counts as error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import MetricError, as_pair, as_signal, is_silent

if TYPE_CHECKING:
    from torch import Tensor


# Ratios beyond 200 dB are rounding of float64 and no property of the signals; 24 bits end at 146 dB.
_ROUNDING = 1e-20


def snr(reference: NDArray[np.floating], estimate: NDArray[np.floating]) -> float:
    """Signal-to-noise ratio, ``||s||^2 / ||s - x||^2``, in dB; higher is better, unbounded.

    Args:
        reference, estimate: ``(samples,)``, equally long.

    Returns:
        dB; infinity when both are the same.

    Raises:
        MetricError: empty, not mono, not finite, silent, or of different lengths (as all of this module).
    """
    clean, other = as_pair(reference, estimate)
    return _decibel(_energy(clean), _energy(clean - other))


def si_sdr(reference: NDArray[np.floating], estimate: NDArray[np.floating]) -> float:
    """Scale-invariant SDR, in dB; higher is better, unbounded.

    Symmetric in its arguments, hence blind to swapped ones; one sample of delay ruins it.

    Args:
        reference, estimate: ``(samples,)``, equally long.

    Returns:
        dB; infinity when one is a multiple of the other, minus infinity when they are orthogonal.
    """
    clean, other = as_pair(reference, estimate)
    target = _scale(clean, other) * clean
    return _decibel(_energy(target), _energy(target - other))


def sd_sdr(reference: NDArray[np.floating], estimate: NDArray[np.floating]) -> float:
    """Scale-dependent SDR, in dB; higher is better, unbounded.

    Equals ``snr + 10 log10 a^2``: unlike the SNR it does not reward an estimate for being too quiet.

    Args:
        reference, estimate: ``(samples,)``, equally long.
    """
    clean, other = as_pair(reference, estimate)
    return _decibel(_energy(_scale(clean, other) * clean), _energy(clean - other))


def si_sir(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], noise: NDArray[np.floating]
) -> float:
    """Scale-invariant signal-to-interference ratio, in dB: target against
    what is left of the noise.

    ``10^(-SI-SDR/10) = 10^(-SI-SIR/10) + 10^(-SI-SAR/10)``.

    Args:
        reference, estimate, noise: ``(samples,)``, equally long; ``noise`` is mixture minus reference.

    Returns:
        dB; higher is better; infinity when nothing of the noise is left.
    """
    target, interference, _ = _decompose(reference, estimate, noise)
    return _decibel(target, interference)


def si_sar(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], noise: NDArray[np.floating]
) -> float:
    """Scale-invariant signal-to-artifacts ratio, in dB: target against
    what is neither reference nor noise.

    Args:
        reference, estimate, noise: ``(samples,)``, equally long; ``noise`` is mixture minus reference.

    Returns:
        dB; higher is better; infinity when the estimate is a sum of scaled reference and noise.
    """
    target, _, artifacts = _decompose(reference, estimate, noise)
    return _decibel(target, artifacts)


def si_sdr_torch(reference: Tensor, estimate: Tensor, eps: float = 1e-8) -> Tensor:
    """Scale-invariant SDR of a batch, differentiable; agrees with ``si_sdr``.

    Args:
        reference, estimate: ``(..., samples)``, same shape.
        eps: added to the energies (sums of squares), so that value and gradient stay finite on silence and
            on a perfect estimate; it bends the value only where an energy is about as small.

    Returns:
        dB, shape ``(...)``.

    Raises:
        ValueError: the shapes differ (nothing is broadcast).
    """
    if reference.shape != estimate.shape:
        raise ValueError(f"shapes differ: {tuple(reference.shape)} and {tuple(estimate.shape)}")
    energy = reference.square().sum(-1, keepdim=True)
    scale = (reference * estimate).sum(-1, keepdim=True) / (energy + eps)
    target = scale * reference
    error = target - estimate
    return 10 * ((target.square().sum(-1) + eps).log10() - (error.square().sum(-1) + eps).log10())


def _energy(audio: NDArray[np.float64]) -> float:
    return float(np.dot(audio, audio))


def _scale(clean: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """``a = <x, s> / <s, s>``: the gain at which the reference comes nearest to the estimate."""
    return float(np.dot(other, clean)) / _energy(clean)


def _decibel(target: float, error: float) -> float:
    if error <= _ROUNDING * target:
        return math.inf
    return 10 * math.log10(target / error) if target > 0 else -math.inf


def _decompose(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], noise: NDArray[np.floating]
) -> tuple[float, float, float]:
    """Energies of target, interference and artifacts: three orthogonal parts that sum to the estimate."""
    clean, other = as_pair(reference, estimate)
    disturbance = as_signal(noise, "noise")
    if disturbance.size != clean.size:
        raise MetricError(
            "length_mismatch",
            f"reference has {clean.size} samples, noise {disturbance.size}: cut or align them",
        )
    if is_silent(disturbance):
        raise MetricError("silent_noise", "the mixture equals the reference: there is no noise to reject")
    target = _scale(clean, other) * clean
    error = other - target
    # The error is orthogonal to the reference, so its projection on the plane of reference and noise is its
    # projection on the part of the noise that is orthogonal to the reference.
    orthogonal_noise = disturbance - _scale(clean, disturbance) * clean
    energy = _energy(orthogonal_noise)
    if energy <= 1e-20 * _energy(disturbance):
        return _energy(target), 0.0, _energy(error)  # noise is a multiple of the reference
    interference = np.dot(error, orthogonal_noise) / energy * orthogonal_noise
    return _energy(target), _energy(interference), _energy(error - interference)
