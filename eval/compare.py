"""Two evaluations side by side: do the systems differ, and by how much?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from audio_enh.errors import UserError

from .metrics import in_order
from .report.tables import BY_NAME, interval, label, number, p_value
from .rows import NOISY, Row
from .statistics import PairedTest
from .summary import compare_scores, scores_by_file


@dataclass(frozen=True)
class LoadedReport:
    """A ``report.json`` read back."""

    path: Path
    manifest: Mapping[str, Any]
    rows: Sequence[Row]

    @property
    def systems(self) -> list[str]:
        return list(dict.fromkeys(row.system for row in self.rows))


@dataclass
class Comparison:
    """System B against system A.

    Attributes:
        a, b: what they are called.
        files: files that both evaluations have.
        tests: by metric; only files with a score in both count, see ``PairedTest.count``.
        without_score: metric to the number of files left out because A, B or both have no score.
        notes: what makes the comparison less than perfect.
    """

    a: str
    b: str
    files: int
    tests: dict[str, PairedTest]
    without_score: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def load_report(path: Path) -> LoadedReport:
    """Read a ``report.json``, or that of a folder.

    Raises:
        UserError: there is none, or it is not one.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return LoadedReport(file, data["manifest"], [Row.from_json(row) for row in data["rows"]])
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; `audio-enh evaluate` writes it") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file} is not a report of `audio-enh evaluate`: {error}") from error


def compare_reports(
    first: LoadedReport,
    second: LoadedReport,
    system_a: str | None = None,
    system_b: str | None = None,
    common: bool = False,
) -> Comparison:
    """Compare a system of one report with a system of another (or of the same).

    Args:
        system_a, system_b: may be left out where there is one beside the noisy input.
        common: compare on the files both have, when they are not the same files.

    Raises:
        UserError: unknown system, other files, or other references.
    """
    name_a, name_b = _system(first, system_a, "--system-a"), _system(second, system_b, "--system-b")
    if first.path.resolve() == second.path.resolve() and name_a == name_b:
        raise UserError(f"{name_a} of {first.path} is compared with itself: see --system-a, --system-b")
    rows_a = [row for row in first.rows if row.system == name_a]
    rows_b = [row for row in second.rows if row.system == name_b]
    files_a, files_b = {row.file for row in rows_a}, {row.file for row in rows_b}
    shared = files_a & files_b
    notes = []
    if files_a != files_b:
        surplus = f"{len(files_a - shared)} files are only in A and {len(files_b - shared)} only in B"
        if not common or not shared:
            hint = "" if not shared else ": see --common"
            raise UserError(f"not the same files: {surplus}, {len(shared)} in both{hint}")
        notes.append(f"{surplus}; compared are the {len(shared)} in both")
    _refuse_other_references(rows_a, rows_b)
    metrics = in_order(name for row in (*rows_a, *rows_b) for name in row.scores)
    scores_a = scores_by_file([row for row in rows_a if row.file in shared], metrics)
    scores_b = scores_by_file([row for row in rows_b if row.file in shared], metrics)
    measured = [name for name in metrics if scores_a[name] and scores_b[name]]
    tests = compare_scores({m: scores_a[m] for m in measured}, {m: scores_b[m] for m in measured})
    left_out = {name: len(shared) - test.count for name, test in tests.items() if test.count < len(shared)}
    if name_a == name_b:
        name_a, name_b = f"A ({name_a})", f"B ({name_b})"
    return Comparison(
        name_a, name_b, len(shared), tests, left_out, notes + _differing(first.manifest, second.manifest)
    )


def comparison_table(comparison: Comparison) -> list[list[str]]:
    """Head and lines: metric, mean of A, mean of B, difference with interval, win rate, p values, files."""
    head = ["metric", comparison.a, comparison.b, "B - A [95 % interval]", "B better"]
    table = [[*head, "p bootstrap", "p Wilcoxon", "p Holm", "files"]]
    for name, test in comparison.tests.items():
        metric = BY_NAME[name]
        gain = number(test.difference, metric, sign=True)
        table.append(
            [
                label(metric),
                number(test.mean_a, metric),
                number(test.mean_b, metric),
                f"{gain} {interval(test.low, test.high, metric, sign=True)}".strip(),
                f"{test.win_rate:.0%}",
                p_value(test.bootstrap_p),
                p_value(test.wilcoxon_p),
                p_value(test.holm_p),
                str(test.count),
            ]
        )
    return table


def _system(report: LoadedReport, wanted: str | None, option: str) -> str:
    systems = report.systems
    if wanted is not None:
        if wanted not in systems:
            raise UserError(f"{report.path} has no system {wanted!r}; it has {', '.join(systems)}")
        return wanted
    judged = [system for system in systems if system != NOISY] or systems
    if len(judged) != 1:
        raise UserError(f"{report.path} has {', '.join(judged)}: choose one with {option}")
    return judged[0]


def _refuse_other_references(rows_a: Sequence[Row], rows_b: Sequence[Row]) -> None:
    known = {row.file: row.sha256["reference"] for row in rows_a if "reference" in row.sha256}
    other = sorted(
        {
            row.file
            for row in rows_b
            if row.file in known and row.sha256.get("reference", known[row.file]) != known[row.file]
        }
    )
    if other:
        raise UserError(
            f"measured against other references: {', '.join(other[:5])} ({len(other)} files):"
            " the scores cannot be compared"
        )


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Notes on settings and packages that are not the same."""
    notes = []
    for key in ("align_ms", "trim_ms", "sample_rate"):
        a, b = first["settings"].get(key), second["settings"].get(key)
        if a != b:
            notes.append(f"{key} differs: {a} and {b}")
    for package in ("pesq", "pystoi", "speechmos", "onnxruntime", "soxr", "librosa"):
        a, b = first["packages"].get(package), second["packages"].get(package)
        if a != b:
            notes.append(f"{package} differs: {a} and {b}")
    return notes
