"""Scores of one comparison: what is computed together is computed once; what goes wrong has a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from audio_enh.errors import UserError

from .errors import MetricError
from .signals import Signals
from .table import Metric


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
