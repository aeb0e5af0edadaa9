"""Evaluation: metrics, statistics, evaluator, report."""

from .arrays import evaluate_arrays, select_metrics
from .metrics import METRICS, Metric, MetricError

__all__ = ["METRICS", "Metric", "MetricError", "evaluate_arrays", "select_metrics"]
