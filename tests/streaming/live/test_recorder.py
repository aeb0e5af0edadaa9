"""What is recorded is what was given, or nothing is left."""

import numpy as np
import pytest

from audio_enh.errors import AudioFileError
from audio_enh.io import read_audio
from audio_enh.streaming.live import recorder as module
from audio_enh.streaming.live.recorder import Recorder


def test_every_sample_is_in_the_file(tmp_path):
    rng = np.random.default_rng(0)
    audio = rng.uniform(-0.9, 0.9, (2, 50_000)).astype(np.float32)
    recorder = Recorder(tmp_path / "talk.flac", 16000, 2)
    assert not (tmp_path / "talk.flac").exists()
    for start in range(0, 50_000, 441):
        recorder.add(audio[:, start : start + 441])
    recorder.close()
    read, rate = read_audio(tmp_path / "talk.flac")
    assert rate == 16000
    np.testing.assert_allclose(read, audio, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["talk.flac"]


def test_a_full_disk_ends_the_recording_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, audio):
        raise AudioFileError("no space left on the disk")

    recorder = Recorder(tmp_path / "talk.wav", 16000, 1)
    monkeypatch.setattr(module.AudioWriter, "write", full)
    recorder.add(np.ones((1, 1600), np.float32))
    with pytest.raises(AudioFileError, match="no space"):
        recorder.close()
    recorder.add(np.ones((1, 1600), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_slow_disk_loses_sound_of_the_recording_only(tmp_path):
    recorder = Recorder(tmp_path / "talk.wav", 1000, 1)
    recorder._ending.set()
    recorder._thread.join()
    recorder.add(np.ones((1, 12_000), np.float32))
    assert recorder.dropped == 2000
    recorder.discard()
    assert list(tmp_path.iterdir()) == []
