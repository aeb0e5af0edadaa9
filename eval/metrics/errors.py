"""What a metric says when it has no value to give, and the checks they share."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Reason = Literal[
    "empty",  # no samples at all
    "not_mono",  # an array that is not (samples,)
    "not_finite",  # NaN or infinity among the samples
    "length_mismatch",
    "silent_reference",
    "silent_estimate",
    "silent_noise",  # the mixture is the reference itself: there is nothing to reject
    "too_short",
    "too_long",
    "too_little_speech",  # long enough, but the metric finds no speech to compare
    "unsupported_rate",  # the metric does not exist at this rate (and is never upsampled to)
    "missing_input",  # the metric needs a signal that was not given
    "infinite",  # estimate equals reference: the ratio has no finite value
    "broke_down",  # an exception that nobody foresaw, of a metric's package or ours
]


class MetricError(Exception):
    """A metric has no value for these signals. Never a number: an error code would be averaged in.

    Attributes:
        reason: short stable code, one of ``Reason``; failures are counted by it.
        detail: one line for people.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        if reason not in get_args(Reason):
            raise ValueError(f"unknown reason code {reason!r}")
        super().__init__(reason, detail)  # both: the exception travels between processes by pickle
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


# 24-bit quantisation noise is at -146 dBFS; below it there is no signal, only rounding.
SILENCE = 1e-8


def as_signal(audio: NDArray[np.floating], role: str) -> NDArray[np.float64]:
    """Check one signal and return it as float64.

    Args:
        audio: ``(samples,)``, floating point, full scale is 1.
        role: what to call it in messages: ``"reference"``, ``"estimate"``, ...

    Raises:
        MetricError: ``not_mono``, ``empty`` or ``not_finite``.
        TypeError: integer samples (whose full scale is unknown here).
    """
    audio = np.asarray(audio)
    if not np.issubdtype(audio.dtype, np.floating):
        raise TypeError(f"{role} has {audio.dtype} samples; give floating point with full scale 1")
    if audio.ndim != 1:
        raise MetricError("not_mono", f"{role} has shape {audio.shape}, not (samples,)")
    if audio.size == 0:
        raise MetricError("empty", f"{role} has no samples")
    if not np.isfinite(audio).all():
        raise MetricError("not_finite", f"{role} contains NaN or infinity")
    return audio.astype(np.float64)


def as_pair(
    reference: NDArray[np.floating], estimate: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Check two signals that are to be compared sample by sample; both are returned as float64.

    Raises:
        MetricError: as ``as_signal``, or ``length_mismatch``, ``silent_reference``, ``silent_estimate``.
    """
    clean = as_signal(reference, "reference")
    other = as_signal(estimate, "estimate")
    if clean.size != other.size:
        raise MetricError(
            "length_mismatch", f"reference has {clean.size} samples, estimate {other.size}: cut or align them"
        )
    if is_silent(clean):
        raise MetricError("silent_reference", "reference is silent")
    if is_silent(other):
        raise MetricError("silent_estimate", "estimate is silent")
    return clean, other


def is_silent(audio: NDArray[np.floating]) -> bool:
    """True when no sample departs from the first by more than ``SILENCE``: zeros, or a constant offset."""
    return bool(np.max(np.abs(audio - audio[0])) <= SILENCE)


def check_rate(sample_rate: int, supported: tuple[int, ...], metric: str) -> None:
    """Raises:
    MetricError: ``unsupported_rate`` when ``sample_rate`` is not among ``supported``.
    """
    if sample_rate not in supported:
        rates = " or ".join(str(rate) for rate in supported)
        raise MetricError(
            "unsupported_rate", f"{metric} is defined at {rates} Hz, the signal has {sample_rate}"
        )


def check_seconds(samples: int, sample_rate: int, minimum: float, metric: str) -> None:
    """Raises:
    MetricError: ``too_short`` when the signal lasts less than ``minimum`` seconds.
    """
    if samples < minimum * sample_rate:
        raise MetricError(
            "too_short", f"{metric} needs {minimum:g} s, the signal lasts {samples / sample_rate:.3f} s"
        )
