"""MP3, Vorbis and Opus: length, alignment, bit rate, and MP3 files whose header lies."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from scipy import signal

from audio_enh.io import AudioWriter, mp3, ogg, opus, probe, read_audio, write_audio
from audio_enh.io.samples import replace_nonfinite

from .sounds import copy_through, lag, noise

MP3_RATES = (8000, 11025, 16000, 22050, 44100, 48000)


def encode(path, audio, rate, **options):
    """By soundfile itself, in small writes (libvorbis crashes on large ones)."""
    with soundfile.SoundFile(path, "w", rate, len(audio), **options) as file:
        for start in range(0, audio.shape[1], 4096):
            file.write(audio[:, start : start + 4096].T)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("suffix", "rate"),
    [(".mp3", rate) for rate in MP3_RATES]
    + [(".ogg", rate) for rate in (8000, 11025, 44100, 96000)]
    + [(".opus", rate) for rate in (8000, 12000, 16000, 24000, 48000)],
)
def test_length_and_alignment_survive_a_second_generation(tmp_path, suffix, rate, channels):
    audio = noise(rate + 17, rate, channels)
    subtype = {".opus": "OPUS"}.get(suffix)
    encode(
        tmp_path / f"in{suffix}", audio, rate, subtype=subtype, format="MP3" if suffix == ".mp3" else "OGG"
    )
    copy_through(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}")
    first, _ = read_audio(tmp_path / f"in{suffix}")
    second, second_rate = read_audio(tmp_path / f"out{suffix}")
    assert second_rate == rate
    assert first.shape == second.shape == audio.shape
    assert lag(audio, first) in (0, -1)  # Opus's hybrid mode itself is early by up to 2 samples at 48 kHz
    assert lag(first, second) in ((0, -1) if suffix == ".opus" else (0,))


@pytest.mark.parametrize("bit_rate", [48, 96, 160, 256])
def test_constant_bit_rate_mp3_keeps_its_bit_rate(tmp_path, bit_rate):
    level = (320 - bit_rate) / 288
    encode(
        tmp_path / "in.mp3",
        noise(5 * 44100, 44100, 2),
        44100,
        compression_level=level,
        bitrate_mode="CONSTANT",
    )
    before, _ = copy_through(tmp_path / "in.mp3", tmp_path / "out.mp3")
    after = probe(tmp_path / "out.mp3")
    assert before.constant_bit_rate
    assert after.constant_bit_rate
    assert before.bit_rate == pytest.approx(1000 * bit_rate, rel=0.03)
    assert after.bit_rate == pytest.approx(before.bit_rate, rel=0.01)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp3", {"bitrate_mode": "VARIABLE", "compression_level": 0.3}),
        (".mp3", {"bitrate_mode": "VARIABLE", "compression_level": 0.8}),
        (".opus", {"format": "OGG", "subtype": "OPUS", "compression_level": 0.93}),
        (".opus", {"format": "OGG", "subtype": "OPUS", "compression_level": 0.6}),
        (".ogg", {"compression_level": 0.9}),
        (".ogg", {"compression_level": 0.3}),
    ],
)
@pytest.mark.parametrize("rate", [16000, 48000])
def test_variable_bit_rate_stays_near(tmp_path, suffix, options, rate):
    encode(tmp_path / f"in{suffix}", noise(8 * rate, rate), rate, **options)
    copy_through(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}")
    before, after = (tmp_path / f"{name}{suffix}" for name in ("in", "out"))
    assert after.stat().st_size == pytest.approx(before.stat().st_size, rel=0.2)


@pytest.mark.parametrize(("suffix", "expected"), [(".opus", 48000), (".mp3", 48000)])
def test_rates_a_codec_lacks_are_converted_with_a_warning(tmp_path, suffix, expected):
    rate = 96000
    audio = noise(rate + 1, rate, 2)
    with AudioWriter(tmp_path / f"a{suffix}", sample_rate=rate, channels=2) as writer:
        for start in range(0, audio.shape[1], 7919):
            writer.write(audio[:, start : start + 7919])
    assert [line for line in writer.warnings if "96000 Hz" in line and f"{expected} Hz" in line]
    after, after_rate = read_audio(tmp_path / f"a{suffix}")
    assert after_rate == expected
    assert after.shape[1] == round(audio.shape[1] * expected / rate)
    assert lag(audio[:, ::2], after) == 0


def test_44100_hz_to_opus(tmp_path):
    audio = noise(44100, 44100)
    write_audio(tmp_path / "a.opus", audio, 44100)
    after, rate = read_audio(tmp_path / "a.opus")
    assert (rate, after.shape) == (48000, (1, 48000))
    reference = signal.resample_poly(audio, 160, 147, axis=1)
    assert lag(reference, after) in (0, -1)


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".opus"])
def test_nan_does_not_reach_an_encoder(tmp_path, suffix):
    audio = noise(16000, 16000)
    audio[0, 5000:5010] = [np.nan, np.inf, -np.inf] + 7 * [np.nan]
    write_audio(tmp_path / f"a{suffix}", audio, 16000)
    after, _ = read_audio(tmp_path / f"a{suffix}")
    assert np.isfinite(after).all()
    assert lag(replace_nonfinite(audio), after) == 0


def test_large_blocks_do_not_crash_vorbis(tmp_path):
    write_audio(tmp_path / "a.ogg", noise(2_000_000, 48000, 2), 48000)
    assert probe(tmp_path / "a.ogg").frames == 2_000_000


# MP3 files as they are met: their first frames are silence, so that a guess from those is far off.


@pytest.fixture
def vbr(tmp_path):
    audio = np.concatenate([np.zeros((1, 44100), np.float32), noise(6 * 44100, 44100)], axis=1)
    path = tmp_path / "vbr.mp3"
    encode(path, audio, 44100, bitrate_mode="VARIABLE", compression_level=0.3)
    return path, audio


def without_xing(path):
    """Cut the Xing frame out."""
    layout = mp3.scan(path)
    assert layout is not None
    assert layout.declared_frames is not None
    data = path.read_bytes()
    target = path.with_name("plain.mp3")
    target.write_bytes(data[: layout.header_start] + data[layout.start :])
    return target


def test_frame_count_agrees_with_the_xing_header(vbr):
    layout = mp3.scan(vbr[0])
    frames, samples = mp3.count_frames(vbr[0], layout)
    assert frames == layout.declared_frames
    assert samples == 1152 * frames
    assert layout.header_fits
    assert layout.missing == 0


def test_mp3_without_xing_header_is_read_to_its_end(vbr):
    path, audio = vbr
    plain = without_xing(path)
    with soundfile.SoundFile(plain) as file:  # why all this is needed
        assert not 0.8 < file.frames / audio.shape[1] < 1.2
    frames = 1152 * mp3.scan(path).declared_frames
    assert probe(plain).frames == frames
    after, _ = read_audio(plain)
    assert after.shape[1] == frames
    # Nothing says any more that LAME and the decoder delay by 576 + 529 samples; all else is the same.
    whole, _ = read_audio(path)
    np.testing.assert_allclose(after[:, 1105 : 1105 + whole.shape[1]], whole, atol=1e-6)
    copy_through(plain, plain.with_name("out.mp3"))
    again, _ = read_audio(plain.with_name("out.mp3"))
    assert again.shape == after.shape
    assert lag(after, again) == 0


def test_joined_mp3_files_are_read_to_their_end(vbr):
    path, audio = vbr
    joined = path.with_name("joined.mp3")
    joined.write_bytes(path.read_bytes() + path.read_bytes())
    with soundfile.SoundFile(joined) as file:
        assert file.frames == audio.shape[1]
    after, _ = read_audio(joined)
    assert after.shape[1] >= 2 * audio.shape[1]
    assert lag(audio, after[:, : audio.shape[1]]) == 0


def test_mp3_between_tags_without_xing_header(vbr):
    plain = without_xing(vbr[0])
    frames = probe(plain).frames
    body = plain.read_bytes()
    id3v2 = b"ID3\x04\x00\x00" + bytes([0, 0, 7, 104]) + bytes(1000)
    plain.write_bytes(id3v2 + body + b"TAG" + bytes(125))
    assert probe(plain).frames == frames
    assert read_audio(plain)[0].shape[1] == frames


def test_vbri_header_is_not_played(vbr):
    """Fraunhofer's header: a frame with VBRI at a fixed place, which libsndfile's decoder does not know."""
    path, _ = vbr
    plain = without_xing(path)
    frames = read_audio(plain)[0].shape[1]
    data = plain.read_bytes()
    first = bytearray(data[: mp3.parse_header(data[:4]).length])
    first[4:] = bytes(len(first) - 4)
    first[36:40] = b"VBRI"
    plain.write_bytes(bytes(first) + data)
    assert read_audio(plain)[0].shape[1] == frames


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
def test_made_up_xing_frame_at_every_mpeg_version(tmp_path, rate):
    encode(tmp_path / "a.mp3", noise(3 * rate, rate), rate, bitrate_mode="VARIABLE", compression_level=0.99)
    plain = without_xing(tmp_path / "a.mp3")
    layout = mp3.scan(plain)
    _, samples = mp3.count_frames(plain, layout)
    assert read_audio(plain)[0].shape[1] == samples


# Opus files whose page times are wrong, as ffmpeg writes them when its input's timestamps jitter.


def retime(path, changes: dict[int, int]):
    """Add samples to the granule position of some pages; negative numbers count from the end."""
    with path.open("r+b") as file:
        pages = list(ogg.pages(file))
        for index, extra in changes.items():
            page = pages[index]
            file.seek(page.offset)
            raw = bytearray(file.read(page.end - page.offset))
            raw[6:14] = (page.granule + extra).to_bytes(8, "little")
            raw[22:26] = bytes(4)
            raw[22:26] = ogg.checksum(bytes(raw)).to_bytes(4, "little")
            file.seek(page.offset)
            file.write(raw)


@pytest.mark.parametrize(
    "changes", [{2: 489}, {3: 489}, {4: -489}, {2: 489, 3: 489, 5: 489}, {-1: 3000}, {-2: -489, -1: 489}]
)
@pytest.mark.parametrize("rate", [16000, 48000])
def test_wrong_page_times_in_opus_change_nothing(tmp_path, monkeypatch, rate, changes):
    monkeypatch.setenv("PATH", "")  # without ffmpeg's help
    path = tmp_path / "a.opus"
    encode(path, noise(8 * rate + 55, rate, 2), rate, format="OGG", subtype="OPUS")
    before, _ = read_audio(path)
    retime(path, changes)
    after, _ = read_audio(path)
    if -1 not in changes:
        assert after.shape == before.shape
    frames = min(after.shape[1], before.shape[1])
    assert 0 <= after.shape[1] - before.shape[1] <= 2880 * rate // 48000  # the trimming of the end, at most
    np.testing.assert_array_equal(after[:, :frames], before[:, :frames])
    assert probe(path).frames == after.shape[1]


def test_an_opus_stream_cut_out_of_a_longer_one(tmp_path):
    """All its page times are 10 s late; the 6.5 ms of pre-skip must still be dropped, and the end trimmed."""
    path = tmp_path / "a.opus"
    encode(path, noise(64_000, 16000), 16000, format="OGG", subtype="OPUS")
    with path.open("rb") as file:
        count = len(list(ogg.pages(file)))
        assert opus.wrong_pages(file) == []
    before, _ = read_audio(path)
    retime(path, dict.fromkeys(range(2, count), 480_000))
    after, _ = read_audio(path)
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    ("head", "samples"),
    [
        (b"", 0),
        (bytes([0 << 3]), 480),
        (bytes([3 << 3]), 2880),
        (bytes([13 << 3 | 1]), 1920),
        (bytes([16 << 3 | 2]), 240),
        (bytes([31 << 3 | 3, 0x80 | 6]), 5760),
        (bytes([31 << 3 | 3]), 0),
    ],
)
def test_packet_durations(head, samples):
    """RFC 6716, table 2 and section 3.2."""
    assert opus.packet_duration(head) == samples
