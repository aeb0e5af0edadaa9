"""The signals of one comparison, at the rate each metric takes."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import soxr
from numpy.typing import NDArray

from .errors import MetricError, as_signal

# soxr's "very high quality": 28 bit precision, pass band 0.913 of Nyquist, linear phase (no delay).
RESAMPLER_QUALITY = "VHQ"


class Signals:
    """One estimate, with its reference and mixture where there are any, resampled once per rate.

    Args:
        estimate: ``(samples,)``, floating point, full scale is 1.
        sample_rate: in Hz.
        reference: clean speech, ``(samples,)``.
        noisy: the mixture, ``(samples,)``; ``noise`` is this minus the reference.
        transcript: what is said.
    """

    def __init__(
        self,
        estimate: NDArray[np.floating],
        sample_rate: int,
        reference: NDArray[np.floating] | None = None,
        noisy: NDArray[np.floating] | None = None,
        transcript: str | None = None,
    ) -> None:
        self.estimate = estimate
        self.sample_rate = sample_rate
        self._reference = reference
        self._noisy = noisy
        self._transcript = transcript
        self._resampled: dict[int, Signals] = {}

    @property
    def reference(self) -> NDArray[np.floating]:
        """Raises:
        MetricError: ``missing_input``.
        """
        if self._reference is None:
            raise MetricError("missing_input", "no clean reference is given")
        return self._reference

    @property
    def transcript(self) -> str:
        """Raises:
        MetricError: ``missing_input``.
        """
        if self._transcript is None:
            raise MetricError("missing_input", "no transcript is given")
        return self._transcript

    @cached_property
    def noise(self) -> NDArray[np.floating]:
        """Mixture minus reference.

        Raises:
            MetricError: ``missing_input`` or ``length_mismatch``.
        """
        if self._noisy is None:
            raise MetricError("missing_input", "no noisy mixture is given")
        if self._noisy.shape != self.reference.shape:
            raise MetricError(
                "length_mismatch",
                f"reference has {self.reference.size} samples, mixture {self._noisy.size}: cut or align them",
            )
        return self._noisy - self.reference

    def at(self, sample_rate: int) -> Signals:
        """The same signals at another, lower rate (itself when it is the same)."""
        if sample_rate == self.sample_rate:
            return self
        if sample_rate not in self._resampled:
            self._resampled[sample_rate] = Signals(
                resample(self.estimate, self.sample_rate, sample_rate, "estimate"),
                sample_rate,
                None
                if self._reference is None
                else resample(self._reference, self.sample_rate, sample_rate, "reference"),
                None
                if self._noisy is None
                else resample(self._noisy, self.sample_rate, sample_rate, "mixture"),
                self._transcript,
            )
        return self._resampled[sample_rate]


def resample(
    audio: NDArray[np.floating], from_rate: int, to_rate: int, role: str = "audio"
) -> NDArray[np.floating]:
    """Resample one checked signal with soxr, without delay.

    Args:
        audio: ``(samples,)``.
        from_rate, to_rate: in Hz.
        role: what to call it in messages.

    Raises:
        MetricError: ``empty``, ``not_mono`` or ``not_finite`` (which the filter would spread).
    """
    return soxr.resample(as_signal(audio, role), from_rate, to_rate, quality=RESAMPLER_QUALITY)
