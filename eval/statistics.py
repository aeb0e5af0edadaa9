"""What scores of many files say: means with intervals, and whether two systems differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 5000
LEVEL = 0.95
# With fewer files no bootstrap interval keeps its promise: of 6 it covers 89 to 96 times in 100.
MIN_FOR_INTERVAL = 10
# Quantiles are limited to so many times Student's: of few files in two groups, a resample can miss one group,
# and its spread near zero, or zero, would make the interval absurdly wide.
_MAX_QUANTILE = 2.0
# Resampled values held at once, 32 MB.
_CHUNK = 4_000_000


@dataclass(frozen=True)
class Summary:
    """Scores of one metric.

    Attributes:
        count: files with a score; files without are counted elsewhere, never as a number.
        mean, median: of the scores.
        std: standard deviation, of the population the files are drawn from (n - 1).
        low, high: bootstrap 95 % interval of the mean; None with fewer than 10 files.
        minimum, maximum: smallest and largest score.
    """

    count: int
    mean: float
    median: float
    std: float
    low: float | None
    high: float | None
    minimum: float
    maximum: float


@dataclass(frozen=True)
class PairedTest:
    """System B against system A on the files both have a score for.

    Attributes:
        count: files compared.
        mean_a, mean_b: on these files.
        difference: mean of B minus A, with its 95 % interval ``low`` to ``high``.
        bootstrap_p: two-sided, of the mean difference being 0, by paired bootstrap; 0.05 or less exactly where the
            interval leaves out 0.
        wilcoxon_p: two-sided, Wilcoxon signed-rank test; None when all differences are 0.
        wins, ties, losses: files where B is better, equal (within the tolerance), worse.
        win_rate: ``(wins + ties / 2) / count``.
        holm_p: ``wilcoxon_p`` adjusted for the number of metrics tested (Holm 1979).
    """

    count: int
    mean_a: float
    mean_b: float
    difference: float
    low: float | None
    high: float | None
    bootstrap_p: float | None
    wilcoxon_p: float | None
    wins: int
    ties: int
    losses: int
    win_rate: float
    holm_p: float | None = None


def summarise(
    values: Sequence[float] | NDArray[np.float64],
    seed: int = 0,
    bounds: tuple[float | None, float | None] = (None, None),
) -> Summary | None:
    """Mean, median, spread and interval of scores; None when there are none.

    Args:
        values: ``(files,)``, finite.
        seed: of the bootstrap.
        bounds: smallest and largest possible score; the interval of the mean ends there.

    Raises:
        ValueError: a value that is not finite (an error code, a failure) is about to be averaged in.
    """
    scores = _finite(values)
    if scores.size == 0:
        return None
    low, high = bootstrap_mean(scores, seed=seed)
    if low is not None and bounds[0] is not None:
        low = min(max(low, bounds[0]), float(scores.mean()))
    if high is not None and bounds[1] is not None:
        high = max(min(high, bounds[1]), float(scores.mean()))
    return Summary(
        count=scores.size,
        mean=float(scores.mean()),
        median=float(np.median(scores)),
        std=float(scores.std(ddof=1)) if scores.size > 1 else 0.0,
        low=low,
        high=high,
        minimum=float(scores.min()),
        maximum=float(scores.max()),
    )


def bootstrap_mean(
    values: Sequence[float] | NDArray[np.float64],
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float | None, float | None]:
    """Symmetric studentised bootstrap interval of the mean (Hall, Annals of Statistics 1988; Efron 1981).

    Its half width is the quantile of ``|resampled mean - mean| / resampled standard error`` times the standard
    error. Of few scores that are skewed, heavy-tailed or tied, percentile, BCa and one-sided studentised quantiles
    cover the truth less often than this one; docs/evaluation.md has the numbers.

    Args:
        values: ``(files,)``; files are taken to be drawn independently.

    Returns:
        Lower and upper end; None with fewer than 10 values.
    """
    scores = _finite(values)
    if scores.size < MIN_FOR_INTERVAL:
        return None, None
    mean, error = scores.mean(), scores.std(ddof=1) / np.sqrt(scores.size)
    if error == 0:
        return float(mean), float(mean)
    deviations = np.sort(_studentised(scores, level, resamples, seed))
    # So many resamples may be as far off as the mean is from 0 for p to be 1 - level: see _bootstrap_p.
    beyond = max(1, int((1 - level) * (resamples + 1) + 1e-9))
    half = float(deviations[-beyond] * error)
    return float(mean - half), float(mean + half)


def paired_test(
    a: Sequence[float] | NDArray[np.float64],
    b: Sequence[float] | NDArray[np.float64],
    higher_is_better: bool = True,
    seed: int = 0,
    tolerance: float = 0.0,
) -> PairedTest | None:
    """Compare two systems file by file; None when there are no files.

    Args:
        a, b: ``(files,)``, finite, the same files in the same order.
        higher_is_better: otherwise a lower score wins.
        seed: of the bootstrap.
        tolerance: differences up to this are rounding, and count as none at all.
    """
    from scipy import stats

    first, second = _finite(a), _finite(b)
    if first.size != second.size:
        raise ValueError(f"paired scores differ in number: {first.size} and {second.size}")
    if first.size == 0:
        return None
    difference = second - first
    difference[np.abs(difference) <= tolerance] = 0
    low, high = bootstrap_mean(difference, seed=seed)
    better = difference if higher_is_better else -difference
    wins, losses = int((better > 0).sum()), int((better < 0).sum())
    ties = difference.size - wins - losses
    return PairedTest(
        count=difference.size,
        mean_a=float(first.mean()),
        mean_b=float(second.mean()),
        difference=float(difference.mean()),
        low=low,
        high=high,
        bootstrap_p=_bootstrap_p(difference, seed),
        wilcoxon_p=float(stats.wilcoxon(difference).pvalue) if np.any(difference) else None,
        wins=wins,
        ties=ties,
        losses=losses,
        win_rate=(wins + ties / 2) / difference.size,
    )


def holm(p_values: Iterable[float]) -> list[float]:
    """Holm's step-down adjustment (Scandinavian Journal of Statistics, 1979): with it, the chance of any
    false finding among all tests is at most the level."""
    values = np.array(list(p_values), dtype=float)
    order = np.argsort(values, kind="stable")
    factors = np.arange(values.size, 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return adjusted.tolist()


def _bootstrap_p(difference: NDArray[np.float64], seed: int) -> float | None:
    if difference.size < MIN_FOR_INTERVAL:
        return None
    error = difference.std(ddof=1) / np.sqrt(difference.size)
    if error == 0:
        return 1.0 if difference[0] == 0 else 1 / (RESAMPLES + 1)
    deviations = _studentised(difference, LEVEL, RESAMPLES, seed)
    extreme = np.count_nonzero(deviations >= abs(difference.mean() / error))
    return float((extreme + 1) / (deviations.size + 1))


def _studentised(scores: NDArray[np.float64], level: float, resamples: int, seed: int) -> NDArray[np.float64]:
    """``|resampled mean - mean| / resampled standard error``, at most the limit; ``(resamples,)``."""
    from scipy import stats

    centred = scores - scores.mean()
    means, spreads = (
        np.concatenate(parts) for parts in zip(*_moments(centred, resamples, seed), strict=True)
    )
    limit = _MAX_QUANTILE * stats.t.ppf((1 + level) / 2, scores.size - 1)
    # A resample of one score repeated says nothing of the spread: it is as far off as can be.
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.abs(means) / (spreads / np.sqrt(scores.size))
    return np.minimum(np.nan_to_num(deviations, nan=np.inf, posinf=np.inf), limit)


def _moments(
    centred: NDArray[np.float64], resamples: int, seed: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Means and standard deviations of resamples, in chunks of bounded memory."""
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // centred.size)
    for start in range(0, resamples, rows):
        shape = (min(rows, resamples - start), centred.size)
        drawn = centred[rng.integers(0, centred.size, shape, dtype=np.int32)]
        yield drawn.mean(1), drawn.std(1, ddof=1)


def _finite(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    scores = np.asarray(values, dtype=np.float64).reshape(-1)
    if not np.isfinite(scores).all():
        raise ValueError("a score that is not finite would be averaged in; count it as a failure")
    return scores
