"""Many files: order, resuming, workers that die."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from audio_enh.errors import UserError
from audio_enh.eval import measuring
from audio_enh.eval.file_scores import measure_file
from audio_enh.eval.measuring import evaluate_tasks, make_tasks
from audio_enh.eval.pairing import match_rule, pair_folders
from audio_enh.eval.rows import Journal, Row, Settings, Task
from tests.eval.synthesis import noisy, speech, write

SETTINGS = Settings(("stoi", "si_sdr"))
FILES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("set")
    for index in range(FILES):
        clean = speech(0.8 + 0.1 * (index % 3), seed=index)
        write(root / "clean" / f"f{index}.wav", clean)
        write(root / "noisy" / f"f{index}.wav", noisy(clean, 3 * index))
        write(root / "out" / f"f{index}.wav", noisy(clean, 3 * index + 6))
    return root


@pytest.fixture
def tasks(folder: Path) -> list[Task]:
    roles = {role: folder / role for role in ("clean", "noisy", "out")}
    return make_tasks(pair_folders(roles, match_rule("path")), ["out"], check_swap=False)


def comparable(rows: list[Row]) -> list[dict]:
    """Rows without what depends on the clock."""
    return [{**row.to_json(), "metric_seconds": None} for row in rows]


def test_tasks(tasks: list[Task]) -> None:
    assert [(task.system, task.file) for task in tasks] == [
        (system, f"f{index}") for system in ("noisy", "out") for index in range(FILES)
    ]
    assert all(task.reference and task.noisy for task in tasks)


def test_swap_is_checked_on_a_few_files_spread_over_the_set(folder: Path) -> None:
    roles = {role: folder / role for role in ("clean", "noisy", "out")}
    groups = pair_folders(roles, match_rule("path"))
    checked = [task for task in make_tasks(groups * 10, ["out"]) if task.check_swap]
    assert len(checked) == 5
    assert {task.system for task in checked} == {"noisy"}


def test_same_rows_in_the_same_order_for_any_number_of_workers(tasks: list[Task], tmp_path: Path) -> None:
    alone = evaluate_tasks(tasks, SETTINGS, tmp_path / "0.jsonl", workers=0)
    two = evaluate_tasks(tasks, SETTINGS, tmp_path / "2.jsonl", workers=2)
    assert [row.identity for row in alone] == [task.identity for task in tasks]
    assert comparable(alone) == comparable(two)
    assert all(row.status == "ok" for row in alone)


def test_an_interrupted_run_goes_on(tasks: list[Task], tmp_path: Path, monkeypatch) -> None:
    journal = tmp_path / "rows.jsonl"
    whole = evaluate_tasks(tasks, SETTINGS, tmp_path / "whole.jsonl", workers=0)

    def stop_after_three(row: Row) -> None:
        if len(journal.read_text().splitlines()) == 1 + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_tasks(tasks, SETTINGS, journal, workers=0, on_row=stop_after_three)
    with journal.open("a") as file:
        file.write('{"file": "f3", "sys')  # a line that a power cut left
    measured = []
    monkeypatch.setattr(
        measuring,
        "measure_file",
        lambda task, settings: measured.append(task.file) or measure_file(task, settings),
    )
    rows = evaluate_tasks(tasks, SETTINGS, journal, workers=0)
    assert len(measured) == len(tasks) - 3
    assert comparable(rows) == comparable(whole)
    measured.clear()
    told = []
    evaluate_tasks(tasks, SETTINGS, journal, workers=0, on_row=told.append)
    assert (measured, len(told)) == ([], len(tasks))


def test_changed_files_and_failures_worth_it_are_measured_again(folder: Path, tmp_path: Path) -> None:
    journal = tmp_path / "rows.jsonl"
    clean, estimate = folder / "clean" / "f0.wav", tmp_path / "e.wav"
    estimate.write_text("not audio yet")
    tasks = [Task("f0", "out", None, estimate, clean)]
    assert evaluate_tasks(tasks, SETTINGS, journal, workers=0)[0].reason == "unreadable"
    write(estimate, noisy(speech(0.8, seed=0), 0))
    first = evaluate_tasks(tasks, SETTINGS, journal, workers=0)[0]
    write(estimate, noisy(speech(0.8, seed=0), 20))
    os.utime(estimate, ns=(1, 1))
    second = evaluate_tasks(tasks, SETTINGS, journal, workers=0)[0]
    assert second.scores["si_sdr"] > first.scores["si_sdr"] + 10


def test_a_journal_of_other_settings_or_no_journal_is_refused(tasks: list[Task], tmp_path: Path) -> None:
    journal = tmp_path / "rows.jsonl"
    evaluate_tasks(tasks[:1], SETTINGS, journal, workers=0)
    with pytest.raises(UserError, match=r"other settings \(align_ms\).*--overwrite"):
        evaluate_tasks(tasks[:1], Settings(SETTINGS.metrics, align_ms=5), journal, workers=0)
    rows = evaluate_tasks(
        tasks[:1], Settings(SETTINGS.metrics, align_ms=5), journal, workers=0, overwrite=True
    )
    assert len(rows) == 1
    journal.write_text('{"some": "other file"}\n')
    with pytest.raises(UserError, match="not of this version"):
        evaluate_tasks(tasks[:1], SETTINGS, journal, workers=0)
    journal.write_text("notes\n")
    with pytest.raises(UserError, match=r"line 1, is damaged"):
        Journal(journal, {})
    assert journal.read_text() == "notes\n"


def test_journal_holds_no_nan(tmp_path: Path) -> None:
    with Journal(tmp_path / "rows.jsonl", {}) as journal, pytest.raises(ValueError, match="JSON compliant"):
        journal.append(Row("f", "s", None, "ok", {"si_sdr": float("nan")}))


def die_on_f2(task: Task, settings: Settings) -> Row:
    """A metric whose native code crashes on one file; runs in a worker."""
    if task.file == "f2":
        os.kill(os.getpid(), signal.SIGSEGV)
    return measure_file(task, settings)


def test_a_crash_costs_one_row(tasks: list[Task], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(measuring, "measure_file", die_on_f2)
    rows = evaluate_tasks(tasks[:FILES], SETTINGS, tmp_path / "rows.jsonl", workers=2)
    assert [row.reason for row in rows] == [None, None, "crashed", None, None, None]
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(lines) == 1 + FILES


def raise_on_f2(task: Task, settings: Settings) -> Row:
    if task.file == "f2":
        raise RuntimeError("nobody\nforesaw this")
    return measure_file(task, settings)


def test_an_unforeseen_exception_costs_one_row_and_is_tried_again(
    tasks: list[Task], tmp_path: Path, monkeypatch
) -> None:
    journal = tmp_path / "rows.jsonl"
    monkeypatch.setattr(measuring, "measure_file", raise_on_f2)
    rows = evaluate_tasks(tasks[:FILES], SETTINGS, journal, workers=1)
    assert [row.reason for row in rows] == [None, None, "broke_down", None, None, None]
    assert next(iter(rows[2].failures.values())).detail == "RuntimeError: nobody foresaw this"
    monkeypatch.undo()
    rows = evaluate_tasks(tasks[:FILES], SETTINGS, journal, workers=0)
    assert [row.reason for row in rows] == [None] * FILES


def test_files_elsewhere_are_measured_again(tasks: list[Task], tmp_path: Path) -> None:
    # A copy of equal size and time may hold other sound.
    journal = tmp_path / "rows.jsonl"
    first = evaluate_tasks(tasks[:1], SETTINGS, journal, workers=0)
    copy = shutil.copy2(tasks[0].estimate, tmp_path / "copy.wav")
    moved = evaluate_tasks([replace(tasks[0], estimate=Path(copy))], SETTINGS, journal, workers=0)
    assert moved[0].estimate != first[0].estimate


def test_environment_is_left_as_it_was(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with measuring.single_threaded():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ
