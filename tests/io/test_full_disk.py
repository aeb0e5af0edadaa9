"""Real full disks (a small file system where mounting is allowed, else a limit on the size of files): what was there
stays, and nobody says that all is well."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from audio_enh.errors import AudioFileError
from audio_enh.io import AudioWriter, probe, read_audio, write_audio

from .sounds import noise

SECONDS = 12
RATE = 44100

ffmpeg_needed = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffmpeg")


@pytest.fixture
def disk(tmp_path):
    """Mounts a file system of so many bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = []

    def mount(size: int):
        command = ["mount", "-t", "tmpfs", "-o", f"size={size // 4096 * 4}k", "tmpfs", folder]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("needs the right to mount")
        mounted.append(folder)
        return folder

    yield mount
    for each in mounted:
        subprocess.run(["umount", each], check=True)


@pytest.fixture(scope="module")
def sound():
    return noise(SECONDS * RATE, RATE)


@pytest.fixture(scope="module")
def sizes(sound, tmp_path_factory):
    """How large a file becomes with room enough."""
    folder = tmp_path_factory.mktemp("sizes")

    def measure(suffix: str) -> int:
        path = folder / f"a{suffix}"
        if not path.exists():
            write_audio(path, sound, RATE)
        return path.stat().st_size

    return measure


SUFFIXES = [".m4a", ".mka"]
MORE = [".mov", ".3gp", ".avi", ".aac", ".mp4", ".webm", ".wma", ".ts", ".flv", ".tta", ".wv", ".ac3", ".mp2"]
MORE += [".wav", ".flac"]


@ffmpeg_needed
@pytest.mark.parametrize(
    "share", [0.8, 1.3, *(pytest.param(x, marks=pytest.mark.slow) for x in (0.5, 1.7, 1.95))]
)
@pytest.mark.parametrize("suffix", SUFFIXES + [pytest.param(each, marks=pytest.mark.slow) for each in MORE])
def test_a_full_disk_is_an_error_and_the_old_file_stays(disk, sound, sizes, suffix, share):
    """The encoded sound lies there twice for a moment: twice its size is needed, with what belongs to it."""
    folder = disk(int(sizes(suffix) * share) + 16384)
    target = folder / f"a{suffix}"
    target.write_bytes(b"precious")
    problem = None
    try:
        write_audio(target, sound, RATE)
    except AudioFileError as error:
        problem = str(error)
    if problem is None:
        assert abs(read_audio(target)[0].shape[1] / probe(target).sample_rate - SECONDS) < 0.1
        assert share > 1 or suffix in (".wav", ".flac")
    else:
        assert "no space left" in problem or "space left on the disk" in problem
        assert target.read_bytes() == b"precious"
    assert [path.name for path in folder.iterdir()] == [target.name]


LIMITED = """
import resource, sys
import numpy as np
from audio_enh.errors import UserError
from audio_enh.io import AudioWriter
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with AudioWriter(sys.argv[1], sample_rate=44100, channels=1) as writer:
        for _ in range(12):
            writer.write(0.1 * np.random.default_rng(0).standard_normal((1, 44100)).astype(np.float32))
except UserError as error:
    sys.exit(f"error: {error}")
"""


@ffmpeg_needed
@pytest.mark.parametrize("suffix", [".m4a", pytest.param(".mka", marks=pytest.mark.slow)])
def test_a_limit_on_the_size_of_files(tmp_path, suffix):
    target = tmp_path / f"a{suffix}"
    target.write_bytes(b"precious")
    done = subprocess.run([sys.executable, "-c", LIMITED, target, "100000"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "larger than this system or its file size limit" in done.stderr
    assert target.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@ffmpeg_needed
def test_what_was_written_is_looked_at(tmp_path, sound, monkeypatch):
    """Whatever the reason why it is cut short: here the end is taken off behind ffmpeg's back."""
    from audio_enh.io import ffmpeg_writer

    run = ffmpeg_writer.run_ffmpeg

    def cut(arguments, **options):
        out = run(arguments, **options)
        path = options.get("output")
        if path is not None and ".part" in path.name:
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size - 20_000)
        return out

    for suffix in (".m4a", ".mka", ".aac"):
        target = tmp_path / f"a{suffix}"
        target.write_bytes(b"precious")
        with AudioWriter(
            tmp_path / f"whole{suffix}", sample_rate=RATE, channels=1
        ) as writer:  # measures the delay
            writer.write(sound)
        monkeypatch.setattr(ffmpeg_writer, "run_ffmpeg", cut)
        with pytest.raises(AudioFileError, match="is there space left on the disk"):
            write_audio(target, sound, RATE)
        monkeypatch.setattr(ffmpeg_writer, "run_ffmpeg", run)
        assert target.read_bytes() == b"precious"


def test_libsndfile_outputs_are_looked_at_too(tmp_path, monkeypatch):
    from audio_enh.io import libsndfile

    close = libsndfile.SoundFileSink.close

    def cut(self):
        close(self)
        with self.path.open("r+b") as file:
            file.truncate(self.path.stat().st_size - 5000)

    monkeypatch.setattr(libsndfile.SoundFileSink, "close", cut)
    for suffix in (".wav", ".flac", ".aiff", ".w64", ".caf", ".au", ".ogg"):
        target = tmp_path / f"a{suffix}"
        target.write_bytes(b"precious")
        with pytest.raises(AudioFileError, match="is there space left on the disk"):
            write_audio(target, noise(48000, 48000), 48000)
        assert target.read_bytes() == b"precious"
