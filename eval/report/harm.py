"""Files that got worse, as text and tables."""

from __future__ import annotations

from collections.abc import Sequence

from ..harm import Harm
from ..metrics import BY_NAME
from ..summary import EvaluationSummary
from .tables import MISSING, label, markdown_table, number, plain

NOTE = (
    "Share of the files that a system made worse than its input, beyond rounding, with Wilson's 95 % interval. Mean "
    "loss: over these files alone."
)
HEAD = ("system", "metric", "files made worse", "share [95 % interval]", "mean loss", "worst: before, after")


def harm_lines(summary: EvaluationSummary) -> list[str]:
    """For each system one sentence for a terminal: in how many files it lost, by each metric."""
    lines = []
    for system, harms in summary.harm.items():
        counts: list[str] = []
        for name, harm in harms.items():
            files = f" of {harm.count}" if harm.count != summary.files or not counts else ""
            files += " files got worse in" if not counts else " in"
            counts.append(f"{harm.worse}{files} {BY_NAME[name].label}")
        if counts:
            lines.append(f"{system}: {', '.join(counts)}")
    return lines


def harm_table(summary: EvaluationSummary) -> str:
    """A line for each system and metric, as Markdown, with the file that lost most."""
    body = [
        [plain(name), metric, *numbers, plain(worst)] for name, metric, *numbers, worst in harm_rows(summary)
    ]
    return markdown_table(HEAD, body)


def harm_rows(summary: EvaluationSummary) -> list[tuple[str, str, str, str, str, str]]:
    """Cells below :data:`HEAD`, a row for each system and metric; none where there is no input to compare with."""
    rows = []
    for system, harms in summary.harm.items():
        for name, harm in harms.items():
            metric = BY_NAME[name]
            worst = ""
            if harm.worst:
                file, before, after = harm.worst[0]
                worst = f"{file}: {number(before, metric)}, {number(after, metric)}"
            count = f"{harm.worse} of {harm.count}"
            rows.append((system, label(metric), count, _share(harm), number(harm.loss, metric), worst))
    return rows


def harm_matrix(summary: EvaluationSummary, systems: Sequence[str]) -> str:
    """A line for each of ``systems``, a column for each metric with the share of files made worse, as Markdown."""
    body = []
    for system in systems:
        harms = summary.harm.get(system, {})
        shares = [_share(harms[name]) if name in harms else MISSING for name in summary.metrics]
        body.append([plain(system), *shares])
    return markdown_table(["worse in", *(BY_NAME[name].label for name in summary.metrics)], body)


def _share(harm: Harm) -> str:
    return f"{harm.share:.0%} [{100 * harm.low:.0f}, {100 * harm.high:.0f}]"
