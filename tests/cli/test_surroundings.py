"""Where programs are started from: schedulers that close streams, containers without names, little memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import soundfile

from audio_enh.io import read_audio
from tests.cli.conftest import SCRIPT, sound

resource = pytest.importorskip("resource", reason="POSIX")
TIMEOUT = 300


@pytest.fixture
def source(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "in.wav", sound()[0], 16000)
    return tmp_path / "in.wav"


@pytest.mark.parametrize("closed", ["<&- >&-", "2>&-"])
def test_closed_streams(checkpoint: Path, source: Path, closed: str) -> None:
    """A file that is opened would take the place of a closed stream, and get the messages into its middle."""
    target = source.with_name("out.wav")
    command = f"'{SCRIPT}' enhance '{source}' -o '{target}' --model '{checkpoint}' {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=TIMEOUT)
    assert done.returncode == 0
    assert b"Traceback" not in done.stdout + done.stderr
    assert read_audio(target)[0].shape == (1, 16000)


def test_closed_streams_are_filled_and_nothing_else_is_touched(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from audio_enh.cli._terminal import prepare_streams\n"
        "prepare_streams()\n"
        "print('lost'); print('lost', file=sys.stderr)\n"
        "fd = os.open('opened', os.O_CREAT | os.O_RDWR)\n"
        "os.write(fd, str(fd).encode())\n"
    )
    (tmp_path / "s.py").write_text(code)
    command = f"'{sys.executable}' s.py <&- >&- 2>&-"
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, timeout=TIMEOUT)
    assert int((tmp_path / "opened").read_text()) >= 3


def test_little_address_space(checkpoint: Path, source: Path) -> None:
    command = f"ulimit -v 600000; exec '{SCRIPT}' enhance '{source}' --model '{checkpoint}'"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 2
    assert "not enough memory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_output_to_dev_null(cli, source: Path) -> None:
    result = cli("enhance", source, "-o", "/dev/null")
    assert result.code == 0, result.err
    assert Path("/dev/null").is_char_device()


def without_temporary_folder(monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])


def test_doctor_gives_the_right_advice(monkeypatch) -> None:
    from audio_enh.cli import _checks

    without_temporary_folder(monkeypatch)
    for name in ("python", "torch", "ffmpeg", "devices", "packages", "checkpoints"):
        monkeypatch.setattr(_checks, f"check_{name}", lambda: iter(()))
    findings = list(_checks.all_checks())
    assert findings
    assert all("TMPDIR" in finding.remedy for finding in findings)
    assert not any("reinstall" in finding.remedy for finding in findings)


def test_no_place_for_temporary_files(cli, source: Path, monkeypatch) -> None:
    from audio_enh.io import ffmpeg_writer

    if shutil.which("ffprobe") is None:
        pytest.skip("needs ffmpeg")
    ffmpeg_writer._calibrate.cache_clear()
    without_temporary_folder(monkeypatch)
    result = cli("enhance", source, "-o", source.with_name("out.m4a"))
    assert result.code == 2
    assert "TMPDIR" in result.err
    assert "defect" not in result.err
    assert not source.with_name("out.m4a").exists()
    assert cli("enhance", source, "-o", source.with_name("out.flac")).code == 0
