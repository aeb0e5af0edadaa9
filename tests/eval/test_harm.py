"""Files made worse: counted with the direction and the tolerance of each metric, named, and told everywhere."""

from __future__ import annotations

import json

import pytest

from audio_enh.eval.harm import NAMED, harm_by_metric
from audio_enh.eval.report.harm import harm_lines, harm_matrix, harm_rows, harm_table
from audio_enh.eval.rows import Row
from audio_enh.eval.summary import EvaluationSummary, summarise_rows


def summary_of(**after: dict[str, list[float]]) -> EvaluationSummary:
    """Ten files with a score of 2.0 before, and what systems make of them."""
    metrics = next(iter(after.values()))
    rows = [Row(f"f{i}", "noisy", None, "ok", dict.fromkeys(metrics, 2.0)) for i in range(10)]
    for system, scores in after.items():
        rows += [
            Row(f"f{i}", system, None, "ok", {name: values[i] for name, values in scores.items()})
            for i in range(len(next(iter(scores.values()))))
        ]
    return summarise_rows(rows)


def test_worse_is_counted_beyond_rounding_and_the_worst_are_first() -> None:
    after = [3.0] * 4 + [2.0, 2.0 - 5e-5, 1.9, 1.5, 1.7, 1.99]
    harm = summary_of(out={"pesq_wb": after}).harm["out"]["pesq_wb"]
    assert (harm.count, harm.worse, harm.share) == (10, 4, 0.4)
    assert harm.loss == pytest.approx((0.1 + 0.5 + 0.3 + 0.01) / 4)
    assert harm.worst == (("f7", 2.0, 1.5), ("f8", 2.0, 1.7), ("f6", 2.0, 1.9))
    assert len(harm.worst) == NAMED


def test_the_interval_is_wilsons() -> None:
    harm = summary_of(out={"pesq_wb": [1.0] + [3.0] * 9}).harm["out"]["pesq_wb"]
    z, n, p = 1.959963985, 10, 0.1
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert (harm.low, harm.high) == pytest.approx((centre - half, centre + half))
    none = summary_of(out={"pesq_wb": [3.0] * 10}).harm["out"]["pesq_wb"]
    assert (none.worse, none.low, none.loss, none.worst) == (0, 0.0, None, ())
    assert none.high == pytest.approx(z**2 / (n + z**2))


def test_more_wrong_words_are_harm() -> None:
    harm = summary_of(out={"dwer": [2.5, 1.5] + [2.0] * 8}).harm["out"]["dwer"]
    assert (harm.worse, harm.loss, harm.worst) == (1, pytest.approx(0.5), (("f0", 2.0, 2.5),))


def test_only_files_with_both_scores_count() -> None:
    before = {"pesq_wb": {"a": 2.0, "b": 2.0}, "stoi": {"a": 0.5}}
    harms = harm_by_metric(before, {"pesq_wb": {"a": 1.0, "c": 1.0}, "stoi": {}})
    assert list(harms) == ["pesq_wb"]
    assert (harms["pesq_wb"].count, harms["pesq_wb"].worse) == (1, 1)


def test_it_is_told_in_every_form() -> None:
    summary = summary_of(
        **{
            "a|b": {"pesq_wb": [1.0] * 3 + [3.0] * 7, "stoi": [3.0] * 10},
            "part": {"pesq_wb": [1.0, 3.0], "stoi": [1.0, 1.0]},
        }
    )
    assert harm_lines(summary) == [
        "a|b: 3 of 10 files got worse in PESQ-WB, 0 in STOI",
        "part: 1 of 2 files got worse in PESQ-WB, 2 of 2 in STOI",
    ]
    table = harm_table(summary)
    assert "| a\\|b | PESQ-WB ↑ | 3 of 10 | 30% [11, 60] | 1.00 | f0: 2.00, 1.00 |" in table
    assert "| a\\|b | STOI ↑ | 0 of 10 | 0% [0, 28] | \u2013 |  |" in table
    assert harm_matrix(summary, ["a|b"]).splitlines()[-1] == "| a\\|b | 30% [11, 60] | 0% [0, 28] |"
    assert len(harm_rows(summary)) == 4
    assert json.loads(json.dumps(summary.to_json()))["harm"]["part"]["stoi"]["worse"] == 2


def test_without_an_input_nothing_is_said() -> None:
    summary = summarise_rows([Row("a", "out", None, "ok", {"pesq_wb": 2.0})])
    assert summary.harm == {}
    assert harm_lines(summary) == []
    assert harm_rows(summary) == []
