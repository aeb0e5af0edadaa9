"""Outputs appear whole or not at all, whatever goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_enh.errors import AudioFileError
from audio_enh.io import AtomicTarget, AudioReader, AudioWriter, read_audio, write_audio

from .sounds import copy_through, noise

FORMATS = [".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def before(tmp_path):
    """A folder with an earlier output, whose content must survive."""
    path = tmp_path / "out.wav"
    path.write_bytes(b"what was there")
    return path


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("suffix", FORMATS)
def test_an_exception_leaves_nothing_and_the_old_file_untouched(tmp_path, suffix, error):
    target = tmp_path / f"out{suffix}"
    target.write_bytes(b"what was there")

    def fail() -> None:
        with AudioWriter(target, sample_rate=16000, channels=1) as writer:
            writer.write(noise(20_000, 16000))
            assert len(names(tmp_path)) == 2
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == [target.name]
    assert target.read_bytes() == b"what was there"


def test_the_target_changes_only_at_the_end(before):
    with AudioWriter(before, sample_rate=16000, channels=1) as writer:
        writer.write(noise(20_000, 16000))
        assert before.read_bytes() == b"what was there"
        temporary = [name for name in names(before.parent) if name != "out.wav"]
        assert len(temporary) == 1
        assert temporary[0].startswith(".")
        assert ".part" in temporary[0]
    assert names(before.parent) == ["out.wav"]
    assert read_audio(before)[0].shape == (1, 20_000)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
def test_output_may_be_the_input(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, noise(50_000, 16000).T, 16000)
    expected = soundfile.read(path)[0]
    copy_through(path, path, block_seconds=0.1)
    after = soundfile.read(path)[0]
    assert after.shape == expected.shape
    if suffix != ".mp3":
        np.testing.assert_array_equal(after, expected)
    assert names(tmp_path) == [path.name]


def test_missing_folders_are_made_and_removed_again(tmp_path):
    with pytest.raises(RuntimeError), AudioWriter(tmp_path / "x/y/a.wav", sample_rate=8000, channels=1):
        raise RuntimeError
    assert names(tmp_path) == []
    write_audio(tmp_path / "x/y/a.wav", np.zeros(10, np.float32), 8000)
    assert (tmp_path / "x/y/a.wav").is_file()


def test_a_link_is_followed(tmp_path):
    real = tmp_path / "store" / "real.wav"
    write_audio(real, np.zeros(5, np.float32), 8000)
    link = tmp_path / "link.wav"
    link.symlink_to(real)
    write_audio(link, np.zeros(10, np.float32), 8000)
    assert link.is_symlink()
    assert read_audio(real)[0].shape == (1, 10)
    assert names(real.parent) == ["real.wav"]


def test_permissions_are_those_of_the_umask_or_of_the_old_file(tmp_path):
    old = os.umask(0o027)
    try:
        write_audio(tmp_path / "a.wav", np.zeros(10, np.float32), 8000)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.wav").stat().st_mode) == 0o640
    (tmp_path / "a.wav").chmod(0o604)
    write_audio(tmp_path / "a.wav", np.zeros(10, np.float32), 8000)
    assert stat.S_IMODE((tmp_path / "a.wav").stat().st_mode) == 0o604


def test_names_as_long_as_the_file_system_takes(tmp_path):
    name = "ä" * 125 + ".wav"  # 254 bytes of 255
    write_audio(tmp_path / name, np.zeros(10, np.float32), 8000)
    assert names(tmp_path) == [name]
    with pytest.raises(AudioFileError, match="too long"):
        write_audio(tmp_path / f"{'ä' * 130}.wav", np.zeros(10, np.float32), 8000)


def test_a_folder_or_a_file_in_the_way(tmp_path):
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioFileError, match="is a folder"):
        write_audio(tmp_path / "folder.wav", np.zeros(10, np.float32), 8000)
    (tmp_path / "file").touch()
    with pytest.raises(AudioFileError, match="is not a folder"):
        write_audio(tmp_path / "file" / "a.wav", np.zeros(10, np.float32), 8000)
    assert names(tmp_path) == ["file", "folder.wav"]


SCRIPT = """
import os, resource, signal, sys, time
import numpy as np
from audio_enh.errors import UserError
from audio_enh.io import AudioWriter, terminate_as_interrupt, write_audio

def run():
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 1_000_000)).astype(np.float32)
    {body}

try:
    run()
except UserError as error:
    sys.exit(f"error: {{error}}")
except KeyboardInterrupt:
    sys.exit(130)
"""


def process(body: str, *arguments) -> subprocess.Popen:
    indented = body.replace("\n", "\n    ")
    command = [sys.executable, "-c", SCRIPT.format(body=indented), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(running: subprocess.Popen) -> tuple[int, str]:
    _, stderr = running.communicate(timeout=60)
    return running.returncode, stderr.decode()


@pytest.mark.parametrize("suffix", FORMATS)
def test_file_size_limit_is_noticed(tmp_path, suffix):
    """A real write error in every encoder (libsndfile hides short writes): no file may grow beyond 64 kB."""
    body = """
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
write_audio(sys.argv[1], audio, 48000)
"""
    target = tmp_path / f"a{suffix}"
    target.write_bytes(b"what was there")
    code, stderr = finish(process(body, target))
    assert code == 1
    assert stderr.strip().startswith("error:")
    assert "limit" in stderr
    assert stderr.strip().count("\n") == 0
    assert target.read_bytes() == b"what was there"
    assert names(tmp_path) == [target.name]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 256 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("needs the right to mount")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("suffix", [*FORMATS, ".m4a", ".mkv"])
def test_full_disk(tiny_disk, suffix):
    if suffix in (".m4a", ".mkv") and shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 3_000_000)).astype(np.float32)
    with pytest.raises(AudioFileError, match="no space left") as caught:
        write_audio(tiny_disk / f"a{suffix}", audio, 48000)
    assert "\n" not in str(caught.value)
    assert names(tiny_disk) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root drops its rights for this")
def test_read_only_folder(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    for parent in [tmp_path, *tmp_path.parents][:3]:  # pytest's own folders are private
        parent.chmod(parent.stat().st_mode | 0o055)
    body = """
os.setgroups([]); os.setgid(65534); os.setuid(65534)
write_audio(sys.argv[1], audio, 48000)
"""
    code, stderr = finish(process(body, folder / "a.wav"))
    assert code == 1
    assert "no permission to write" in stderr
    assert "another output folder" in stderr
    assert stderr.strip().count("\n") == 0
    assert names(folder) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root drops its rights for this")
def test_unreadable_input(tmp_path):
    path = tmp_path / "a.wav"
    write_audio(path, np.zeros(10, np.float32), 8000)
    path.chmod(0)
    for parent in [tmp_path, *tmp_path.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    body = """
from audio_enh.io import read_audio
os.setgroups([]); os.setgid(65534); os.setuid(65534)
read_audio(sys.argv[1])
"""
    code, stderr = finish(process(body, path))
    assert code == 1
    assert "Permission denied" in stderr
    assert stderr.strip().count("\n") == 0


@pytest.mark.parametrize("suffix", [".wav", ".m4a"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_nothing(before, number, suffix):
    if suffix == ".m4a" and shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    body = """
with terminate_as_interrupt(), AudioWriter(sys.argv[1], sample_rate=16000, channels=1) as writer:
    writer.write(audio[:, :100_000])
    print("writing", flush=True)
    time.sleep(60)
"""
    target = before.with_suffix(suffix)
    if target != before:
        before.rename(target)
    running = process(body, target)
    assert running.stdout.readline() == b"writing\n"
    assert len(names(before.parent)) > 1
    running.send_signal(number)
    code, _ = finish(running)
    assert code == 130
    assert names(before.parent) == [target.name]
    assert target.read_bytes() == b"what was there"


def test_terminate_as_interrupt_gives_the_handlers_back():
    from audio_enh.io import terminate_as_interrupt

    handler = signal.getsignal(signal.SIGTERM)

    def wait_for_the_end() -> None:
        with terminate_as_interrupt():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        wait_for_the_end()
    assert signal.getsignal(signal.SIGTERM) == handler


def test_atomic_target_for_other_files(tmp_path):
    target = AtomicTarget(tmp_path / "report.json")
    target.temporary.write_text("{}")
    assert names(tmp_path) == [target.temporary.name]
    target.commit()
    assert (tmp_path / "report.json").read_text() == "{}"
    assert names(tmp_path) == ["report.json"]


def test_two_writers_of_one_target_do_not_meet(tmp_path):
    path = tmp_path / "a.wav"
    with (
        AudioWriter(path, sample_rate=8000, channels=1) as first,
        AudioWriter(path, sample_rate=8000, channels=1) as second,
    ):
        first.write(np.zeros((1, 100), np.float32))
        second.write(np.zeros((1, 200), np.float32))
    with AudioReader(path) as reader:
        assert reader.info.frames == 100  # the last to finish wins, whole
    assert names(tmp_path) == ["a.wav"]
