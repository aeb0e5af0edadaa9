"""Comparing two reports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from audio_enh.errors import UserError
from audio_enh.eval.compare import compare_reports, comparison_table, load_report
from audio_enh.eval.rows import Failure, Row


def report(
    path: Path,
    system: str,
    scores: dict[str, float | None],
    reference: str = "r",
    settings: dict | None = None,
) -> Path:
    """A report of one system and the noisy input."""
    rows = []
    for file, value in scores.items():
        for name, score in (("noisy", 0.0), (system, value)):
            row = Row(file, name, None, "ok", sha256={"reference": reference + file})
            if score is None:
                row.status, row.failures = "failed", {"si_sdr": Failure("silent_estimate", "silent")}
            else:
                row.scores = {"si_sdr": score, "lsd": 10 - score}
            rows.append(row.to_json())
    manifest = {"settings": {"align_ms": 0, **(settings or {})}, "packages": {"pesq": "0.0.4"}}
    path.write_text(json.dumps({"manifest": manifest, "rows": rows}))
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    level = rng.normal(10, 4, 40)
    a = report(tmp_path / "a.json", "old", {f"f{i}": level[i] for i in range(40)})
    b = report(tmp_path / "b.json", "new", {f"f{i}": level[i] + 0.5 + rng.normal(0, 0.4) for i in range(40)})
    return a, b


def test_small_gain_is_found(pair: tuple[Path, Path]) -> None:
    comparison = compare_reports(*(load_report(path) for path in pair))
    assert (comparison.a, comparison.b, comparison.files, comparison.notes) == ("old", "new", 40, [])
    gain, distance = comparison.tests["si_sdr"], comparison.tests["lsd"]
    assert 0.3 < gain.low < gain.difference < gain.high < 0.8
    assert gain.wilcoxon_p < 0.001
    assert gain.win_rate > 0.8
    assert distance.win_rate == gain.win_rate  # a smaller distance is better
    assert distance.difference == pytest.approx(-gain.difference)
    assert gain.holm_p >= gain.wilcoxon_p
    table = comparison_table(comparison)
    assert [len(line) for line in table] == [len(table[0])] * 3


def test_a_system_against_the_noisy_input_of_one_report(pair: tuple[Path, Path]) -> None:
    one = load_report(pair[0])
    comparison = compare_reports(one, one, system_a="noisy", system_b="old")
    assert comparison.tests["si_sdr"].mean_a == 0
    with pytest.raises(UserError, match="compared with itself"):
        compare_reports(one, one)
    with pytest.raises(UserError, match=r"no system 'older'; it has noisy, old"):
        compare_reports(one, one, system_a="older")


def test_failures_are_left_out_and_told(tmp_path: Path) -> None:
    values = {f"f{i}": float(i) for i in range(8)}
    a = load_report(report(tmp_path / "a.json", "s", values))
    b = load_report(report(tmp_path / "b.json", "s", {**values, "f0": None, "f7": 9.0}))
    comparison = compare_reports(a, b)
    assert comparison.tests["si_sdr"].count == 7
    assert comparison.without_score["si_sdr"] == 1
    assert comparison.tests["si_sdr"].mean_a == np.mean([1, 2, 3, 4, 5, 6, 7])
    assert (comparison.a, comparison.b) == ("A (s)", "B (s)")


def test_other_files_are_refused_or_reduced(tmp_path: Path) -> None:
    a = load_report(report(tmp_path / "a.json", "s", {"f0": 1.0, "f1": 2.0}))
    b = load_report(report(tmp_path / "b.json", "t", {"f1": 2.0, "f2": 2.0}))
    with pytest.raises(UserError, match="1 files are only in A and 1 only in B, 1 in both: see --common"):
        compare_reports(a, b)
    comparison = compare_reports(a, b, common=True)
    assert comparison.files == 1
    assert "only in A" in comparison.notes[0]


def test_other_references_are_refused_and_other_settings_told(tmp_path: Path) -> None:
    a = load_report(report(tmp_path / "a.json", "s", {"f0": 1.0}))
    other = load_report(report(tmp_path / "b.json", "t", {"f0": 1.0}, reference="q"))
    with pytest.raises(UserError, match="other references: f0"):
        compare_reports(a, other)
    aligned = load_report(report(tmp_path / "c.json", "t", {"f0": 1.0}, settings={"align_ms": 20}))
    assert compare_reports(a, aligned).notes == ["align_ms differs: 0 and 20"]


def test_no_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_report(tmp_path)
    (tmp_path / "x.json").write_text('{"rows": []}')
    with pytest.raises(UserError, match="not a report"):
        load_report(tmp_path / "x.json")
