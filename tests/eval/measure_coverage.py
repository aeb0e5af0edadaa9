"""How often 95 % intervals of the mean cover the truth: prints the table of docs/evaluation.md.

Run as ``python -m tests.eval.measure_coverage``; not a test, it takes minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audio_enh.eval.statistics import bootstrap_mean

RUNS = 1000
RESAMPLES = 1000
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
SHAPES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, n: rng.normal(0, 1, n), 0.0),
    "skewed (gamma 1.5)": (lambda rng, n: rng.gamma(1.5, 1, n), 1.5),
    "very skewed (exponential)": (lambda rng, n: rng.exponential(1, n), 1.0),
    "bounded (beta 9, 1)": (lambda rng, n: rng.beta(9, 1, n), 0.9),
    "two groups (30 % apart by 8 sd)": (
        lambda rng, n: rng.normal(0, 0.5, n) + 4 * (rng.random(n) < 0.3),
        1.2,
    ),
    "heavy tails (a tenth moves much)": (
        lambda rng, n: rng.normal(0, 0.05, n) + (rng.random(n) < 0.1) * rng.normal(0.5, 2, n),
        0.05,
    ),
    "ties (70 % exactly 0)": (lambda rng, n: np.where(rng.random(n) < 0.7, 0, rng.normal(0.3, 0.5, n)), 0.09),
}


def percentile_and_bca(values: NDArray[np.float64], rng: np.random.Generator) -> list[tuple[float, float]]:
    """Of the same resamples; BCa after Efron 1987."""
    means = values[rng.integers(0, values.size, (RESAMPLES, values.size))].mean(1)
    below = ((means < values.mean()).mean() + (means <= values.mean()).mean()) / 2
    bias = stats.norm.ppf(below)
    centred = values - values.mean()
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    z = bias + stats.norm.ppf([0.025, 0.975])
    tails = stats.norm.cdf(bias + z / (1 - acceleration * z))
    return [tuple(np.quantile(means, [0.025, 0.975])), tuple(np.quantile(means, tails))]


def main() -> None:
    sys.stdout.write("| scores | files | percentile | BCa | symmetric studentised |\n|---|---|---|---|---|\n")
    for name, (draw, truth) in SHAPES.items():
        for files in (10, 20, 50, 200):
            rng = np.random.default_rng(files)
            covered = np.zeros(3)
            for run in range(RUNS):
                values = draw(rng, files)
                intervals = [*percentile_and_bca(values, rng), bootstrap_mean(values, 0.95, RESAMPLES, run)]
                covered += [low <= truth <= high for low, high in intervals]
            cells = " | ".join(f"{100 * share:.1f}" for share in covered / RUNS)
            sys.stdout.write(f"| {name} | {files} | {cells} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
