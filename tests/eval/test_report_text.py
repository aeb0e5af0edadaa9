"""Names and values of others in tables and spreadsheets: shown to the letter, never run."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from audio_enh.errors import UserError
from audio_enh.eval.compare import load_report
from audio_enh.eval.manifest import make_manifest
from audio_enh.eval.metadata import spreadsheet_cell
from audio_enh.eval.report.tables import plain, to_csv, to_markdown
from audio_enh.eval.rows import Failure, Journal, Row, Settings
from audio_enh.eval.summary import summarise_rows

HOSTILE = "<img src=x onerror=alert(1)>`[a](javascript:b)|*c*\n# d"


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", " =1", "\r=1", "-", "=cmd|' /C calc'!A0"]
)
def test_formulas_become_text(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-5", "+2.5", "1e-3", "-1e3", "a=b", "p232-001", "", None, -3, 2.5])
def test_numbers_and_names_stay(value: object) -> None:
    assert spreadsheet_cell(value) == value


def test_a_report_of_hostile_names() -> None:
    rows = [
        Row("=cmd|calc", "noisy", None, "ok", {"stoi": 0.5}),
        Row("=cmd|calc", HOSTILE, None, "ok", {"stoi": 0.25}),
        Row("f1", "noisy", None, "ok", {"stoi": 0.5}),
        Row("f1", HOSTILE, None, "failed", failures={"stoi": Failure("crashed", HOSTILE)}),
    ]
    metadata = {"=cmd|calc": {"=room": HOSTILE, "gain": "-5"}, "f1": {"=room": "=1+1", "gain": "-6"}}
    table = list(csv.reader(io.StringIO(to_csv(rows, ("stoi",), metadata))))
    assert len(table) == 5
    for line in table:
        for cell in line:
            number = cell.lstrip("+-").replace(".", "").isdigit()
            assert number or not cell.startswith(("=", "+", "-", "@")), cell
    assert table[2][table[0].index("delta_stoi")] == "-0.25"
    assert table[1][table[0].index("gain")] == "-5"

    summary = summarise_rows(rows, metadata, ["=room"])
    manifest = make_manifest(
        rows,
        Settings(("stoi",)),
        command=("audio-enh", "`<b>`"),
        folders={},
        match="path",
        workers=1,
        seconds=1.0,
    )
    text = to_markdown(manifest, summary, rows)
    assert "<" not in text
    assert not re.search(r"(?<!\\)[\[\]|]\(", text)
    assert "\n# d" not in text
    assert "`" not in text.replace("\\`", "")
    rendered = [line for line in text.splitlines() if line.startswith("|")]
    for line in rendered:  # no bar of a name begins a column
        assert line.replace("\\|", "").count("|") in {3, 4, 5, 7}, line
    assert plain(HOSTILE) in text


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"manifest": {}, "rows": [[]]}', '{"manifest": {}, "rows": [{"failures": []}]}', "null"],
)
def test_what_is_no_report_or_journal_is_told(text: str, tmp_path: Path) -> None:
    """Depth was a defect of this program."""
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UserError, match="is not a report"):
        load_report(path)
    journal = tmp_path / "rows.jsonl"
    with Journal(journal, {}):
        pass
    with journal.open("a") as file:
        file.write(text + "\n")
    with pytest.raises(UserError, match="damaged"):
        Journal(journal, {})


def test_reading_a_report_imports_no_machinery() -> None:
    """What compares and shows needs what was measured, not what measures."""
    code = (
        "import sys, audio_enh.eval.compare, audio_enh.eval.report, audio_enh.eval.summary; "
        "print(*sorted(name for name in sys.modules "
        "if name in ('torch', 'soundfile', 'subprocess', 'multiprocessing', 'concurrent.futures') "
        "or name.startswith(('audio_enh.io', 'audio_enh.inference')) "
        "or name in ['audio_enh.eval.' + each for each in ('processing', 'measuring', 'file_scores')]))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == []
