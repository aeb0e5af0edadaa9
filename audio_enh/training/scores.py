"""Scores of a validation: sums over all items and over groups of them, which processes add up."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from audio_enh.eval.arrays import VALIDATION_METRICS
from audio_enh.eval.metrics import Metric, Signals, measure

# Metrics that are logged by another name than the evaluator's.
_LOGGED_AS = {"pesq_wb": "pesq"}


class ValidationScores:
    """The scores of one validation in one process.

    Args:
        metrics: what to measure.
        groups: item ``i`` belongs to group ``i % len(groups)``; names may come twice. Empty if there are none.
    """

    def __init__(self, metrics: Sequence[Metric], groups: Sequence[str] = ()):
        self.metrics = tuple(metrics)
        self.names = [_LOGGED_AS.get(metric.name, metric.name) for metric in metrics]
        self.groups = list(dict.fromkeys(groups))
        self.rows = [1 + self.groups.index(group) for group in groups]
        self.has_quality = {metric.name for metric in metrics} >= set(VALIDATION_METRICS)
        # Sums and counts; the first row is of all items, the others of the groups; a column for each metric.
        self.totals = np.zeros((2, 1 + len(self.groups), len(self.metrics)))
        self.unscored = 0
        self.loss, self.items = 0.0, 0

    @property
    def logged(self) -> list[str]:
        """All names that :meth:`means` may give."""
        of_groups = [f"{name}/{group}" for name in self.names for group in self.groups]
        return ["loss", *["quality"] * self.has_quality, *self.names, "unscored", *of_groups]

    def add_loss(self, loss: float, items: int) -> None:
        """Note the mean loss of a batch of so many items."""
        self.loss += loss * items
        self.items += items

    def add(
        self, item: int, sample_rate: int, noisy: np.ndarray, estimate: np.ndarray, clean: np.ndarray
    ) -> None:
        """Score one item. A metric that has no value for it (no speech, say) leaves it out.

        Args:
            item: its number.
            sample_rate: in Hz.
            noisy, estimate, clean: ``(samples,)``.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            scores = measure(Signals(estimate, sample_rate, clean, noisy), self.metrics).scores
        rows = [0, self.rows[item % len(self.rows)]] if self.rows else [0]
        for column, metric in enumerate(self.metrics):
            if metric.name in scores:
                self.totals[:, rows, column] += np.array([[scores[metric.name]], [1.0]])
        self.unscored += len(scores) < len(self.metrics)

    def means(self, add_up: Callable[[np.ndarray], np.ndarray]) -> tuple[dict[str, float], dict[str, float]]:
        """Means over the items of all processes.

        Args:
            add_up: the sum of a vector over all processes.

        Returns:
            Over all items: ``loss``, each metric (NaN where no item has a score), ``quality``, and ``unscored``, the
            number of items that lack a score. Over groups: ``metric/group`` of those that have a score.
        """
        # Lightning's own mean over processes is wrong where they have unequal numbers of items.
        vector = add_up(np.array([self.loss, self.items, self.unscored, *self.totals.ravel()]))
        loss, items, unscored = (float(value) for value in vector[:3])
        sums, counts = vector[3:].reshape(self.totals.shape)
        with np.errstate(invalid="ignore"):
            table = np.where(counts > 0, sums / counts, math.nan)
        of_all = {name: float(value) for name, value in zip(self.names, table[0], strict=True)}
        if self.has_quality:
            # One number to choose weights by: each metric over its useful range, as differences that matter.
            of_all["quality"] = of_all["pesq"] + 5 * of_all["stoi"] + of_all["si_sdr"] / 10
        of_groups = {
            f"{name}/{group}": float(value)
            for group, row in zip(self.groups, table[1:], strict=True)
            for name, value in zip(self.names, row, strict=True)
            if not math.isnan(value)
        }
        of_all |= {"loss": loss / items if items else math.nan, "unscored": unscored}
        return of_all, of_groups
