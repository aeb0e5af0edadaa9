"""Tags, pictures and other companions of the audio, judged by mutagen and by the bytes."""

from __future__ import annotations

import base64
import struct

import mutagen
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from mutagen import flac, id3, oggopus, oggvorbis, wave

from audio_enh.io import AudioWriter, ogg, probe, read_audio
from audio_enh.io.chunks import splice

from .sounds import copy_through, noise
from .test_lossy import encode

PICTURE = bytes(range(256)) * 700  # 179 kB: Ogg comments over several pages
TITLE = "Grüße aus 東京"


def picture() -> flac.Picture:
    cover = flac.Picture()
    cover.type, cover.mime, cover.desc, cover.data = 3, "image/png", "cover", PICTURE
    return cover


def same_audio(tmp_path, suffix):
    """Carrying tags over must not touch the audio: compare with the same file without any."""
    tagged, _ = read_audio(tmp_path / f"out{suffix}")
    plain, _ = read_audio(tmp_path / f"plain_out{suffix}")
    np.testing.assert_array_equal(tagged, plain)
    assert tagged.shape[1] == 40_000


@pytest.fixture
def encoded(tmp_path):
    """A file of a given kind, and a copy of it that will stay without tags."""

    def make(suffix, **options):
        audio = noise(40_000, 16000, 2)
        for name in ("in", "plain"):
            encode(tmp_path / f"{name}{suffix}", audio, 16000, **options)
        copy_through(tmp_path / f"plain{suffix}", tmp_path / f"plain_out{suffix}")
        return tmp_path / f"in{suffix}"

    return make


def test_id3_is_carried_whole(encoded, tmp_path):
    source = encoded(".mp3")
    tags = id3.ID3()
    tags.add(id3.TIT2(text=TITLE))
    tags.add(id3.TPE1(text="Someone"))
    tags.add(id3.TRCK(text="3/12"))
    tags.add(id3.TDRC(text="2024-05-06"))
    tags.add(id3.COMM(lang="eng", desc="", text="a comment"))
    tags.add(id3.TXXX(desc="MY FIELD", text="kept"))
    tags.add(id3.APIC(mime="image/png", type=3, desc="cover", data=PICTURE))
    tags.save(source, v1=2)
    before, _ = read_audio(source)
    copy_through(source, tmp_path / "out.mp3")
    out = id3.ID3(tmp_path / "out.mp3")
    assert out.pprint() == id3.ID3(source).pprint()
    assert out["APIC:cover"].data == PICTURE
    assert (tmp_path / "out.mp3").read_bytes()[-128:] == source.read_bytes()[-128:]  # ID3v1
    assert before.shape[1] == 40_000
    same_audio(tmp_path, ".mp3")


def test_flac_comments_and_pictures(encoded, tmp_path):
    source = encoded(".flac")
    file = flac.FLAC(source)
    file["title"], file["replaygain_track_gain"] = TITLE, "-3.2 dB"
    file["artist"] = ["one", "two"]
    file.add_picture(picture())
    file.save()
    copy_through(source, tmp_path / "out.flac")
    out = flac.FLAC(tmp_path / "out.flac")
    assert dict(out.tags) == dict(file.tags)
    assert [each.data for each in out.pictures] == [PICTURE]
    assert out.info.total_samples == 40_000
    same_audio(tmp_path, ".flac")


@pytest.mark.parametrize(
    ("suffix", "options", "kind"),
    [
        (".ogg", {}, oggvorbis.OggVorbis),
        (".opus", {"format": "OGG", "subtype": "OPUS"}, oggopus.OggOpus),
    ],
)
@pytest.mark.parametrize("large", [False, True])
def test_ogg_comments(encoded, tmp_path, suffix, options, kind, large):
    source = encoded(suffix, **options)
    file = kind(source)
    file["title"], file["organization"] = TITLE, "a field of its own"
    if large:
        file["metadata_block_picture"] = base64.b64encode(picture().write()).decode()
    file.save()
    copy_through(source, tmp_path / f"out{suffix}")
    out = kind(tmp_path / f"out{suffix}")
    assert dict(out.tags) == dict(file.tags)
    same_audio(tmp_path, suffix)
    assert_valid_ogg(tmp_path / f"out{suffix}")


def assert_valid_ogg(path):
    """Sequence numbers count up, every checksum is right, the stream ends with its end."""
    data = path.read_bytes()
    with path.open("rb") as file:
        pages = list(ogg.pages(file))
    assert [page.sequence for page in pages] == list(range(len(pages)))
    assert pages[-1].end == len(data)
    assert pages[-1].flags & 4
    for page in pages:
        raw = bytearray(data[page.offset : page.end])
        stored = struct.unpack_from("<I", raw, 22)[0]
        raw[22:26] = bytes(4)
        assert stored == ogg.checksum(bytes(raw))


def bitwise_checksum(data: bytes) -> int:
    """RFC 3533's CRC, bit by bit."""
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 1 << 31 else 0)) & 0xFFFFFFFF
    return crc


@given(st.binary(max_size=200))
def test_checksum_through_zlib_is_the_one_of_ogg(data):
    assert ogg.checksum(data) == bitwise_checksum(data)


@given(st.binary(max_size=50), st.data())
def test_splice_is_slice_assignment(tmp_path_factory, content, data):
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    new = data.draw(st.binary(max_size=60))
    path = tmp_path_factory.mktemp("splice") / "file"
    path.write_bytes(content)
    with path.open("r+b") as file:
        splice(file, start, end, new)
    assert path.read_bytes() == content[:start] + new + content[end:]


def test_splice_moves_more_than_a_block(tmp_path):
    content = np.random.default_rng(0).bytes(3_500_000)
    for new in (b"", b"x" * 2_000_000):
        path = tmp_path / "file"
        path.write_bytes(content)
        with path.open("r+b") as file:
            splice(file, 100, 1_200_000, new)
        assert path.read_bytes() == content[:100] + new + content[1_200_000:]


def chunk(name: bytes, payload: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "4sI", name, len(payload)) + payload + b"\0" * (len(payload) % 2)


@pytest.mark.parametrize("format", ["WAV", "WAVEX"])
def test_wav_chunks_before_and_after_the_data(encoded, tmp_path, format):
    source = encoded(".wav", format=format)
    data = source.read_bytes()
    bext = chunk(b"bext", b"Description".ljust(602, b"\0"))
    info = chunk(b"LIST", b"INFO" + chunk(b"INAM", b"A title\0") + chunk(b"IART", b"odd"))
    cue = chunk(b"cue ", struct.pack("<I", 0))
    tail = chunk(b"JUNK", bytes(50)) + info + cue
    data = data[:12] + bext + data[12:] + tail
    source.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    tagged = wave.WAVE(source)
    tagged.add_tags()
    tagged.tags.add(id3.TIT2(text=TITLE))
    tagged.save()
    copy_through(source, tmp_path / "out.wav")
    out = (tmp_path / "out.wav").read_bytes()
    assert struct.unpack("<I", out[4:8])[0] == len(out) - 8
    assert all(each in out for each in (bext, info, cue))
    assert b"JUNK" not in out
    assert str(wave.WAVE(tmp_path / "out.wav").tags["TIT2"]) == TITLE
    assert probe(tmp_path / "out.wav").tags["title"] == "A title"
    same_audio(tmp_path, ".wav")


def test_rf64_with_tags_stays_readable(encoded, tmp_path):
    source = encoded(".wav", format="RF64")
    with source.open("r+b") as file:
        file.seek(0, 2)
        file.write(chunk(b"LIST", b"INFO" + chunk(b"INAM", b"A title\0")))
        size = file.tell() - 8
        at = source.read_bytes().find(b"ds64") + 8
        file.seek(at)
        file.write(struct.pack("<Q", size))
    copy_through(source, tmp_path / "out.wav")
    assert probe(tmp_path / "out.wav").format == "RF64"
    assert b"A title" in (tmp_path / "out.wav").read_bytes()[-40:]
    same_audio(tmp_path, ".wav")


def test_aiff_chunks(encoded, tmp_path):
    source = encoded(".aiff")
    file = mutagen.File(source)
    file.add_tags()
    file.tags.add(id3.TIT2(text=TITLE))
    file.save()
    copy_through(source, tmp_path / "out.aiff")
    assert str(mutagen.File(tmp_path / "out.aiff").tags["TIT2"]) == TITLE
    same_audio(tmp_path, ".aiff")


@pytest.mark.parametrize("target", ["out.wav", "out.flac", "out.ogg", "out.opus", "out.mp3", "out.aiff"])
def test_common_tags_cross_containers(tmp_path, target):
    with soundfile.SoundFile(tmp_path / "in.flac", "w", 16000, 1) as file:
        file.title, file.artist, file.date, file.comment = "A title", "Someone", "2024", "a comment"
        file.album, file.tracknumber, file.genre = "An album", "3", "Speech"
        file.write(noise(8000, 16000).T)
    copy_through(tmp_path / "in.flac", tmp_path / target)
    tags = probe(tmp_path / target).tags
    expected = {"title": "A title", "artist": "Someone", "comment": "a comment"}
    if target != "out.aiff":  # libsndfile writes no more there
        expected["date"] = "2024"
    if target not in ("out.aiff", "out.wav"):
        expected |= {"album": "An album", "tracknumber": "3", "genre": "Speech"}
    assert {key: tags.get(key) for key in expected} == expected


def test_damaged_tags_are_a_warning_not_a_failure(tmp_path):
    """An Opus file whose comment packet claims another name."""
    encode(tmp_path / "in.opus", noise(16000, 16000), 16000, format="OGG", subtype="OPUS")
    info = probe(tmp_path / "in.opus")
    audio, _ = read_audio(tmp_path / "in.opus")
    data = (tmp_path / "in.opus").read_bytes().replace(b"OpusTags", b"NoTagsIn")
    (tmp_path / "in.opus").write_bytes(data)
    with AudioWriter(tmp_path / "out.opus", info) as writer:
        writer.write(audio)
    assert any("tags" in line for line in writer.warnings)
    assert probe(tmp_path / "out.opus").frames == 16000
