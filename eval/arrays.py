"""Scores of one pair of arrays, for training's validation and for scripts."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import DependencyError

from .metrics import BY_NAME, Metric, Signals, in_order, measure

VALIDATION_METRICS = ("pesq_wb", "stoi", "si_sdr")


def select_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics of these names, in the order of ``METRICS``, the user's (``module.NAME``) after them.

    Raises:
        UserError: an unknown name.
        DependencyError: a package that a metric needs is not installed.
    """
    chosen = tuple(BY_NAME[name] for name in in_order(names))
    for metric in chosen:
        if missing := _not_installed(metric.packages):
            raise DependencyError.missing(metric.label, ", ".join(missing), metric.extra)
        if missing := _not_installed(metric.alone):
            raise DependencyError.alone(metric.label, " ".join(missing))
    return chosen


def missing_packages(name: str) -> list[str]:
    """Packages that this metric needs and that are not installed."""
    metric = BY_NAME[name]
    return _not_installed((*metric.packages, *metric.alone))


def _not_installed(packages: Sequence[str]) -> list[str]:
    return [package for package in packages if importlib.util.find_spec(package) is None]


def evaluate_arrays(
    reference: NDArray[np.floating],
    estimate: NDArray[np.floating],
    sample_rate: int,
    metrics: Sequence[str] = VALIDATION_METRICS,
    *,
    noisy: NDArray[np.floating] | None = None,
    transcript: str | None = None,
) -> dict[str, float]:
    """Scores of one estimate against its reference.

    Args:
        reference, estimate: ``(samples,)``, equally long, floating point, full scale is 1.
        sample_rate: in Hz; a metric that takes lower rates only is given resampled signals.
        metrics: names from ``METRICS``.
        noisy: the mixture, ``(samples,)``, for SI-SIR and SI-SAR.
        transcript: what is said, for ``wer``.

    Returns:
        Metric name to value, all finite.

    Raises:
        MetricError: the first metric that has no value; ``measure`` goes on instead.
        UserError: an unknown metric, or a package that is missing.
    """
    result = measure(Signals(estimate, sample_rate, reference, noisy, transcript), select_metrics(metrics))
    for error in result.failures.values():
        raise error
    return result.scores
