"""The report as data and as text: JSON, CSV, Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from ..manifest import Manifest
from ..metadata import Metadata, spreadsheet_cell
from ..metrics import BY_NAME, Metric
from ..rows import NOISY, Row
from ..statistics import PairedTest, Summary
from ..summary import EvaluationSummary, scores_by_file

# En dash: what stands where there is no score.
MISSING = "\u2013"


def to_json(manifest: Manifest, summary: EvaluationSummary, rows: Sequence[Row], metadata: Metadata) -> str:
    """Everything, as one object with ``manifest``, ``summary``, ``rows`` and ``metadata``."""
    data: dict[str, Any] = {
        "manifest": manifest.to_json(),
        "summary": summary.to_json(),
        "rows": [row.to_json() for row in rows],
        "metadata": {file: dict(values) for file, values in metadata.items()},
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def to_csv(rows: Sequence[Row], metrics: Sequence[str], metadata: Metadata) -> str:
    """One line per file, system and seed, with each metric's gain over the noisy input.

    An empty field is a score that does not exist; ``failures`` says why. Text that begins as a formula does, a file's
    name for instance, has an apostrophe before it.
    """
    noisy = {row.file: row.scores for row in rows if row.system == NOISY}
    columns = list(dict.fromkeys(column for values in metadata.values() for column in values))
    deltas = [f"delta_{name}" for name in metrics] if noisy else []
    head = ["file", "system", "seed", "status", "reason", *metrics, *deltas]
    head += ["seconds", "sample_rate", "channels", "peak", "lag_samples", "lag_ms", "lag_correlation"]
    head += ["real_time_factor", "warnings", "failures", *columns]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([spreadsheet_cell(name) for name in head])
    for row in rows:
        line: list[object] = [row.file, row.system, row.seed, row.status, row.reason]
        line += [_digits(row.scores.get(name)) for name in metrics]
        for name in metrics if noisy else ():
            before, after = noisy.get(row.file, {}).get(name), row.scores.get(name)
            known = before is not None and after is not None and row.system != NOISY
            line.append(_digits(after - before) if known else None)  # type: ignore[operator]
        line += [_digits(row.seconds), row.sample_rate, row.channels, _digits(row.peak)]
        line += [row.lag_samples, _digits(row.lag_ms), row.lag_correlation]
        factor = row.seconds_enhancing / row.seconds if row.seconds_enhancing and row.seconds else None
        line += [_digits(factor), " ".join(row.warnings)]
        line.append("; ".join(f"{name}: {failure.reason}" for name, failure in row.failures.items()))
        line += [metadata.get(row.file, {}).get(column) for column in columns]
        writer.writerow([spreadsheet_cell(value) for value in line])
    return stream.getvalue()


def to_markdown(manifest: Manifest, summary: EvaluationSummary, rows: Sequence[Row]) -> str:
    """What goes into a paper or a pull request."""
    systems = ", ".join(plain(s) for s in summary.systems if s != NOISY)
    parts = [f"# Evaluation of {systems or 'the noisy input'}"]
    parts.append(
        f"{summary.files} files. Mean over files with a 95 % interval ({manifest.interval}). "
        f"audio-enh {manifest.audio_enh}, {manifest.created}."
    )
    parts += [f"**Note:** {plain(warning)}." for warning in manifest.warnings]
    parts.append(_main_table(summary))
    if summary.against_noisy:
        parts.append("## Gain over the noisy input\n\n" + _gain_table(summary))
    if any(summary.harm.values()):
        from .harm import NOTE, harm_table

        parts.append(f"## Files made worse\n\n{NOTE}\n\n{harm_table(summary)}")
    for column, groups in summary.groups.items():
        parts.append(f"## By {plain(column)}\n\n" + _group_table(summary, groups))
    if any(summary.failures.values()):
        parts.append("## Failures\n\n" + _failure_table(summary, rows))
    if summary.seeds:
        parts.append("## Spread over seeds\n\n" + _seed_table(summary))
    if summary.speed:
        parts.append("## Speed\n\n" + _speed_table(summary))
    if summary.primary is not None:
        parts.append(f"## Worst files by {BY_NAME[summary.primary].label}\n\n" + _worst_table(summary, rows))
    parts.append(f"Command: {plain(' '.join(manifest.command))}")
    return "\n\n".join(parts) + "\n"


def decimals(metric: Metric) -> int:
    """Digits after the point that papers print: scores of 0 to 1 need one more."""
    return 3 if metric.bounds == (0.0, 1.0) else 2


def label(metric: Metric) -> str:
    """Name, unit where it is dB, and the better direction."""
    unit = f" ({metric.unit})" if metric.unit == "dB" else ""
    return f"{metric.label}{unit} {'↑' if metric.higher_is_better else '↓'}"


def number(value: float | None, metric: Metric, sign: bool = False) -> str:
    """A score as printed; a dash where there is none."""
    if value is None:
        return MISSING
    return f"{value:{'+' if sign else ''}.{decimals(metric)}f}"


def interval(low: float | None, high: float | None, metric: Metric, sign: bool = False) -> str:
    """``[low, high]``, empty where there is none."""
    if low is None or high is None:
        return ""
    return f"[{number(low, metric, sign)}, {number(high, metric, sign)}]"


def p_value(value: float | None) -> str:
    """As papers print it."""
    if value is None:
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def plain(text: str) -> str:
    """Text as Markdown shows it to the letter, on one line: names and values of others are no HTML, links or bars."""
    one_line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return "".join(_ESCAPED.get(character, character) for character in one_line)


_ESCAPED = {**{c: f"\\{c}" for c in "\\`*[]|~"}, "<": "&lt;", ">": "&gt;", "&": "&amp;"}


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; names and values of others go through :func:`plain` first."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *(line(cells) for cells in body)])


def _mean(stat: Summary | None, metric: Metric, files: int) -> str:
    """Mean, interval, and the number of files with a score where some have none."""
    if stat is None:
        return MISSING
    text = f"{number(stat.mean, metric)} {interval(stat.low, stat.high, metric)}".strip()
    return text if stat.count == files else f"{text} (n={stat.count})"


def _main_table(summary: EvaluationSummary) -> str:
    body = [
        [
            plain(system),
            *(
                _mean(summary.scores[system].get(name), BY_NAME[name], summary.files)
                for name in summary.metrics
            ),
        ]
        for system in summary.systems
    ]
    return markdown_table(["system", *(label(BY_NAME[name]) for name in summary.metrics)], body)


def _gain_table(summary: EvaluationSummary) -> str:
    def cells(system: str, name: str, test: PairedTest) -> list[str]:
        metric = BY_NAME[name]
        gain = number(test.difference, metric, sign=True)
        return [
            plain(system),
            label(metric),
            f"{gain} {interval(test.low, test.high, metric, sign=True)}".strip(),
            f"{test.win_rate:.0%}",
            p_value(test.holm_p),
            str(test.count),
        ]

    head = ["system", "metric", "mean gain [95 % interval]", "files better", "p (Wilcoxon, Holm)", "files"]
    return markdown_table(
        head,
        [cells(s, name, test) for s, tests in summary.against_noisy.items() for name, test in tests.items()],
    )


def _group_table(summary: EvaluationSummary, groups: dict[str, dict[str, dict[str, Summary]]]) -> str:
    body = []
    for name_of_group, systems in groups.items():
        for system, scores in systems.items():
            count = max((stat.count for stat in scores.values()), default=0)
            means = [_mean(scores.get(name), BY_NAME[name], count) for name in summary.metrics]
            body.append([plain(name_of_group), plain(system), str(count), *means])
    return markdown_table(
        ["group", "system", "files", *(label(BY_NAME[name]) for name in summary.metrics)], body
    )


def _failure_table(summary: EvaluationSummary, rows: Sequence[Row]) -> str:
    counts = [
        [plain(system), plain(reason), str(count)]
        for system, reasons in summary.failures.items()
        for reason, count in reasons.items()
    ]
    files = [
        f"- {plain(row.system)}{'' if row.seed is None else f' (seed {row.seed})'} / {plain(row.file)}: "
        + "; ".join(
            f"{', '.join(names)}: {plain(detail)}" for detail, names in failures_by_detail(row).items()
        )
        for row in rows
        if row.failures
    ]
    return markdown_table(["system", "reason", "files"], counts) + "\n\n" + "\n".join(files)


def failures_by_detail(row: Row) -> dict[str, list[str]]:
    """Labels of the metrics without a score, by what is wrong."""
    result: dict[str, list[str]] = {}
    for name, failure in row.failures.items():
        result.setdefault(f"{failure.reason}, {failure.detail}", []).append(BY_NAME[name].label)
    return result


def _seed_table(summary: EvaluationSummary) -> str:
    body = [
        [
            plain(system),
            label(BY_NAME[name]),
            ", ".join(f"{seed}: {number(mean, BY_NAME[name])}" for seed, mean in spread.means.items()),
            f"{spread.std_of_means:.4f}",
            f"{spread.std_within_files:.4f}",
        ]
        for system, spreads in summary.seeds.items()
        for name, spread in spreads.items()
    ]
    return markdown_table(["system", "metric", "mean by seed", "std of the means", "std within files"], body)


def _speed_table(summary: EvaluationSummary) -> str:
    body = [
        [
            plain(system),
            f"{speed.real_time_factor:.3f}",
            f"{speed.median:.3f} / {speed.p95:.3f}",
            f"{speed.peak_memory_mb:.0f} MB",
            f"{speed.seconds_audio:.0f} s",
            plain(speed.device),
        ]
        for system, speed in summary.speed.items()
    ]
    head = ["system", "real-time factor", "median / p95 of files", "peak memory", "audio", "device"]
    return markdown_table(head, body)


def _worst_table(summary: EvaluationSummary, rows: Sequence[Row]) -> str:
    assert summary.primary is not None
    metric = BY_NAME[summary.primary]

    def scores_of(system: str) -> dict[str, float]:
        return scores_by_file([row for row in rows if row.system == system], [metric.name])[metric.name]

    noisy = scores_of(NOISY)
    body = []
    for system in summary.systems:
        if system == NOISY and len(summary.systems) > 1:
            continue
        scores = scores_of(system)
        for file in summary.worst.get(system, []):
            body.append(
                [plain(system), plain(file), number(scores[file], metric), number(noisy.get(file), metric)]
            )
    return markdown_table(["system", "file", metric.label, "noisy"], body)


def _digits(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"
