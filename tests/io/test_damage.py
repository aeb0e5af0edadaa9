"""Files that are missing, empty, cut short, damaged, or something else altogether."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import soundfile

from audio_enh.errors import AudioFileError, UserError
from audio_enh.io import AudioReader, probe, read_audio

from .sounds import noise
from .test_lossy import encode

RATE = 16000
FORMATS = [
    (".wav", {}),
    (".wav", {"format": "WAVEX", "subtype": "PCM_24"}),
    (".wav", {"format": "RF64"}),
    (".w64", {}),
    (".aiff", {}),
    (".au", {}),
    (".flac", {}),
    (".ogg", {}),
    (".opus", {"format": "OGG", "subtype": "OPUS"}),
    (".mp3", {"bitrate_mode": "CONSTANT", "compression_level": 0.5}),
    (".mp3", {"bitrate_mode": "VARIABLE", "compression_level": 0.5}),
]


def cut(tmp_path, suffix, options, share=0.6):
    """A file of 10 s, and what is left when its end is cut off."""
    whole = tmp_path / f"whole{suffix}"
    encode(whole, noise(10 * RATE, RATE), RATE, **options)
    data = whole.read_bytes()
    part = tmp_path / f"part{suffix}"
    part.write_bytes(data[: int(share * len(data))])
    return whole, part


@pytest.mark.parametrize(("suffix", "options"), FORMATS)
def test_cut_file_is_refused_in_one_line(tmp_path, suffix, options):
    whole, part = cut(tmp_path, suffix, options)
    assert probe(whole).truncated is None
    assert probe(whole).warnings == ()
    with pytest.raises(AudioFileError) as caught:
        read_audio(part)
    message = str(caught.value)
    assert "part" in message
    assert "cut short" in message
    assert "\n" not in message


@pytest.mark.parametrize(("suffix", "options"), FORMATS)
def test_cut_file_can_be_read_as_far_as_it_goes(tmp_path, suffix, options):
    whole, part = cut(tmp_path, suffix, options)
    expected, _ = read_audio(whole)
    with AudioReader(part, allow_truncated=True) as reader:
        there = np.concatenate(list(reader.blocks(1.0)), axis=1)
        assert any("cut short" in line for line in reader.warnings)
    frames = there.shape[1]
    assert 0.4 * 10 * RATE < frames < 0.75 * 10 * RATE
    # All but the last, half decoded packet is what the whole file gives.
    sure = frames - 4096
    np.testing.assert_allclose(there[:, :sure], expected[:, :sure], atol=1e-3)


@pytest.mark.parametrize("lost", [1, 4, 100])
def test_wav_that_lacks_a_few_bytes(tmp_path, lost):
    whole, _ = cut(tmp_path, ".wav", {})
    whole.write_bytes(whole.read_bytes()[:-lost])
    with pytest.raises(AudioFileError, match="cut short"):
        read_audio(whole)


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".opus", ".mp3"])
def test_damage_in_the_middle_is_not_passed_over(tmp_path, suffix):
    options = {"format": "OGG", "subtype": "OPUS"} if suffix == ".opus" else {}
    whole, _ = cut(tmp_path, suffix, options)
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 5000] = bytes(5000)
    whole.write_bytes(data)
    with pytest.raises(AudioFileError, match="damaged"):
        read_audio(whole)
    with AudioReader(whole, allow_truncated=True) as reader:
        assert sum(block.shape[1] for block in reader.blocks()) > 3 * RATE
        assert any("damaged" in line for line in reader.warnings)


@pytest.mark.parametrize(
    ("riff", "data"),
    [(0, 0), (8, 0), (36, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF024, 0x7FFFF000), (0x80000023, 0x7FFFFFFF)],
)
def test_wav_whose_sizes_were_never_written_is_read_whole(tmp_path, riff, data):
    """What a crashed recorder, ffmpeg, sox and arecord leave in a file written through a pipe."""
    audio = np.round(noise(5000, RATE, 2) * 32768) / 32768
    path = tmp_path / "a.wav"
    soundfile.write(path, audio.T, RATE)
    content = bytearray(path.read_bytes())
    content[4:8] = struct.pack("<I", riff)
    content[40:44] = struct.pack("<I", data)
    path.write_bytes(content)
    after, _ = read_audio(path)
    np.testing.assert_array_equal(after, audio)
    assert probe(path).frames == 5000


def test_flac_from_a_pipe_has_no_length_and_is_read_whole(tmp_path):
    audio = np.round(noise(50_001, RATE) * 32768) / 32768
    path = tmp_path / "a.flac"
    soundfile.write(path, audio.T, RATE)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # 36 bits of total samples in STREAMINFO
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert probe(path).frames is None
    for seconds in (0.1, 10):
        with AudioReader(path) as reader:
            after = np.concatenate(list(reader.blocks(seconds)), axis=1)
        np.testing.assert_array_equal(after, audio)


def test_ogg_without_its_last_pages_warns(tmp_path):
    from audio_enh.io import ogg

    whole, _ = cut(tmp_path, ".ogg", {})
    with whole.open("rb") as file:
        pages = list(ogg.pages(file))
    whole.write_bytes(whole.read_bytes()[: pages[-3].end])
    with AudioReader(whole) as reader:
        assert sum(block.shape[1] for block in reader.blocks()) > 5 * RATE
    assert any("end-of-stream" in line for line in reader.warnings)


@pytest.mark.parametrize("reader", [probe, read_audio, AudioReader])
def test_what_is_no_audio_file(tmp_path, reader):
    (tmp_path / "text.wav").write_text("This is no sound.\n" * 100)
    (tmp_path / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(100_000))
    (tmp_path / "short.wav").write_bytes(b"RIFF")
    (tmp_path / "header.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
    (tmp_path / "empty.flac").touch()
    for name, message in [
        ("missing.wav", "no such file"),
        ("text.wav/a.wav", "no such file"),
        (".", "is a folder"),
        ("empty.flac", "0 bytes"),
        ("text.wav", "not an audio file"),
        ("noise.mp3", "noise.mp3"),
        ("short.wav", "not an audio file"),
        ("header.wav", "header.wav"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            reader(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("suffix", "options"), FORMATS)
def test_damaged_headers_never_give_more_than_an_error(tmp_path, monkeypatch, suffix, options):
    """Bytes changed at random where the headers are: read, or refused in one line; nothing else."""
    monkeypatch.setenv("PATH", "")  # ffmpeg has its own tests, and is slow to start
    whole = tmp_path / f"whole{suffix}"
    encode(whole, noise(3000, RATE), RATE, **options)
    data = whole.read_bytes()
    rng = np.random.default_rng(0)
    part = tmp_path / f"part{suffix}"
    for _ in range(60):
        changed = bytearray(data)
        for at in rng.integers(0, min(len(data), 200), rng.integers(1, 8)):
            changed[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])
        part.write_bytes(changed[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else changed)
        message = ""
        try:
            with AudioReader(part, allow_truncated=bool(rng.integers(2))) as reader:
                for block in reader.blocks(0.05):
                    assert block.shape[0] == reader.info.channels
        except UserError as error:
            message = str(error)
        assert "\n" not in message


def test_without_ffmpeg_the_message_says_what_to_install(tmp_path, monkeypatch):
    from audio_enh.errors import DependencyError

    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "a.m4a").write_bytes(struct.pack(">I4s8s", 16, b"ftyp", b"M4A ") + bytes(100))
    with pytest.raises(DependencyError, match="ffmpeg"):
        probe(tmp_path / "a.m4a")
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioFileError, match="not an audio file"):
        probe(tmp_path / "text.wav")
