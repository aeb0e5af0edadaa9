"""Memory does not grow with the length (measured where there is /proc)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from .sounds import noise

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")

COPY = """
import sys
from pathlib import Path
from audio_enh.io import AudioReader, AudioWriter
with AudioReader(sys.argv[1]) as reader, AudioWriter(sys.argv[2], reader.info) as writer:
    for block in reader.blocks():
        writer.write(block)
# Not getrusage: its maximum begins with that of the process that forked this one.
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""


def peak_megabytes(source, target) -> int:
    command = [sys.executable, "-c", COPY, str(source), str(target)]
    return int(subprocess.run(command, check=True, capture_output=True, timeout=300).stdout)


def make(path, minutes: float, **options) -> None:
    rate = 16000
    second = noise(60 * rate, rate)[0]
    with soundfile.SoundFile(path, "w", rate, 1, **options) as file:
        for _ in range(round(minutes)):
            for start in range(0, len(second), 8192):
                file.write(second[start : start + 8192])


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_ten_times_the_length_takes_the_same_memory(tmp_path, suffix):
    make(tmp_path / f"short{suffix}", 2)
    make(tmp_path / f"long{suffix}", 20)
    short = peak_megabytes(tmp_path / f"short{suffix}", tmp_path / f"out{suffix}")
    long = peak_megabytes(tmp_path / f"long{suffix}", tmp_path / f"out{suffix}")
    assert long < short + 10  # 20 minutes of float32 would be 77 MB


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a"])
def test_an_hour(tmp_path, suffix):
    make(tmp_path / "hour.wav", 60)
    if suffix != ".wav":
        peak_megabytes(tmp_path / "hour.wav", tmp_path / f"hour{suffix}")
    assert peak_megabytes(tmp_path / f"hour{suffix}", tmp_path / f"out{suffix}") < 150
