"""The demo on the bundled recording with the shipped weights, through the real program."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from audio_enh.eval.arrays import evaluate_arrays


def run(*arguments):
    code = "from audio_enh.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_demo_writes_audio_and_picture_and_the_scores_rise(tmp_path):
    done = run("--output", tmp_path)
    assert done.returncode == 0, done.stderr
    signals = {n: soundfile.read(tmp_path / f"{n}.wav")[0] for n in ("noisy", "enhanced", "clean")}
    assert len({len(s) for s in signals.values()}) == 1
    before = evaluate_arrays(signals["clean"], signals["noisy"], 16000, ("si_sdr", "pesq_wb"))
    after = evaluate_arrays(signals["clean"], signals["enhanced"], 16000, ("si_sdr", "pesq_wb"))
    assert after["si_sdr"] > before["si_sdr"] + 8
    assert after["pesq_wb"] > before["pesq_wb"] + 0.2
    assert f"{after['si_sdr']:.1f}" in done.stdout
    assert (tmp_path / "before_after.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert np.abs(signals["enhanced"]).max() <= 1


def test_without_the_packages_of_the_scores_only_these_are_left_out(tmp_path, monkeypatch, capsys):
    from audio_enh.cli import run as run_here

    monkeypatch.setitem(sys.modules, "pesq", None)
    assert run_here(["demo", "-o", str(tmp_path)]) == 0
    assert "note: no scores: PESQ-WB needs the package pesq: pip install" in capsys.readouterr().err
    assert {path.name for path in tmp_path.glob("[!.]*")} == {
        "noisy.wav",
        "enhanced.wav",
        "clean.wav",
        "before_after.png",
    }


@pytest.mark.parametrize("arguments", [("nowhere",), ("rain", "--output", "/dev/null/x")])
def test_mistake_is_one_line(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
