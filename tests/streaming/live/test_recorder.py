"""What is recorded is what was given, and is kept whatever the disk does."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from audio_enh.errors import AudioFileError, UserError
from audio_enh.io import read_audio
from audio_enh.streaming.live import spool
from audio_enh.streaming.live.leftovers import leftovers, take_up
from audio_enh.streaming.live.processor import Processor
from audio_enh.streaming.live.recorder import Recorder
from tests.streaming.live.simulation import PassThrough, World

RATE = 16000


@pytest.fixture(autouse=True)
def state(tmp_path_factory, monkeypatch):
    """The notes of other recordings are none of ours."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder / "audio-enh" / "recordings"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 300 kB, or where mounting is not allowed files of no more."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(place)]
    if shutil.which("mount") and subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        yield place
        subprocess.run(["umount", str(place)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    yield place
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def noise(seconds: float, channels: int = 1) -> np.ndarray:
    """Of a quantity that 16 bits hold exactly, so that what comes back can be compared."""
    rng = np.random.default_rng(0)
    return (rng.integers(-9000, 9000, (channels, round(seconds * RATE))) / 32768).astype(np.float32)


def give(recorder: Recorder, audio: np.ndarray, block: int = 441) -> None:
    """In real time's order, but faster."""
    for start in range(0, audio.shape[1], block):
        recorder.add(audio[:, start : start + block])
        while recorder._ring.fill > RATE and recorder.error is None:
            time.sleep(0.01)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_every_sample_is_in_the_file(tmp_path, state, suffix):
    audio = noise(3, channels=2)
    recorder = Recorder(tmp_path / f"talk{suffix}", RATE, 2)
    assert not recorder.path.exists()
    assert len(list(state.iterdir())) == 1
    give(recorder, audio)
    recorder.close()
    read, rate = read_audio(recorder.path)
    assert rate == RATE
    np.testing.assert_array_equal(read, audio)
    assert [path.name for path in tmp_path.iterdir()] == [f"talk{suffix}"]
    assert list(state.iterdir()) == []


@pytest.mark.parametrize("suffix", [".ogg", ".m4a"])
def test_other_formats_are_encoded_at_the_end(tmp_path, state, suffix):
    recorder = Recorder(tmp_path / f"talk{suffix}", RATE, 1)
    give(recorder, noise(2))
    recorder.close()
    read, rate = read_audio(tmp_path / f"talk{suffix}")
    assert read.shape[1] / rate == pytest.approx(2, abs=0.1)
    assert [path.name for path in tmp_path.iterdir()] == [f"talk{suffix}"]
    assert list(state.iterdir()) == []


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".m4a", ".ogg"])
def test_a_full_disk_ends_the_recording_and_keeps_what_there_is(small_disk, suffix):
    audio = noise(20)  # over twice what there is room for
    recorder = Recorder(small_disk / f"talk{suffix}", RATE, 1)
    give(recorder, audio)
    with pytest.raises(
        UserError, match=r"(no space left|file size limit).*what was recorded until then"
    ) as told:
        recorder.close()
    assert recorder.path.suffix == (suffix if suffix in (".wav", ".flac") else ".flac")
    assert str(recorder.path) in str(told.value)
    read, rate = read_audio(recorder.path)
    assert rate == RATE
    assert read.shape[1] > 8 * RATE
    np.testing.assert_array_equal(read, audio[:, : read.shape[1]])
    assert [path.name for path in small_disk.iterdir()] == [recorder.path.name]
    recorder.add(audio)
    assert leftovers() == []


def test_a_disk_that_is_full_from_the_start_leaves_nothing(small_disk):
    (small_disk / "fill").write_bytes(bytes(290_000))
    with (small_disk / "fill").open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass

    def record():
        recorder = Recorder(small_disk / "talk.wav", RATE, 1)
        give(recorder, noise(2))
        recorder.close()

    with pytest.raises(UserError, match=r"no space left|file size limit"):
        record()
    assert [path.name for path in small_disk.iterdir()] == ["fill"]


def test_a_name_that_was_taken_meanwhile_belongs_to_somebody_else(tmp_path):
    recorder = Recorder(tmp_path / "talk.wav", RATE, 1)
    give(recorder, noise(1))
    (tmp_path / "talk.wav").write_text("theirs")
    recorder.close()
    assert (tmp_path / "talk.wav").read_text() == "theirs"
    assert read_audio(tmp_path / "talk-2.wav")[0].shape == (1, RATE)


def test_one_that_was_to_be_replaced_is_replaced(tmp_path):
    (tmp_path / "talk.wav").write_text("old")
    recorder = Recorder(tmp_path / "talk.wav", RATE, 1)
    give(recorder, noise(1))
    recorder.close()
    assert read_audio(tmp_path / "talk.wav")[0].shape == (1, RATE)


def test_the_disk_is_told_to_keep_it_every_few_seconds(tmp_path, monkeypatch):
    kept = []
    real = os.fsync
    monkeypatch.setattr(spool, "SYNC_SECONDS", 0.2)
    monkeypatch.setattr(os, "fsync", lambda handle: (kept.append(os.fstat(handle).st_size), real(handle)))
    recorder = Recorder(tmp_path / "talk.wav", RATE, 1)
    for _ in range(20):
        recorder.add(noise(0.1))
        time.sleep(0.1)
    during = [size for size in kept if size > RATE]
    recorder.close()
    assert len(during) >= 3
    assert during == sorted(during)


KILLED = """
import numpy, sys, time
from pathlib import Path
from audio_enh.streaming.live.processor import Processor
from audio_enh.streaming.live.recorder import Recorder
from tests.streaming.live.simulation import PassThrough, World
recorder = Recorder(Path(sys.argv[1]), 16000, 1)
rng = numpy.random.default_rng(0)
audio = (rng.integers(-9000, 9000, (1, 3 * 16000)) / 32768).astype(numpy.float32)
recorder.add(audio)
while recorder._written < audio.shape[1]:
    time.sleep(0.05)
print("recorded", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".m4a"])
def test_what_a_killed_process_recorded_is_found_and_taken_up(tmp_path, suffix, state):
    path = tmp_path / f"talk{suffix}"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "recorded\n"
    assert leftovers() == []  # it lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    (leftover,) = leftovers()
    assert leftover.target == path
    assert leftover.part.name in str(leftover)
    path.write_text("somebody else's")
    taken = take_up(leftover)
    assert taken == tmp_path / f"talk-2{suffix}"
    read, rate = read_audio(taken)
    if suffix == ".m4a":
        assert read.shape[1] / rate == pytest.approx(3, abs=0.3)
    else:
        np.testing.assert_array_equal(read, noise(3)[:, : read.shape[1]])
        assert read.shape[1] > 2.7 * RATE  # an encoder holds a block back
    assert leftovers() == []
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"talk-2{suffix}", f"talk{suffix}"]
    assert list(state.iterdir()) == []


def test_a_note_of_a_file_that_is_gone_is_forgotten(tmp_path, state):
    state.mkdir(parents=True)
    (state / "1-a.json").write_text(f'{{"part": "{tmp_path / "gone.wav"}", "target": "talk.wav"}}')
    (state / "2-a.json").write_text("not json")
    assert leftovers() == []
    assert [path.name for path in state.iterdir()] == ["2-a.json"]


def test_without_a_place_for_notes_it_records_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    recorder = Recorder(tmp_path / "talk.wav", RATE, 1)
    give(recorder, noise(1))
    recorder.close()
    assert read_audio(tmp_path / "talk.wav")[0].shape == (1, RATE)


def test_a_pipe_is_written_to_directly(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with subprocess.Popen(["cat", str(tmp_path / "pipe.wav")], stdout=subprocess.PIPE) as reader:
        recorder = Recorder(tmp_path / "pipe.wav", RATE, 1)
        give(recorder, noise(1))
        recorder.close()
        assert reader.stdout is not None
        assert len(reader.stdout.read()) > 2 * RATE


def test_what_cannot_be_written_is_said_at_the_start(tmp_path):
    with pytest.raises(AudioFileError, match="unknown extension"):
        Recorder(tmp_path / "talk.xyz", RATE, 1)
    assert list(Path(tmp_path).iterdir()) == []


def test_a_slow_disk_loses_sound_of_the_recording_only(tmp_path):
    recorder = Recorder(tmp_path / "talk.wav", 1000, 1)
    recorder._ending.set()
    recorder._thread.join()
    recorder.add(np.ones((1, 12_000), np.float32))
    assert recorder.dropped == 2000
    recorder.discard()
    assert list(tmp_path.iterdir()) == []


def test_removed_is_the_late_input_minus_the_output(monkeypatch):
    """Also where the output fades, as when it is muted."""
    world = World(monkeypatch, sound=lambda t: 0.3 * np.sin(2 * np.pi * 440 * t))
    engine = Delayed(48000)
    live = Processor(engine, world.capture, world.playback)
    world.processor = live
    heard, given, removed = [], [], []
    live.on_input, live.on_output, live.on_removed = given.append, heard.append, removed.append
    world.run(0.5)
    live.muted = True
    world.run(0.5)
    before, after, gone = (np.concatenate(blocks, axis=1) for blocks in (given, heard, removed))
    late = np.pad(before, ((0, 0), (engine.latency_samples, 0)))[:, : before.shape[1]]
    unmuted = slice(0, 20000)
    np.testing.assert_allclose((after + gone)[:, unmuted], late[:, unmuted], atol=1e-7)
    assert np.abs(gone[:, 5000:20000]).max() > 0.1
    assert not gone[:, -4800:].any()


class Delayed(PassThrough):
    """Halves what it hears, 700 samples later."""

    latency_samples = 700

    def __init__(self, sample_rate):
        super().__init__(sample_rate)
        self._held = np.zeros((1, self.latency_samples), np.float32)

    def process(self, block, *, run_model=True):
        joined = np.concatenate([self._held, block], axis=1)
        self._held = joined[:, block.shape[1] :]
        return 0.5 * joined[:, : block.shape[1]]
