"""``audio-enh evaluate`` and ``compare`` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.eval.synthesis import RATE, noisy, speech, write

SCRIPT = Path(sys.executable).with_name("audio-enh")
FILES = 4
FAST = ("--metrics", "stoi,si_sdr", "--clips", "0", "-j", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for index in range(FILES):
        clean = speech(0.7, seed=index)
        write(root / "clean" / f"f{index}.wav", clean)
        write(root / "noisy" / f"f{index}.wav", noisy(clean, 3 * index))
        write(root / "out" / f"f{index}.wav", noisy(clean, 3 * index + 6))
    return root


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        env={**os.environ, "COLUMNS": "120"},
    )


def test_folders_then_compare(data: Path, tmp_path: Path) -> None:
    folders = ("--clean", data / "clean", "--noisy", data / "noisy", "--enhanced", data / "out")
    result = run("evaluate", *folders, *FAST, "-o", "ev", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "SI-SDR (dB) ↑" in result.stdout
    assert result.stdout.splitlines()[1] == f"out: 0 of {FILES} files got worse in STOI, 0 in SI-SDR"
    assert "report: ev/report.html" in result.stdout
    for name in ("report.html", "report.json", "rows.csv", "summary.md", "rows.jsonl"):
        assert (tmp_path / "ev" / name).stat().st_size > 0
    data_out = json.loads((tmp_path / "ev" / "report.json").read_text())
    assert data_out["manifest"]["command"][:3] == ["audio-enh", "evaluate", "--clean"]
    assert data_out["summary"]["against_noisy"]["out"]["si_sdr"]["difference"] == pytest.approx(6, abs=0.5)

    result = run(
        *("compare", "ev", "ev", "--system-a", "noisy", "--system-b", "out", "-o", "c.json"), cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "SI-SDR" in result.stdout
    test = json.loads((tmp_path / "c.json").read_text())["tests"]["si_sdr"]
    assert (test["wins"], test["count"]) == (FILES, FILES)
    result = run("compare", "ev", "nowhere.json", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1


def test_models_are_run_and_timed(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    folders = ("--clean", data / "clean", "--noisy", data / "noisy")
    command = ("evaluate", *folders, "--model", checkpoint, "--seed", 0, "--seed", 1, *FAST, "-o", "ev")
    result = run(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "ev" / "report.json").read_text())
    speed = report["summary"]["speed"]["tiny"]
    assert 0 < speed["real_time_factor"] < 20
    assert 50 < speed["peak_memory_mb"] < 5000
    assert len(report["manifest"]["models"]["tiny"]["weights_sha256"]) == 64
    assert report["summary"]["seeds"]["tiny"]["si_sdr"]["std_of_means"] == 0  # it has no noise of its own
    assert report["summary"]["scores"]["tiny"]["si_sdr"]["count"] == FILES
    enhanced = sorted((tmp_path / "ev" / "enhanced" / "tiny" / "seed-1").iterdir())
    assert len(enhanced) == FILES

    # Again: nothing is enhanced nor measured anew, and the times are those of the first run.
    before = enhanced[0].stat().st_mtime_ns
    journal = (tmp_path / "ev" / "rows.jsonl").read_text()
    again = run(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert enhanced[0].stat().st_mtime_ns == before
    assert (tmp_path / "ev" / "rows.jsonl").read_text() == journal
    second = json.loads((tmp_path / "ev" / "report.json").read_text())
    assert second["summary"] == report["summary"]


def test_a_run_of_the_last_release_goes_on(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    folders = ("--clean", data / "clean", "--noisy", data / "noisy")
    command = ("evaluate", *folders, "--model", checkpoint, "--threads", 1, *FAST, "-o", "ev")
    assert run(*command, cwd=tmp_path).returncode == 0
    folder = tmp_path / "ev" / "enhanced" / "tiny"
    head, *lines = [json.loads(line) for line in (folder / "processed.jsonl").read_text().splitlines()]
    sha256 = head["system"]["weights_sha256"]
    former = [
        {
            **{
                name: line[name]
                for name in ("file", "seed", "seconds_audio", "peak_memory_mb", "device", "input")
            },
            **{
                "seconds_computing": line["seconds_wall"],
                "failure": None,
                "weights_sha256": sha256,
                "threads": 1,
            },
        }
        for line in lines
    ]
    (folder / "enhanced.jsonl").write_text("".join(json.dumps(line) + "\n" for line in former))
    for path in folder.iterdir():
        if path.suffix not in (".wav", ".jsonl") or path.name == "processed.jsonl":
            path.unlink()
    rows = (tmp_path / "ev" / "rows.jsonl").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.wav")}
    again = run(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (tmp_path / "ev" / "rows.jsonl").read_bytes() == rows


def test_a_device_that_is_not_there_is_told_in_one_line(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    folders = ("--clean", data / "clean", "--noisy", data / "noisy")
    result = run("evaluate", *folders, "--model", checkpoint, "--device", "cuda:77", *FAST, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "cuda:77" in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_references(data: Path, tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.wav", noisy(speech(4.6), 10))  # twice this is one window of DNSMOS
    result = run("evaluate", "--enhanced", "in", "--clips", 1, "-j", 1, "-o", "ev", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "DNSMOS OVRL" in result.stdout
    assert "PESQ" not in result.stdout


def test_failures_are_listed_and_strict_fails(data: Path, tmp_path: Path) -> None:
    for index in range(FILES):
        write(tmp_path / "out" / f"f{index}.wav", noisy(speech(0.7, seed=index), 9))
    write(tmp_path / "out" / "f1.wav", np.zeros(RATE * 7 // 10))
    (tmp_path / "out" / "f2.wav").write_text("not audio")
    write(tmp_path / "out" / "f3.wav", speech(0.5))
    command = ("evaluate", "--clean", data / "clean", "--enhanced", tmp_path / "out", *FAST, "-o", "ev")
    result = run(*command, cwd=tmp_path)
    assert result.returncode == 0
    assert "out: without a score: " in result.stdout
    for reason in ("silent_estimate 1", "unreadable 1", "length_mismatch 1"):
        assert reason in result.stdout
    assert "(n=1)" in result.stdout
    assert "3 of 4 files lack a score" in result.stderr
    assert run(*command, "--strict", cwd=tmp_path).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to evaluate"),
        (("--clean", "clean"), "nothing to evaluate"),
        (("--clean", "clean", "--enhanced", "clean"), "the same folder"),
        (("--clean", "clean", "--enhanced", "nowhere"), "is not a folder"),
        (("--clean", "clean", "--enhanced", "empty"), "no audio files in"),
        (("--clean", "clean", "--enhanced", "out", "--metrics", "pesq"), "unknown metric 'pesq'"),
        (("--enhanced", "out", "--metrics", "si_sdr"), "needs a reference"),
        (("--clean", "clean", "--enhanced", "out", "--metrics", "si_sir"), "needs the mixture"),
        (("--clean", "clean", "--model", "x"), "give --noisy"),
        (("--noisy", "noisy", "--model", "no-such-model"), "no checkpoint 'no-such-model'"),
        (("--protocol", "vbdmd"), "needs the folder of the set"),
        (("--protocol", "vbdmd", "clean"), "has no folders"),
        (("--protocol", "nothing", "clean"), "known are vbdmd, dns2020"),
        (
            ("--protocol", "vbdmd", "clean", "--sample-rate", "8000"),
            "--protocol fixes the pairs and the rate",
        ),
        (("--protocol", "vbdmd", "clean", "--match", "stem"), "--protocol fixes the pairs and the rate"),
        (("--enhanced", "out", "--seed", "1"), "--seed is for models"),
        (("clean", "--enhanced", "out"), "what is clean for?"),
        (("--clean", "clean", "--enhanced", "out", "--group-by", "noise"), "no such column"),
        (("--clean", "clean", "--enhanced", "out", "--metadata", "gone.csv"), "cannot read the metadata"),
        (("--clean", "clean", "--enhanced", "out", "--bogus"), "bogus"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(
    data: Path, tmp_path: Path, capsys, monkeypatch, arguments, message
) -> None:
    # In this process: the parsing and the errors are the same, and a process each would take a minute.
    from audio_enh.cli import run as run_here

    (data / "empty").mkdir(exist_ok=True)
    monkeypatch.chdir(data)
    code = run_here(["evaluate", *arguments, "-o", str(tmp_path / "ev")])
    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not (tmp_path / "ev").exists()


def test_help_names_every_metric(capsys, monkeypatch) -> None:
    from audio_enh.cli import run as run_here
    from audio_enh.eval import METRICS

    monkeypatch.setenv("COLUMNS", "200")
    assert run_here(["evaluate", "--help"]) == 0
    text = capsys.readouterr().out
    assert [metric.name for metric in METRICS if metric.name not in text] == []


def test_an_output_that_cannot_be_made_is_a_usage_error(data: Path, tmp_path: Path, capsys) -> None:
    from audio_enh.cli import run as run_here

    (tmp_path / "file").write_text("")
    code = run_here(["evaluate", "--enhanced", str(data / "out"), "-o", str(tmp_path / "file" / "ev")])
    assert code == 2
    assert "cannot write into --output" in capsys.readouterr().err


def test_stopped_in_the_middle_and_continued(data: Path, tmp_path: Path) -> None:
    command = ["evaluate", "--clean", data / "clean", "--enhanced", data / "out", *FAST, "-o", "ev"]
    process = subprocess.Popen(
        [str(SCRIPT), *map(str, command)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    journal = tmp_path / "ev" / "rows.jsonl"
    deadline = time.monotonic() + 120
    while not (journal.exists() and len(journal.read_text().splitlines()) > 2):
        assert time.monotonic() < deadline
        assert process.poll() is None or process.returncode == 0
        if process.poll() is not None:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (128 + signal.SIGTERM, 0)  # 0: it was done before the signal came
    assert "Traceback" not in stderr
    known = journal.read_text()
    assert run(*command, cwd=tmp_path).returncode == 0
    lines = journal.read_text().splitlines()
    assert len(lines) == 1 + FILES
    assert journal.read_text().startswith(known[: known.rindex("\n") + 1])


def test_what_is_said_comes_from_the_metadata(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    command = (
        "evaluate",
        "--enhanced",
        data / "out",
        "--metrics",
        "wer",
        "--clips",
        "0",
        "-j",
        "1",
        "-o",
        "ev",
    )
    result = run(*command, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "wer needs the words that are said" in result.stderr

    lines = ["file,text", *(f'f{index},"one, two three"' for index in range(FILES - 1)), f"f{FILES - 1},"]
    (tmp_path / "said.csv").write_text("\n".join(lines))
    result = run(*command, "--metadata", "said.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "ev" / "report.json").read_text())["rows"]
    assert {row["transcript"] for row in rows} == {"one, two three", None}
    assert [row["scores"]["wer"] >= 0 for row in rows[:-1]] == [True] * (FILES - 1)
    assert rows[-1]["failures"]["wer"]["reason"] == "missing_input"

    # What is said has changed: measured anew, and only where it has.
    (tmp_path / "said.csv").write_text("\n".join([*lines[:-1], f"f{FILES - 1},four"]))
    again = run(*command, "--metadata", "said.csv", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    rows = json.loads((tmp_path / "ev" / "report.json").read_text())["rows"]
    assert rows[-1]["scores"]["wer"] >= 0
