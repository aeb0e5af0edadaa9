"""The installed program as users start it: pipes, signals, full disks, memory."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import audio_enh
from audio_enh.inference.catalog import available
from audio_enh.io import read_audio
from tests.cli.conftest import SCRIPT, sound

resource = pytest.importorskip("resource", reason="POSIX")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")

TIMEOUT = 300  # seconds; loading torch takes 2 s, on a machine busy with training ten times that


def wav(path: Path, seconds: float, rate: int = 16000) -> Path:
    """A long file, written piece by piece."""
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        piece = sound(rate, 10.0)[0]
        for start in range(0, round(seconds * rate), len(piece)):
            file.write(piece[: round(seconds * rate) - start])
    return path


def test_starting_is_quick() -> None:
    """Nothing heavy is imported for --help, and so it takes a fraction of a second."""
    code = (
        "import sys, audio_enh.cli; print([m for m in ('torch', 'numpy', 'rich.table') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = used()  # of the processor: a busy machine makes everything slow
    assert "enhance" in subprocess.check_output([SCRIPT, "--help"], text=True)
    assert used() - before < 0.5


def test_mistakes_are_told_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    """A name that is not there costs a fraction of a second, whichever command it is given to."""
    commands = [
        ["enhance", "gone.wav"],
        ["enhance", "gone.wav", "--model", "gone"],
        ["evaluate", "--clean", "gone", "--enhanced", "gone"],
        ["benchmark", "gone"],
        ["compare", "gone", "gone"],
        ["export", "gone"],
        ["import-checkpoint", "gone", "-o", "new"],
        ["distort", "gone.wav", "-o", "new.wav", "--random"],
        ["data", "prepare", "folder", "gone", "-o", "new"],
        ["live", "--strength", "7"],
        ["live-speed", "--threads", "x"],
    ]
    code = f"""
import sys
from audio_enh.cli import run
for words in {commands!r}:
    assert run(words) == 2, words
    heavy = {{"torch", "scipy.signal", "librosa", "matplotlib"}} & sys.modules.keys()
    assert not heavy, (words, heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_version() -> None:
    assert subprocess.check_output([SCRIPT, "--version"], text=True) == f"audio-enh {audio_enh.__version__}\n"


def test_importing_the_library_is_quick() -> None:
    code = "import sys, audio_enh; audio_enh.load; print('torch' in sys.modules, audio_enh.Enhancer.__name__)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False Enhancer\n"


def test_a_mistake_is_one_line_and_code_2(process, tmp_path: Path) -> None:
    child = process("enhance", tmp_path / "nothing.wav")
    out, err = child.communicate(timeout=TIMEOUT)
    assert (child.returncode, out) == (2, b"")
    assert err.decode() == f"error: {tmp_path}/nothing.wav: no such file or folder\n"


def test_from_pipe_to_pipe(process, tmp_path: Path) -> None:
    """A stream without a length, as ffmpeg writes it into a pipe, comes out as a WAV stream."""
    audio = sound(22050, 1.5, 2)
    buffer = io.BytesIO()
    soundfile.write(buffer, audio.T, 22050, "PCM_24", format="WAV")
    data = bytearray(buffer.getvalue())
    data[4:8] = b"\xff" * 4
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff" * 4
    child = process("enhance", "-", stdin=subprocess.PIPE)
    out, err = child.communicate(bytes(data), timeout=TIMEOUT)
    assert child.returncode == 0, err
    (tmp_path / "out.wav").write_bytes(out)
    enhanced, rate = read_audio(tmp_path / "out.wav")
    assert (rate, enhanced.shape) == (22050, audio.shape)
    assert np.corrcoef(enhanced[0], audio[0])[0, 1] > 0.97


def test_a_reader_that_has_enough_is_no_error(process, tmp_path: Path) -> None:
    source = wav(tmp_path / "in.wav", 120)
    child = process("enhance", source, "-o", "-", "--quiet")
    assert child.stdout.read(100)[:4] == b"RIFF"
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait(timeout=TIMEOUT) == 141


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [(signal.SIGINT, 130, "stopped by Ctrl-C\n"), (signal.SIGTERM, 143, "stopped by SIGTERM\n")],
)
def test_stopped_in_the_middle(process, tmp_path: Path, number: int, code: int, message: str) -> None:
    """Nothing half-written, what was there still there, one line."""
    source = wav(tmp_path / "in.wav", 600)
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "in.wav"
    target.write_text("precious")
    child = process("enhance", source, "-o", target, "--overwrite")
    deadline = time.monotonic() + TIMEOUT
    while not any(path.stat().st_size > 100_000 for path in target.parent.glob(".*part*")):
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(number)
    _, err = child.communicate(timeout=TIMEOUT)
    assert (child.returncode, err.decode()) == (code, message)
    assert [path.name for path in target.parent.iterdir()] == ["in.wav"]
    assert target.read_text() == "precious"


def test_a_full_disk(process, tmp_path: Path) -> None:
    """Simulated by a limit on the size of files, which fails in the same place."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    source = wav(tmp_path / "in.wav", 60)
    child = process("enhance", source, "-o", tmp_path / "out.wav", preexec_fn=limit)
    _, err = child.communicate(timeout=TIMEOUT)
    assert child.returncode == 2
    assert len(err.splitlines()) == 1
    assert b"out.wav" in err
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


# A child counts the memory of the process it was forked from as its own, and that of the tests is large: so the
# program is started from a small process, which tells the peak.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_memory(checkpoint: Path, source: Path, target: Path, *options: str) -> float:
    """Most resident memory of a run, in MB."""
    program = [SCRIPT, "enhance", source, "-o", target, "--model", checkpoint, *options]
    out = subprocess.check_output([sys.executable, "-c", MEASURE, *program], timeout=6 * TIMEOUT)
    # Kilobytes on Linux, bytes on macOS.
    return int(out) / (1e6 if sys.platform == "darwin" else 1e3)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(checkpoint: Path, tmp_path: Path) -> None:
    short, long = wav(tmp_path / "1.wav", 60), wav(tmp_path / "10.wav", 600)
    first = peak_memory(checkpoint, short, tmp_path / "1-out.wav")
    second = peak_memory(checkpoint, long, tmp_path / "10-out.wav")
    assert soundfile.info(tmp_path / "10-out.wav").frames == 9_600_000
    # The samples of nine minutes are 35 MB as float32.
    assert second - first < 12


@pytest.mark.slow
def test_an_hour_fits_in_600_megabytes(tmp_path: Path) -> None:
    """Of which torch itself takes 500 (a build with CUDA) or 250 (one without)."""
    source = wav(tmp_path / "60.wav", 3600, rate=48000)
    assert peak_memory(available()[0].path, source, tmp_path / "out.wav") < 600
    assert soundfile.info(tmp_path / "out.wav").frames == 3600 * 48000
