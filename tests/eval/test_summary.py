"""From rows to tables: failures apart, seeds within files, groups, worst files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from audio_enh.errors import UserError
from audio_enh.eval.metadata import group_labels, groupable, read_metadata, sort_labels
from audio_enh.eval.rows import Failure, Row
from audio_enh.eval.runs import Processed
from audio_enh.eval.summary import INPUT_SNR, scores_by_file, summarise_rows


def row(
    file: str, system: str, seed: int | None = None, input_snr: float | None = None, **scores: float
) -> Row:
    return Row(file, system, seed, "ok", dict(scores), input_snr_db=input_snr)


def failed(file: str, system: str, reason: str, *metrics: str) -> Row:
    return Row(file, system, None, "failed", failures=dict.fromkeys(metrics, Failure(reason, reason)))


def test_failures_are_counted_by_reason_and_not_averaged() -> None:
    rows = [row(f"f{i}", "out", si_sdr=10.0 + i) for i in range(6)]
    rows.append(failed("f6", "out", "silent_estimate", "si_sdr", "stoi"))
    rows.append(failed("f7", "out", "unreadable", "si_sdr"))
    summary = summarise_rows(rows)
    assert summary.files == 8
    assert summary.scores["out"]["si_sdr"].count == 6
    assert summary.scores["out"]["si_sdr"].mean == 12.5
    assert "stoi" not in summary.scores["out"]
    assert summary.failures["out"] == {"silent_estimate": 1, "unreadable": 1}
    assert summary.metric_failures["out"]["si_sdr"] == {"silent_estimate": 1, "unreadable": 1}


def test_gain_is_over_files_that_both_have() -> None:
    rows = [row(f"f{i}", "noisy", si_sdr=float(i)) for i in range(8)]
    rows += [row(f"f{i}", "out", si_sdr=i + 2.0 + 0.1 * (i % 2)) for i in range(7)]
    rows.append(failed("f7", "out", "crashed", "si_sdr"))
    test = summarise_rows(rows).against_noisy["out"]["si_sdr"]
    assert test.count == 7
    assert test.difference == pytest.approx(2 + 0.3 / 7)
    assert test.win_rate == 1


def test_worst_and_best_follow_the_direction() -> None:
    rows = [row(f"f{i:02d}", "out", lsd=float(i)) for i in range(12)]
    summary = summarise_rows(rows)
    assert summary.primary == "lsd"
    assert summary.worst["out"] == [f"f{i:02d}" for i in range(11, 1, -1)]  # ten, a distance: large is bad
    assert summary.best["out"][0] == "f00"
    both = [row(f"f{i}", "out", lsd=1.0, pesq_wb=1.0 + i) for i in range(3)]
    assert summarise_rows(both).worst["out"][0] == "f0"


def test_seeds_are_averaged_within_files_and_their_spread_is_told() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(10, 3, 30)
    rows = [
        row(f"f{i}", "sgmse", seed, si_sdr=level[i] + 0.5 * rng.standard_normal())
        for seed in (0, 1, 2)
        for i in range(30)
    ]
    summary = summarise_rows(rows)
    stat = summary.scores["sgmse"]["si_sdr"]
    assert stat.count == 30  # files, not 90 samples: seeds of one file are not independent
    assert stat.high - stat.low > 1.5
    spread = summary.seeds["sgmse"]["si_sdr"]
    assert set(spread.means) == {"0", "1", "2"}
    assert spread.std_within_files == pytest.approx(0.5, abs=0.12)
    assert spread.std_of_means == pytest.approx(0.5 / np.sqrt(30), abs=0.1)


def test_a_file_that_fails_for_one_seed_has_no_mean() -> None:
    rows = [
        row("a", "s", 0, si_sdr=1.0),
        Row("a", "s", 1, "failed", failures={"si_sdr": Failure("crashed", "")}),
    ]
    rows.append(row("b", "s", 0, si_sdr=5.0))
    assert scores_by_file(rows, ["si_sdr"]) == {"si_sdr": {"b": 5.0}}


def test_groups_by_metadata_and_input_snr() -> None:
    rows = [row(f"f{i}", "noisy", input_snr=float(i), si_sdr=float(i)) for i in range(12)]
    rows += [row(f"f{i}", "out", si_sdr=i + 5.0) for i in range(12)]
    metadata = {f"f{i}": {"noise": "bus" if i % 2 else "cafe"} for i in range(12)}
    groups = summarise_rows(rows, metadata, ["noise"]).groups
    assert list(groups) == ["noise", INPUT_SNR]
    assert groups["noise"]["bus"]["out"]["si_sdr"].mean == np.mean([i + 5 for i in range(1, 12, 2)])
    assert list(groups[INPUT_SNR]) == ["0 to 5", "5 to 10", "10 to 15"]
    assert [groups[INPUT_SNR][label]["noisy"]["si_sdr"].count for label in groups[INPUT_SNR]] == [5, 5, 2]


def test_speed() -> None:
    enhanced = [
        Processed(f"f{i}", seconds_audio=2.0, seconds_wall=0.2 + 0.1 * i, peak_memory_mb=300.0 + i)
        for i in range(4)
    ]
    enhanced.append(Processed("f9", error="", reason="crashed"))
    speed = summarise_rows([row("f0", "m", si_sdr=1.0)], enhanced={"m": enhanced}).speed["m"]
    assert speed.real_time_factor == pytest.approx((0.2 + 0.3 + 0.4 + 0.5) / 8)
    assert speed.peak_memory_mb == 303


def test_metadata_is_found_by_key_path_or_stem(tmp_path: Path) -> None:
    path = tmp_path / "meta.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["snr", "file"], ["5", "sub/a.wav"], ["2.5", "b"], ["0", "unused.wav"]])
    assert read_metadata(path, ["sub/a", "x/b"]) == {"sub/a": {"snr": "5"}, "x/b": {"snr": "2.5"}}
    assert read_metadata(path, ["a"]) == {"a": {"snr": "5"}}
    with pytest.raises(UserError, match="has no line for c, d"):
        read_metadata(path, ["a", "c", "d"])
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match="no header"):
        read_metadata(tmp_path / "empty.csv", [])
    with pytest.raises(UserError, match="cannot read"):
        read_metadata(tmp_path / "gone.csv", [])


def test_labels() -> None:
    few = {"a": "2.5", "b": "17.5", "c": "", "d": "2.5"}
    assert group_labels(few) == {"a": "2.5", "b": "17.5", "d": "2.5"}
    many = {str(i): str(i - 4.5) for i in range(12)}
    assert group_labels(many)["0"] == "-5 to 0"
    assert sort_labels({"10 to 15", "-5 to 0", "0 to 5"}) == ["-5 to 0", "0 to 5", "10 to 15"]
    assert sort_labels({"10", "9", "bus"}) == ["9", "10", "bus"]
    names = {str(i): {"noise": "ab"[i % 2], "id": f"x{i}", "same": "y"} for i in range(30)}
    assert groupable(names) == ["noise"]
