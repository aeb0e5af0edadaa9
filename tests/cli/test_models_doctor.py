"""`audio-enh models` and `audio-enh doctor`: what they show, also of broken installations."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
import soundfile

from audio_enh.cli import _checks
from audio_enh.cli._checks import Finding
from audio_enh.cli.models import format_scores
from audio_enh.errors import install_command
from audio_enh.inference import catalog


@pytest.fixture
def shipped(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set of installed checkpoints: a tiny one under the default name."""
    root = tmp_path / "shipped"
    shutil.copytree(checkpoint, root / catalog.DEFAULT_MODEL)
    monkeypatch.setattr(catalog, "_shipped_folder", lambda: root)
    return root


class TestModels:
    def test_the_table(self, cli, shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "150")
        result = cli("models")
        assert (result.code, result.err) == (0, "")
        heading, row = result.out.splitlines()
        for word in ("name", "rate", "latency", "parameters", "size", "licence", "scores"):
            assert word in heading
        assert row.startswith(f"{catalog.DEFAULT_MODEL} (default)")
        for word in ("16 kHz", "30 ms", " MB", "CC0-1.0"):
            assert word in row

    def test_json(self, cli, shipped: Path) -> None:
        (row,) = json.loads(cli("models", "--json").out)
        assert row["name"] == catalog.DEFAULT_MODEL
        assert row["path"] == str(shipped / catalog.DEFAULT_MODEL)
        assert row["sample_rate"] == 16000
        assert row["bytes"] > 1000

    def test_none_installed(self, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalog, "_shipped_folder", lambda: tmp_path)
        assert "no checkpoints are installed" in cli("models").out
        assert json.loads(cli("models", "--json").out) == []

    def test_what_is_shipped_is_listed(self, cli) -> None:
        listed = {row["name"] for row in json.loads(cli("models", "--json").out)}
        assert listed == {checkpoint.name for checkpoint in catalog.available()}

    def test_scores_in_one_line(self) -> None:
        assert format_scores({"pesq_wb": 2.5134, "stoi": 0.93}) == "pesq_wb 2.51, stoi 0.93"
        assert format_scores({"valid": {"stoi": 0.93}, "steps": 40}) == "valid.stoi 0.93, steps 40"
        assert format_scores({}) == format_scores(None) == "-"


class TestDoctor:
    @pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
    def test_this_machine(self, cli, quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        if quick:  # those that import torch take long
            light = [row for row in _checks.PACKAGES if row[0] in ("pesq", "hydra")]
            monkeypatch.setattr(_checks, "PACKAGES", light)
        result = cli("doctor", "--json")
        findings = {row["name"]: row for row in json.loads(result.out)}
        assert findings["cpu"]["status"] == "ok"
        assert findings["audio files"]["status"] == "ok"
        assert {"torch", "ffmpeg", "portaudio", "temporary files", "pesq", "hydra"} <= findings.keys()
        assert all(row["remedy"] for row in findings.values() if row["status"] != "ok")
        assert result.code == (2 if any(row["status"] == "fail" for row in findings.values()) else 0)

    def test_what_fails_and_what_warns(self, cli, monkeypatch: pytest.MonkeyPatch) -> None:
        found = [Finding("a", "ok", "fine"), Finding("b", "warn", "[odd]", "mend it")]
        monkeypatch.setattr(_checks, "all_checks", lambda: iter(found))
        result = cli("doctor")
        assert result.code == 0
        assert result.out.splitlines() == ["ok   a: fine", "warn b: [odd]", "      -> mend it"]
        found.append(Finding("c", "fail", "broken", "reinstall"))
        assert cli("doctor").code == 2

    def test_a_checkpoint_that_runs(self, shipped: Path) -> None:
        (finding,) = _checks.check_checkpoints()
        assert (finding.status, finding.detail) == ("ok", "loads and runs")

    def test_a_damaged_checkpoint(self, shipped: Path) -> None:
        weights = shipped / catalog.DEFAULT_MODEL / "model.safetensors"
        shutil.copytree(weights.parent, shipped / "other")
        weights.write_bytes(weights.read_bytes()[:-1])
        first, second = _checks.check_checkpoints()
        assert (first.status, second.status) == ("fail", "ok")
        assert "model.safetensors" in first.detail

    def test_the_default_checkpoint_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalog, "_shipped_folder", lambda: tmp_path)
        (finding,) = _checks.check_checkpoints()
        assert finding.status == "warn"
        assert catalog.DEFAULT_MODEL in finding.detail

    def test_no_ffmpeg(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        (finding,) = _checks.check_ffmpeg()
        assert finding.status == "warn"
        assert "apt install ffmpeg" in finding.remedy

    def test_ffmpeg_that_does_not_run(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("ffmpeg", "ffprobe"):
            (tmp_path / name).write_text("#!/bin/sh\nexit 3\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
        (finding,) = _checks.check_ffmpeg()
        assert (finding.status, finding.name) == ("warn", "ffmpeg")

    def test_packages_that_are_missing_or_crash(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "crashing.py").write_text("import os\nos.abort()\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        rows = [(name, "numpy", "live", "x") for name in ("not_there_at_all", "crashing", "json")]
        monkeypatch.setattr(_checks, "PACKAGES", rows)
        missing, crashing, fine = _checks.check_packages()
        assert (missing.status, crashing.status, fine.status) == ("warn", "warn", "ok")
        assert "No module named 'not_there_at_all'" in missing.detail
        assert missing.remedy == install_command("live")

    def test_no_portaudio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "sounddevice", None)
        (finding,) = _checks.check_devices()
        assert (finding.status, finding.remedy) == ("warn", install_command("live"))

    def test_formats_that_are_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = soundfile.SoundFile.__init__

        def no_flac(self, file, *arguments, **options):
            if options.get("format") == "FLAC":
                raise soundfile.LibsndfileError(1)
            original(self, file, *arguments, **options)

        monkeypatch.setattr(soundfile.SoundFile, "__init__", no_flac)
        (finding,) = _checks.check_formats()
        assert finding.status == "warn"
        assert "not flac" in finding.detail

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write")
    def test_nowhere_to_write(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", "/proc")
        temporary, here = _checks.check_places()
        assert (temporary.status, here.status) == ("warn", "ok")
        assert "TMPDIR" in temporary.remedy

    def test_a_check_that_crashes_is_a_finding(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def crash():
            raise ImportError("libtorch.so is gone")
            yield

        for name in dir(_checks):
            if name.startswith("check_"):
                monkeypatch.setattr(_checks, name, lambda: iter(()))
        crash.__name__ = "check_torch"
        monkeypatch.setattr(_checks, "check_torch", crash)
        assert list(_checks.all_checks()) == [
            Finding("torch", "fail", "ImportError: libtorch.so is gone", "reinstall audio-enh")
        ]
