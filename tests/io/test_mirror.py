"""What comes out has the input's rate, channels, length, container, sample format and samples."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from audio_enh.errors import AudioFileError
from audio_enh.io import AudioReader, AudioWriter, probe, read_audio, write_audio

from .sounds import copy_through, lag, noise

LOSSLESS = [
    (".wav", "WAV", "PCM_U8", "FILE"),
    (".wav", "WAV", "PCM_16", "FILE"),
    (".wav", "WAV", "PCM_24", "FILE"),
    (".wav", "WAV", "FLOAT", "FILE"),
    (".wav", "WAV", "ULAW", "FILE"),
    (".wav", "WAV", "ALAW", "FILE"),
    (".wav", "WAV", "PCM_16", "BIG"),
    (".wav", "WAVEX", "PCM_24", "FILE"),
    (".wav", "RF64", "PCM_16", "FILE"),
    (".w64", "W64", "PCM_24", "FILE"),
    (".flac", "FLAC", "PCM_S8", "FILE"),
    (".flac", "FLAC", "PCM_16", "FILE"),
    (".flac", "FLAC", "PCM_24", "FILE"),
    (".aiff", "AIFF", "PCM_16", "FILE"),
    (".aif", "AIFF", "PCM_24", "LITTLE"),
    (".aifc", "AIFF", "FLOAT", "FILE"),
    (".au", "AU", "PCM_16", "FILE"),
    (".caf", "CAF", "PCM_24", "FILE"),
    (".caf", "CAF", "ALAC_16", "FILE"),
    (".sph", "NIST", "PCM_16", "FILE"),
]


def write_samples(path, audio, sample_rate, **format):
    """By soundfile itself, so that our writer is not its own judge."""
    soundfile.write(path, audio.T, sample_rate, **format)


@pytest.mark.parametrize(("suffix", "format", "subtype", "endian"), LOSSLESS)
def test_unchanged_samples_pass_bit_for_bit(tmp_path, suffix, format, subtype, endian):
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    audio = noise(10_007, 22050, 2)
    audio[:, :2] = [[-1, 0.999], [0.3, -0.3]]
    write_samples(source, audio, 22050, format=format, subtype=subtype, endian=endian)
    info, _ = copy_through(source, target)
    before, _ = soundfile.read(source, dtype="int32" if subtype not in ("FLOAT", "DOUBLE") else "float64")
    after, _ = soundfile.read(target, dtype=before.dtype.name)
    np.testing.assert_array_equal(before, after)
    out = probe(target)
    assert (out.format, out.subtype, out.endian) == (info.format, info.subtype, info.endian)
    assert (out.format, out.subtype) == (format, subtype)
    assert (out.sample_rate, out.channels, out.frames) == (22050, 2, 10_007)


@pytest.mark.parametrize("subtype", ["PCM_32", "DOUBLE"])
def test_formats_beyond_float32_come_back_to_its_precision(tmp_path, subtype):
    rng = np.random.default_rng(0)
    audio = rng.uniform(-1, 1, (1, 4000))
    write_samples(tmp_path / "in.wav", audio, 8000, subtype=subtype)
    copy_through(tmp_path / "in.wav", tmp_path / "out.wav")
    after, _ = soundfile.read(tmp_path / "out.wav")
    assert soundfile.info(tmp_path / "out.wav").subtype == subtype
    np.testing.assert_allclose(after, audio[0], atol=2.0**-24)


@pytest.mark.parametrize(
    ("rate", "channels"), [(8000, 1), (11025, 2), (44100, 6), (48000, 8), (96000, 1), (192000, 2)]
)
def test_rates_and_channels(tmp_path, rate, channels):
    audio = np.round(noise(5000, rate, channels) * 32768) / 32768
    write_samples(tmp_path / "in.wav", audio, rate)
    copy_through(tmp_path / "in.wav", tmp_path / "out.wav")
    after, after_rate = read_audio(tmp_path / "out.wav")
    assert after_rate == rate
    np.testing.assert_array_equal(after, audio)


@pytest.mark.parametrize("frames", [0, 1])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".ogg", ".w64", ".caf"])
def test_no_sample_and_one_sample(tmp_path, suffix, frames):
    audio = np.full((2, frames), 0.25, np.float32)
    # soundfile leaves a FLAC file of 0 bytes if there are no samples.
    (write_audio if suffix == ".flac" else write_samples)(tmp_path / f"in{suffix}", audio, 16000)
    copy_through(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}")
    after, rate = read_audio(tmp_path / f"out{suffix}")
    assert after.shape == (2, frames)
    assert rate == 16000
    if suffix != ".ogg":
        np.testing.assert_array_equal(after, audio)


@pytest.mark.parametrize("suffix", [".mp3", ".opus"])
def test_formats_that_cannot_be_empty_say_so(tmp_path, suffix):
    write_samples(tmp_path / "in.wav", np.zeros((1, 0), np.float32), 16000)
    target = tmp_path / f"out{suffix}"
    with pytest.raises(AudioFileError, match="no samples"):
        copy_through(tmp_path / "in.wav", target)
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.parametrize("seconds", [1e-9, 0.01, 0.25, 100])
def test_blocks_are_the_file_cut_into_equal_pieces(tmp_path, seconds):
    audio = np.round(noise(1_001, 8000, 2) * 32768) / 32768
    write_samples(tmp_path / "in.wav", audio, 8000)
    with AudioReader(tmp_path / "in.wav") as reader:
        blocks = list(reader.blocks(seconds))
        assert reader.frames_read == 1001
    size = max(1, round(8000 * seconds))
    assert {block.shape[1] for block in blocks[:-1]} <= {size}
    assert all(block.dtype == np.float32 and block.flags.c_contiguous for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), audio)


def test_float_files_keep_what_is_beyond_full_scale_and_nonfinite(tmp_path):
    audio = np.array([[3.5, -2.0, np.nan, np.inf, 0.1]], np.float32)
    write_samples(tmp_path / "in.wav", audio, 8000, subtype="FLOAT")
    with AudioReader(tmp_path / "in.wav") as reader:
        blocks = list(reader.blocks())
        assert reader.nonfinite == 2
    np.testing.assert_array_equal(blocks[0], audio)
    _, writer = copy_through(tmp_path / "in.wav", tmp_path / "out.wav")
    np.testing.assert_array_equal(read_audio(tmp_path / "out.wav")[0], audio)
    assert writer.clipped == 0


def test_integer_output_clips_counts_and_silences_nan(tmp_path):
    audio = np.array([[1.5, -1.5, 1.0, -1.0, 0.5, np.nan]], np.float32)
    with AudioWriter(tmp_path / "a.wav", sample_rate=8000, channels=1) as writer:
        writer.write(audio)
    after, _ = read_audio(tmp_path / "a.wav")
    step = 1 / 32768
    np.testing.assert_array_equal(after, [[1 - step, -1, 1 - step, -1, 0.5, 0]])
    assert writer.clipped == 2


def test_dc_offset_and_clipped_recordings_pass(tmp_path):
    audio = np.clip(4 * noise(4000, 8000), -1, 1 - 1 / 32768)
    audio = np.round(audio * 32768) / 32768
    write_samples(tmp_path / "in.wav", audio, 8000)
    _, writer = copy_through(tmp_path / "in.wav", tmp_path / "out.wav")
    np.testing.assert_array_equal(read_audio(tmp_path / "out.wav")[0], audio)
    assert writer.clipped == 0


CONVERSIONS = [
    ("in.mp3", None, "out.wav", "PCM_16"),
    ("in.ogg", None, "out.flac", "PCM_16"),
    ("in.wav", "PCM_24", "out.flac", "PCM_24"),
    ("in.wav", "FLOAT", "out.flac", "PCM_24"),
    ("in.wav", "FLOAT", "out.aiff", "FLOAT"),
    ("in.wav", "PCM_U8", "out.flac", "PCM_S8"),
    ("in.wav", "ULAW", "out.flac", "PCM_16"),
    ("in.flac", "PCM_24", "out.wav", "PCM_24"),
    ("in.wav", "PCM_24", "out.mp3", "MPEG_LAYER_III"),
    ("in.wav", "PCM_16", "out.ogg", "VORBIS"),
    ("in.ogg", "VORBIS", "out.opus", "OPUS"),
    ("in.opus", "OPUS", "out.ogg", "OPUS"),
]


@pytest.mark.parametrize(("source", "subtype", "target", "expected"), CONVERSIONS)
def test_another_extension_converts_to_the_sensible_format(tmp_path, source, subtype, target, expected):
    kind = {"format": "OGG"} if source.endswith(".opus") else {}
    write_samples(tmp_path / source, noise(8000, 16000), 16000, subtype=subtype, **kind)
    copy_through(tmp_path / source, tmp_path / target)
    assert probe(tmp_path / target).subtype == expected
    before, after = read_audio(tmp_path / source)[0], read_audio(tmp_path / target)[0]
    assert after.shape == before.shape
    assert lag(before, after) == 0


def test_subtype_can_be_chosen_and_must_fit(tmp_path):
    write_audio(tmp_path / "a.wav", np.zeros(10, np.float32), 8000, subtype="PCM_24")
    assert probe(tmp_path / "a.wav").subtype == "PCM_24"
    with pytest.raises(AudioFileError, match=r"FLAC does not hold FLOAT.*PCM_24"):
        write_audio(tmp_path / "a.flac", np.zeros(10, np.float32), 8000, subtype="FLOAT")
    assert not (tmp_path / "a.flac").exists()


@pytest.mark.parametrize("name", ["a.xyz", "a"])
def test_unknown_extension(tmp_path, name):
    with pytest.raises(AudioFileError, match=r"extension.*\.wav"):
        write_audio(tmp_path / name, np.zeros(10, np.float32), 8000)
    assert not list(tmp_path.iterdir())


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    with pytest.raises(AudioFileError, match="8 channels"):
        write_audio(tmp_path / "a.mp3", np.zeros((8, 100), np.float32), 44100)
    with pytest.raises(AudioFileError, match="9 channels"):
        write_audio(tmp_path / "a.flac", np.zeros((9, 100), np.float32), 44100)
    with pytest.raises(AudioFileError, match="1000000 Hz"):
        write_audio(tmp_path / "a.flac", np.zeros((1, 100), np.float32), 1_000_000)
    assert not list(tmp_path.iterdir())


def test_speaker_positions_of_extensible_wav_are_kept(tmp_path):
    write_samples(tmp_path / "in.wav", noise(1000, 8000, 4), 8000, format="WAVEX", subtype="PCM_16")
    data = bytearray((tmp_path / "in.wav").read_bytes())
    at = data.find(b"fmt ") + 8 + 20
    data[at : at + 4] = (0x107).to_bytes(4, "little")  # left, right, centre, back centre
    (tmp_path / "in.wav").write_bytes(data)
    copy_through(tmp_path / "in.wav", tmp_path / "out.wav")
    out = (tmp_path / "out.wav").read_bytes()
    assert out[at : at + 4] == (0x107).to_bytes(4, "little")


def test_wav_beyond_4_gib_becomes_rf64(tmp_path):
    """By the length it will have; nobody writes 4 GiB here."""
    from dataclasses import replace

    write_samples(tmp_path / "in.wav", noise(100, 48000, 2), 48000)
    info = replace(probe(tmp_path / "in.wav"), frames=2**30 + 1)
    with AudioWriter(tmp_path / "out.wav", info) as writer:
        writer.write(noise(100, 48000, 2))
    assert probe(tmp_path / "out.wav").format == "RF64"
