"""From rows to what a paper prints: tables, failures, worst files, spread over seeds, speed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from .harm import Harm, harm_by_metric
from .metadata import Metadata, group_labels, sort_labels
from .metrics import BY_NAME, in_order
from .rows import NOISY, Row
from .runs import Processed
from .statistics import PairedTest, Summary, holm, paired_test, summarise

WORST = 10
INPUT_SNR = "input SNR (dB)"
# What a system is judged by first, where it was measured.
_PRIMARY = ("pesq_wb", "si_sdr", "pesq_nb", "dnsmos_ovrl")


@dataclass(frozen=True)
class SeedSpread:
    """A generative system over its seeds, one metric.

    Attributes:
        means: mean over files, by seed.
        std_of_means: standard deviation of these: how far a published mean is luck.
        std_within_files: standard deviation over seeds on one file, mean over files.
    """

    means: dict[str, float]
    std_of_means: float
    std_within_files: float


@dataclass(frozen=True)
class Speed:
    """Cost of a system's enhancement.

    Attributes:
        real_time_factor: computing time over length of the audio, all files together; under 1 is faster than
            real time.
        median, p95: of the files' own factors.
        peak_memory_mb: resident (on CUDA: device) memory at most.
    """

    real_time_factor: float
    median: float
    p95: float
    peak_memory_mb: float
    seconds_audio: float
    seconds_computing: float
    device: str


@dataclass
class EvaluationSummary:
    """All that is said about an evaluation; see the fields' types.

    Attributes:
        systems: in order, ``noisy`` first where there is one.
        metrics: names, in the order of ``METRICS``.
        primary: the metric by which files are called worst and best.
        files: number of files.
        scores: system, metric: over files; a file's score is its mean over seeds.
        against_noisy: system, metric: paired test against the unprocessed input.
        harm: system, metric: files that got worse than the unprocessed input.
        groups: column, label, system, metric.
        failures: system, reason: number of rows in which some metric failed for this reason.
        metric_failures: system, metric, reason: number of rows.
        warnings: system, code: number of rows.
        worst, best: system: files by the primary metric, the worst (best) first.
        seeds: system, metric: spread over seeds, where there are several.
        speed: system: where it was enhanced here.
        lag_samples: system: smallest, median and largest lag.
    """

    systems: list[str]
    metrics: list[str]
    primary: str | None
    files: int
    scores: dict[str, dict[str, Summary]] = field(default_factory=dict)
    against_noisy: dict[str, dict[str, PairedTest]] = field(default_factory=dict)
    harm: dict[str, dict[str, Harm]] = field(default_factory=dict)
    groups: dict[str, dict[str, dict[str, dict[str, Summary]]]] = field(default_factory=dict)
    failures: dict[str, dict[str, int]] = field(default_factory=dict)
    metric_failures: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    warnings: dict[str, dict[str, int]] = field(default_factory=dict)
    worst: dict[str, list[str]] = field(default_factory=dict)
    best: dict[str, list[str]] = field(default_factory=dict)
    seeds: dict[str, dict[str, SeedSpread]] = field(default_factory=dict)
    speed: dict[str, Speed] = field(default_factory=dict)
    lag_samples: dict[str, tuple[int, float, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def summarise_rows(
    rows: Sequence[Row],
    metadata: Metadata | None = None,
    group_by: Sequence[str] = (),
    enhanced: Mapping[str, Sequence[Processed]] | None = None,
) -> EvaluationSummary:
    """Summarise an evaluation.

    Args:
        rows: all of it; failures are counted, not averaged.
        metadata: by file key.
        group_by: columns of the metadata; the input SNR is always a column when there is a noisy system.
        enhanced: by system, what the enhancement took.
    """
    systems = list(dict.fromkeys(row.system for row in rows))
    measured = [name for row in rows for name in (*row.scores, *row.failures)]
    metrics = in_order(measured)
    by_system = {system: [row for row in rows if row.system == system] for system in systems}
    primary = next((name for name in _PRIMARY if name in metrics), metrics[0] if metrics else None)
    result = EvaluationSummary(systems, metrics, primary, len({row.file for row in rows}))
    scores = {system: scores_by_file(by_system[system], metrics) for system in systems}

    for system in systems:
        result.scores[system] = _summaries(scores[system])
        _count(by_system[system], system, result)
        if primary is not None:
            ranked = _ranked(scores[system][primary], primary)
            result.worst[system], result.best[system] = ranked[:WORST], ranked[::-1][:WORST]
        spread = {
            name: each for name in metrics if (each := seed_spread(by_system[system], name)) is not None
        }
        if spread:
            result.seeds[system] = spread
        if system != NOISY and NOISY in systems:
            result.against_noisy[system] = compare_scores(scores[NOISY], scores[system])
            result.harm[system] = harm_by_metric(scores[NOISY], scores[system])
        if enhanced is not None and system in enhanced and (speed := _speed(enhanced[system])) is not None:
            result.speed[system] = speed
    for column, labels in _group_columns(rows, metadata or {}, group_by).items():
        result.groups[column] = {
            label: {
                system: _summaries(
                    {
                        name: {file: value for file, value in files.items() if labels.get(file) == label}
                        for name, files in scores[system].items()
                    }
                )
                for system in systems
            }
            for label in sort_labels(set(labels.values()))
        }
    return result


def scores_by_file(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, dict[str, float]]:
    """Metric, file: score of one system, the mean over its seeds (seeds of one file are not independent
    files). A file whose score is missing for some seed has none: the mean would be of the easier samples.
    """
    collected: dict[str, dict[str, list[float | None]]] = {name: {} for name in metrics}
    for row in rows:
        for name in metrics:
            collected[name].setdefault(row.file, []).append(row.scores.get(name))
    return {
        name: {
            file: float(np.mean(present))
            for file, values in files.items()
            if len(present := [value for value in values if value is not None]) == len(values)
        }
        for name, files in collected.items()
    }


def compare_scores(
    first: Mapping[str, Mapping[str, float]], second: Mapping[str, Mapping[str, float]]
) -> dict[str, PairedTest]:
    """Paired tests of two systems for the metrics both have, on the files both have, adjusted for their
    number.

    Args:
        first, second: metric, file: score; see ``scores_by_file``.
    """
    tests: dict[str, PairedTest] = {}
    for metric in (BY_NAME[name] for name in in_order(first)):
        if metric.name in second:
            files = [file for file in first[metric.name] if file in second[metric.name]]
            test = paired_test(
                [first[metric.name][file] for file in files],
                [second[metric.name][file] for file in files],
                metric.higher_is_better,
                tolerance=metric.tolerance,
            )
            if test is not None:
                tests[metric.name] = test
    tested = {name: test.wilcoxon_p for name, test in tests.items() if test.wilcoxon_p is not None}
    for name, adjusted in zip(tested, holm(tested.values()), strict=True):
        tests[name] = replace(tests[name], holm_p=adjusted)
    return tests


def seed_spread(rows: Sequence[Row], metric: str) -> SeedSpread | None:
    """Spread over seeds; None when there are fewer than two."""
    by_seed: dict[int, dict[str, float]] = {}
    for row in rows:
        if row.seed is not None and metric in row.scores:
            by_seed.setdefault(row.seed, {})[row.file] = row.scores[metric]
    if len(by_seed) < 2:
        return None
    files = set.intersection(*(set(scores) for scores in by_seed.values()))
    if not files:
        return None
    table = np.array([[scores[file] for file in sorted(files)] for scores in by_seed.values()])
    means = {str(seed): float(mean) for seed, mean in zip(by_seed, table.mean(1), strict=True)}
    return SeedSpread(means, float(table.mean(1).std(ddof=1)), float(table.std(0, ddof=1).mean()))


def _summaries(scores: Mapping[str, Mapping[str, float]]) -> dict[str, Summary]:
    result = {}
    for name, files in scores.items():
        summary = summarise(list(files.values()), bounds=BY_NAME[name].bounds)
        if summary is not None:
            result[name] = summary
    return result


def _count(rows: Sequence[Row], system: str, result: EvaluationSummary) -> None:
    by_reason: Counter[str] = Counter()
    by_metric: dict[str, Counter[str]] = {}
    for row in rows:
        by_reason.update({failure.reason for failure in row.failures.values()})
        for name, failure in row.failures.items():
            by_metric.setdefault(name, Counter())[failure.reason] += 1
    result.failures[system] = dict(by_reason.most_common())
    result.metric_failures[system] = {name: dict(counts.most_common()) for name, counts in by_metric.items()}
    result.warnings[system] = dict(Counter(code for row in rows for code in row.warnings).most_common())
    lags = [row.lag_samples for row in rows if row.lag_samples is not None]
    if lags:
        result.lag_samples[system] = (min(lags), float(np.median(lags)), max(lags))


def _ranked(scores: Mapping[str, float], metric: str) -> list[str]:
    """Files, the worst first; equal ones by name."""
    higher = BY_NAME[metric].higher_is_better
    return sorted(scores, key=lambda file: (scores[file] if higher else -scores[file], file))


def _group_columns(
    rows: Sequence[Row], metadata: Metadata, group_by: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Column, file: label."""
    columns = {
        column: group_labels({file: values.get(column, "") for file, values in metadata.items()})
        for column in group_by
    }
    input_snr = {row.file: f"{row.input_snr_db:.4f}" for row in rows if row.input_snr_db is not None}
    labels = group_labels(input_snr, max_values=0)
    if len(set(labels.values())) > 1 and not any(column.lower().startswith("snr") for column in columns):
        columns[INPUT_SNR] = labels
    return columns


def _speed(enhanced: Sequence[Processed]) -> Speed | None:
    done = [each for each in enhanced if each.error is None and each.seconds_audio > 0]
    if not done:
        return None
    factors = [each.seconds_wall / each.seconds_audio for each in done]
    audio, computing = sum(e.seconds_audio for e in done), sum(e.seconds_wall for e in done)
    return Speed(
        real_time_factor=computing / audio,
        median=float(np.median(factors)),
        p95=float(np.percentile(factors, 95)),
        peak_memory_mb=max(each.peak_memory_mb for each in done),
        seconds_audio=audio,
        seconds_computing=computing,
        device=done[0].device,
    )
