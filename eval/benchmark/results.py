"""What a benchmark found: costs beside scores, as JSON and as tables."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..manifest import Manifest
from ..report.harm import NOTE, harm_matrix, harm_table
from ..report.tables import BY_NAME, MISSING, interval, label, markdown_table, number, plain
from ..rows import NOISY
from ..runs import Processed, Run, System
from ..summary import EvaluationSummary


@dataclass(frozen=True)
class Cost:
    """What enhancing took, on one core.

    Attributes:
        real_time_factor: time of the processor over length of the audio, all files together.
        real_time_factor_wall: the same by the clock, in which other programs show.
        peak_memory_mb: largest resident size of the process, interpreter and libraries included.
        weight_bytes: of the files with the weights; None where there are none.
        seconds_audio: enhanced in all.
    """

    real_time_factor: float
    real_time_factor_wall: float
    peak_memory_mb: float
    weight_bytes: int | None
    seconds_audio: float


@dataclass(frozen=True)
class Participant:
    """A system that took part.

    Attributes:
        system: which.
        packages: installed for it, name to version; empty for this project's own.
        cost: None when it enhanced nothing.
        failure: why it is not in the table.
        failed_files: reason by file, where single files failed.
    """

    system: System
    packages: Mapping[str, str]
    cost: Cost | None = None
    failure: str | None = None
    failed_files: Mapping[str, str] | None = None


def cost_of(run: Run) -> Cost | None:
    """Sum over the files that were enhanced; None when there are none."""
    done: list[Processed] = [each for each in run.files if each.error is None and each.seconds_audio > 0]
    if not done:
        return None
    audio = sum(each.seconds_audio for each in done)
    return Cost(
        real_time_factor=sum(each.seconds_processor for each in done) / audio,
        real_time_factor_wall=sum(each.seconds_wall for each in done) / audio,
        peak_memory_mb=max(each.peak_memory_mb for each in done),
        weight_bytes=run.weight_bytes,
        seconds_audio=audio,
    )


def to_json(
    entries: Sequence[Participant], summary: EvaluationSummary, manifest: Manifest, machine: str
) -> str:
    """Everything but the rows, which are in ``report.json``."""
    systems = []
    for entry in entries:
        system = entry.system
        name = system.name
        systems.append(
            {
                "name": name,
                "kind": system.kind,
                "source": system.source,
                "licence": system.licence,
                "sample_rate": system.sample_rate,
                "delay_taken_out": system.delay,
                "latency_ms": system.latency_ms,
                "parameters": system.parameters,
                "weights_sha256": system.weights_sha256,
                "requirements": [*system.requirements, *system.without_dependencies],
                "packages": dict(entry.packages),
                "failure": entry.failure,
                "failed_files": dict(entry.failed_files or {}),
                "cost": None if entry.cost is None else vars(entry.cost),
                "lag_samples": summary.lag_samples.get(name),
                "scores": {metric: vars(each) for metric, each in summary.scores.get(name, {}).items()},
                "gains": {metric: vars(each) for metric, each in summary.against_noisy.get(name, {}).items()},
                "harm": {metric: asdict(each) for metric, each in summary.harm.get(name, {}).items()},
                "groups": {
                    column: {
                        value: {metric: vars(each) for metric, each in scores.get(name, {}).items()}
                        for value, scores in groups.items()
                    }
                    for column, groups in summary.groups.items()
                },
            }
        )
    data: dict[str, Any] = {
        "machine": machine,
        "manifest": manifest.to_json(),
        "files": summary.files,
        "noisy": {metric: vars(each) for metric, each in summary.scores.get(NOISY, {}).items()},
        "systems": systems,
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def to_markdown(entries: Sequence[Participant], summary: EvaluationSummary, machine: str) -> str:
    """The table with costs, what failed, and tables by group."""
    best = {name: _best(summary, name) for name in summary.metrics}
    head = ["", *(label(BY_NAME[name]) for name in summary.metrics)]
    head += ["real-time factor", "latency (ms)", "parameters", "weights", "memory"]
    body = [[NOISY, *_scores(NOISY, summary, best), *([MISSING] * 5)]]
    body += [
        [
            plain(entry.system.name),
            *_scores(entry.system.name, summary, best),
            *_costs(entry.system, entry.cost),
        ]
        for entry in _ranked(entries, summary)
    ]
    parts = [
        markdown_table(head, body),
        f"{summary.files} files, mean and 95 % interval; bold: the best mean. Real-time factor: time of the "
        f"processor over that of the audio, one core of {plain(machine)}, with the resampling to and from the "
        "system's rate. Latency: frame, stride and look-ahead; a dash: the system takes whole recordings. Memory: "
        "peak of the process.",
    ]
    if failed := troubles(entries, summary):
        parts.append(
            "Not in the table, or not with all files:\n\n" + "\n".join(f"- {plain(line)}" for line in failed)
        )
    names = [entry.system.name for entry in _ranked(entries, summary)]
    if names:
        parts.append(
            f"### Files made worse\n\n{NOTE}\n\n{harm_matrix(summary, names)}\n\n{harm_table(summary)}"
        )
    for column, groups in summary.groups.items():
        for name in summary.metrics:
            parts.append(
                f"### {label(BY_NAME[name])} by {plain(column)}\n\n{_group_table(entries, summary, groups, name)}"
            )
    return "\n\n".join(parts) + "\n"


def overview(entries: Sequence[Participant], summary: EvaluationSummary) -> list[list[str]]:
    """Head and rows of a table for a terminal: a mean for each metric, real-time factor and latency in ms."""
    rows = [["", *(label(BY_NAME[name]) for name in summary.metrics), "RTF", "latency"]]
    costs = {entry.system.name: _costs(entry.system, entry.cost)[:2] for entry in _ranked(entries, summary)}
    for name in (NOISY, *costs):
        means = [summary.scores.get(name, {}).get(metric) for metric in summary.metrics]
        numbers = [
            number(None if m is None else m.mean, BY_NAME[x])
            for x, m in zip(summary.metrics, means, strict=True)
        ]
        rows.append([name, *numbers, *costs.get(name, [MISSING] * 2)])
    return rows


def troubles(entries: Sequence[Participant], summary: EvaluationSummary) -> list[str]:
    """A line for each system that has no scores, or not of all files."""
    lines = [
        f"{entry.system.name}: {textwrap.shorten(entry.failure, 160)}"
        for entry in entries
        if entry.failure is not None
    ]
    return lines + [
        f"{entry.system.name}: {len(entry.failed_files)} of {summary.files} files, such as {file}: {reason}"
        for entry in entries
        if entry.failed_files
        for file, reason in list(entry.failed_files.items())[:1]
    ]


def _ranked(entries: Sequence[Participant], summary: EvaluationSummary) -> list[Participant]:
    """This project's models, then the peers, each as they come; without those that failed altogether."""
    present = [entry for entry in entries if entry.cost is not None and entry.system.name in summary.systems]
    return sorted(present, key=lambda entry: entry.system.kind == "peer")


def _best(summary: EvaluationSummary, metric: str) -> float | None:
    means = [
        scores[metric].mean for name, scores in summary.scores.items() if name != NOISY and metric in scores
    ]
    if not means:
        return None
    return max(means) if BY_NAME[metric].higher_is_better else min(means)


def _scores(name: str, summary: EvaluationSummary, best: Mapping[str, float | None]) -> list[str]:
    cells = []
    for metric in summary.metrics:
        stat = summary.scores.get(name, {}).get(metric)
        if stat is None:
            cells.append(MISSING)
            continue
        mean = number(stat.mean, BY_NAME[metric])
        if name != NOISY and stat.mean == best[metric]:
            mean = f"**{mean}**"
        missing = "" if stat.count == summary.files else f"(n={stat.count})"
        cells.append(" ".join([mean, interval(stat.low, stat.high, BY_NAME[metric]), missing]).strip())
    return cells


def _costs(system: System, cost: Cost | None) -> list[str]:
    if cost is None:
        return [MISSING] * 5
    return [
        f"{cost.real_time_factor:.2g}",
        MISSING if system.latency_ms is None else f"{system.latency_ms:g}",
        MISSING if system.parameters is None else f"{system.parameters / 1e6:.2f} M",
        MISSING if cost.weight_bytes is None else f"{cost.weight_bytes / 1e6:.1f} MB",
        f"{cost.peak_memory_mb:.0f} MB",
    ]


def _group_table(
    entries: Sequence[Participant], summary: EvaluationSummary, groups: Mapping[str, Any], metric: str
) -> str:
    names = [NOISY, *(entry.system.name for entry in _ranked(entries, summary))]
    body = []
    for name in names:
        means = [systems.get(name, {}).get(metric) for systems in groups.values()]
        body.append([plain(name), *(number(stat and stat.mean, BY_NAME[metric]) for stat in means)])
    return markdown_table(["", *map(plain, groups)], body)
