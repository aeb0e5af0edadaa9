"""The signals of one comparison, at the rate each metric takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import soxr
from numpy.typing import NDArray

from audio_enh.errors import UserError

from .errors import MetricError, as_signal

if TYPE_CHECKING:
    from .table import Metric

# soxr's "very high quality": 28 bit precision, pass band 0.913 of Nyquist, linear phase (no delay).
RESAMPLER_QUALITY = "VHQ"


class Signals:
    """One estimate, with its reference and mixture where there are any, resampled once per rate.

    Args:
        estimate: ``(samples,)``, floating point, full scale is 1.
        sample_rate: in Hz.
        reference: clean speech, ``(samples,)``.
        noisy: the mixture, ``(samples,)``; ``noise`` is this minus the reference.
    """

    def __init__(
        self,
        estimate: NDArray[np.floating],
        sample_rate: int,
        reference: NDArray[np.floating] | None = None,
        noisy: NDArray[np.floating] | None = None,
    ) -> None:
        self.estimate = estimate
        self.sample_rate = sample_rate
        self._reference = reference
        self._noisy = noisy
        self._resampled: dict[int, Signals] = {}

    @property
    def reference(self) -> NDArray[np.floating]:
        """Raises:
        MetricError: ``missing_input``.
        """
        if self._reference is None:
            raise MetricError("missing_input", "no clean reference is given")
        return self._reference

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


@dataclass
class Measurement:
    """What came out for one estimate.

    Attributes:
        scores: value of each metric that has one; always finite.
        failures: why each of the others has none.
        seconds: time each computation took, by the name of the first metric it serves.
    """

    scores: dict[str, float] = field(default_factory=dict)
    failures: dict[str, MetricError] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def measure(signals: Signals, metrics: Sequence[Metric]) -> Measurement:
    """Compute metrics one by one; one that has no value, or whose package fails, does not stop the others.

    Args:
        signals: what to judge; brought to the highest rate a metric takes, never upsampled.
        metrics: from ``METRICS``.
    """
    result = Measurement()
    for group in _by_function(metrics):
        started = perf_counter()
        try:
            values = group[0].compute(_at_best_rate(signals, group[0]))
        except MetricError as error:
            result.failures.update({metric.name: error for metric in group})
            continue
        except UserError:  # a package is missing: so it is for every file
            raise
        except Exception as error:
            told = " ".join(f"{group[0].label} broke down: {type(error).__name__}: {error}".split())
            result.failures.update({metric.name: MetricError("broke_down", told) for metric in group})
            continue
        finally:
            result.seconds[group[0].name] = perf_counter() - started
        for metric in group:
            value = float(values[metric.part]) if isinstance(values, tuple) else values  # type: ignore[index]
            if np.isfinite(value):
                result.scores[metric.name] = value
            else:
                result.failures[metric.name] = MetricError("infinite", f"{metric.label} is {value}")
    return result


def _by_function(metrics: Sequence[Metric]) -> Iterator[list[Metric]]:
    groups: dict[Callable[[Signals], object], list[Metric]] = {}
    for metric in metrics:
        groups.setdefault(metric.compute, []).append(metric)
    yield from groups.values()


def _at_best_rate(signals: Signals, metric: Metric) -> Signals:
    if not metric.sample_rates:
        return signals
    for rate in metric.sample_rates:
        if rate <= signals.sample_rate:
            return signals.at(rate)
    lowest = metric.sample_rates[-1]
    raise MetricError(
        "unsupported_rate",
        f"{metric.label} needs {lowest} Hz, the signal has {signals.sample_rate}; it is not upsampled",
    )
