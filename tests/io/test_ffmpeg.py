"""Containers that take ffmpeg: picture untouched, sound in its place to the sample."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest

from audio_enh.errors import AudioFileError, DependencyError
from audio_enh.io import AudioReader, AudioWriter, probe, read_audio, write_audio
from audio_enh.io.codecs import choose_codec
from audio_enh.io.ffmpeg import encoders
from audio_enh.io.ffprobe import probe_container

from .sounds import copy_through, lag, noise

pytestmark = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="needs ffmpeg"
)
SECONDS = 3


def ffmpeg(*arguments, stdin: bytes | None = None) -> bytes:
    command = ["ffmpeg", "-hide_banner", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout


def ffprobe(path, *arguments) -> dict:
    command = ["ffprobe", "-v", "error", *arguments, "-of", "json", str(path)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def picture_hash(path) -> bytes:
    """Of every packet of every picture and subtitle stream, as it lies in the file."""
    return ffmpeg("-i", path, "-map", "0:v?", "-map", "0:s?", "-c", "copy", "-f", "streamhash", "-")


def picture_times(path) -> list[float]:
    packets = ffprobe(path, "-select_streams", "v:0", "-show_entries", "packet=pts_time")["packets"]
    return [float(packet["pts_time"]) for packet in packets]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Makes small films, each once: a test picture and noise."""
    folder = tmp_path_factory.mktemp("films")

    def make(name: str, video: str, audio: list[str], rate: int, channels: int, start: float = 0.0):
        path = folder / name
        if not path.exists():
            sound = noise(SECONDS * rate + 137, rate, channels)
            ffmpeg(
                *("-f", "lavfi", "-i", f"testsrc2=size=64x48:rate=25:duration={SECONDS}"),
                *("-itsoffset", str(start), "-f", "f32le", "-ar", rate, "-ac", channels, "-i", "-"),
                *("-map", "0:v", "-map", "1:a", "-c:v", video, "-g", "12", *audio, path),
                stdin=sound.T.tobytes(),
            )
        return path

    return make


FILMS = [
    ("a.mp4", "libx264", ["-c:a", "aac"], 48000, 2, 0.0),
    ("a.mkv", "libx264", ["-c:a", "aac", "-b:a", "96k"], 44100, 2, 0.0),
    ("a.webm", "libvpx", ["-c:a", "libopus"], 48000, 2, 0.0),
]
MORE_FILMS = [
    ("late.mp4", "libx264", ["-c:a", "aac"], 48000, 1, 0.5),
    ("a.mov", "libx264", ["-c:a", "pcm_s16le"], 44100, 2, 0.0),
    ("a.avi", "mpeg4", ["-c:a", "libmp3lame"], 44100, 2, 0.0),
    ("b.mp4", "libx264", ["-c:a", "libmp3lame"], 44100, 1, 0.0),
    ("b.mov", "libx264", ["-c:a", "alac"], 44100, 2, 0.0),
    ("b.mkv", "libx264", ["-c:a", "flac"], 96000, 1, 0.0),
    ("c.mkv", "libx264", ["-c:a", "libvorbis"], 22050, 1, 0.0),
    ("d.mkv", "libx264", ["-c:a", "ac3"], 48000, 6, 0.0),
    ("late.mkv", "libx264", ["-c:a", "libopus"], 48000, 1, 0.7),
    ("b.webm", "libvpx", ["-c:a", "libvorbis"], 44100, 1, 0.0),
    ("a.ts", "libx264", ["-c:a", "aac"], 48000, 1, 0.0),
]


@pytest.mark.parametrize(
    "film",
    FILMS + [pytest.param(film, marks=pytest.mark.slow) for film in MORE_FILMS],
    ids=lambda film: film[0],
)
def test_film_keeps_its_picture_and_the_sound_its_place(films, tmp_path, film):
    source = films(*film)
    target = tmp_path / source.name
    before, rate = read_audio(source)
    info, writer = copy_through(source, target)
    after, after_rate = read_audio(target)

    assert info.has_video
    assert picture_hash(target) == picture_hash(source)
    old, new = probe_container(source), probe_container(target)
    assert (after_rate, len(after)) == (rate, len(before))
    assert new.audio.codec == old.audio.codec
    assert [stream.kind for stream in new.streams] == [stream.kind for stream in old.streams]
    assert writer.warnings == ()

    # Alignment: to the sample in what decoders give, and against the picture, to the container's clock.
    # Opus's hybrid mode itself is early by a sample or two at 48 kHz.
    assert lag(before, after) in ((-2, -1, 0) if old.audio.codec == "opus" else (0,))
    pictures = picture_times(source), picture_times(target)
    assert np.abs(np.diff(pictures, axis=0)).max() <= 0.001
    shift = (new.start - pictures[1][0]) - (old.start - pictures[0][0])
    assert abs(shift) <= 0.0015

    # Length: exact where the container is, else a codec's packet more at most.
    excess = after.shape[1] - before.shape[1]
    assert excess == 0 if old.frames is not None else 0 <= excess <= 2304
    if old.audio.codec in ("pcm_s16le", "alac", "flac"):
        np.testing.assert_allclose(after[:, : before.shape[1]], before, atol=2.0**-24)
    else:
        # libvorbis takes a bit rate as a wish.
        near = 0.35 if old.audio.codec == "vorbis" else 0.15
        assert new.bit_rate == pytest.approx(old.bit_rate, rel=near)
        inner = slice(4096, before.shape[1] - 4096)
        error = after[:, inner] - before[:, inner]
        assert np.mean(error**2) < 0.25 * np.mean(before[:, inner] ** 2)


def test_length_in_mp4_is_exact(tmp_path):
    """The edit list and the last packet say where the sound ends; decoders give up to a packet more."""
    audio = noise(50_123, 44100)
    write_audio(tmp_path / "a.m4a", audio, 44100)
    plain = np.frombuffer(ffmpeg("-i", tmp_path / "a.m4a", "-f", "f32le", "-"), "<f4")
    assert len(plain) > 50_123
    for name in ("a.m4a", "again.m4a"):
        after, rate = read_audio(tmp_path / name)
        assert (rate, after.shape) == (44100, (1, 50_123))
        assert probe(tmp_path / name).frames == 50_123
        assert lag(audio, after) == 0
        if name == "a.m4a":
            copy_through(tmp_path / name, tmp_path / "again.m4a")


@pytest.mark.parametrize("frames", [1, 100, 5000])
@pytest.mark.parametrize("suffix", [".m4a", ".mka"])
def test_very_short(tmp_path, suffix, frames):
    write_audio(tmp_path / f"a{suffix}", np.full((1, frames), 0.1, np.float32), 44100)
    after, _ = read_audio(tmp_path / f"a{suffix}")
    assert frames <= after.shape[1] <= frames + 2048
    assert suffix != ".m4a" or after.shape[1] == frames


def test_no_samples_at_all(tmp_path):
    with pytest.raises(AudioFileError, match="no samples"):
        write_audio(tmp_path / "a.m4a", np.zeros((1, 0), np.float32), 44100)
    assert not list(tmp_path.iterdir())


SOUNDS = [("a.m4a", 16000, 1), ("a.wma", 44100, 2)]
MORE_SOUNDS = [
    ("a.m4a", 48000, 8),
    ("a.aac", 44100, 2),
    ("a.ac3", 48000, 2),
    ("a.mp2", 48000, 1),
    ("a.mka", 22050, 1),
]
MORE_SOUNDS += [("a.tta", 44100, 2), ("a.wv", 96000, 2)]


@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    SOUNDS + [pytest.param(*sound, marks=pytest.mark.slow) for sound in MORE_SOUNDS],
)
def test_sound_files_of_all_kinds(tmp_path, name, rate, channels):
    audio = noise(rate + 331, rate, channels)
    write_audio(tmp_path / name, audio, rate)
    first, first_rate = read_audio(tmp_path / name)
    assert (first_rate, len(first)) == (rate, channels)
    assert lag(audio, first) == 0
    assert 0 <= first.shape[1] - audio.shape[1] <= 4096
    copy_through(tmp_path / name, tmp_path / f"again{name}")
    again, _ = read_audio(tmp_path / f"again{name}")
    assert lag(first, again) == 0
    assert 0 <= again.shape[1] - first.shape[1] <= 4096


def test_two_sound_tracks_subtitles_chapters_tags_and_order(films, tmp_path):
    film = films(*FILMS[0])
    (tmp_path / "subtitles.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nHello\n")
    (tmp_path / "chapters.txt").write_text(
        ";FFMETADATA1\ntitle=A film\nartist=Someone\ncomment=a comment\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=First\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=3000\ntitle=Second\n"
    )
    source = tmp_path / "in.mkv"
    ffmpeg(
        *("-i", film, "-i", tmp_path / "subtitles.srt", "-i", tmp_path / "chapters.txt"),
        *("-map", "0:a", "-map", "0:v", "-map", "0:a", "-map", "1:s", "-map_metadata", "2"),
        *("-c", "copy", "-c:s", "srt", "-attach", tmp_path / "chapters.txt"),
        *("-metadata:s:3", "mimetype=text/plain", "-metadata:s:4", "mimetype=text/plain"),
        *("-metadata:s:a:0", "language=ger", "-metadata:s:a:0", "title=Commentary"),
        *("-metadata:s:a:1", "language=eng", "-metadata:s:a:1", "title=Original"),
        *("-disposition:a:0", "comment", "-disposition:a:1", "default", source),
    )
    info, _ = copy_through(source, tmp_path / "out.mkv")
    assert any("2 sound tracks" in line for line in info.warnings)
    old, new = probe_container(source), probe_container(tmp_path / "out.mkv")
    assert old.audio.index == new.audio.index == 2  # the one marked as default, not the first
    assert [s.kind for s in new.streams] == ["audio", "video", "audio", "subtitle", "attachment"]
    for before, after in zip(old.streams, new.streams, strict=True):
        assert before.dispositions == after.dispositions
        for key in ("language", "title", "filename", "mimetype"):
            assert before.tags.get(key) == after.tags.get(key)
    assert {key: new.tags[key] for key in ("title", "artist", "comment")} == {
        "title": "A film",
        "artist": "Someone",
        "comment": "a comment",
    }
    assert picture_hash(source) == picture_hash(tmp_path / "out.mkv")
    commentary = [
        ffmpeg("-i", path, "-map", "0:a:0", "-c", "copy", "-f", "hash", "-")
        for path in (source, tmp_path / "out.mkv")
    ]
    assert commentary[0] == commentary[1]
    chapters = [ffprobe(path, "-show_chapters")["chapters"] for path in (source, tmp_path / "out.mkv")]
    assert [chapter["tags"]["title"] for chapter in chapters[1]] == ["First", "Second"]
    assert [chapter["start"] for chapter in chapters[0]] == [chapter["start"] for chapter in chapters[1]]


def test_m4a_tags_and_cover(tmp_path):
    from mutagen import mp4

    write_audio(tmp_path / "in.m4a", noise(44100, 44100), 44100)
    cover = ffmpeg("-f", "lavfi", "-i", "testsrc2=size=32x32", "-frames:v", 1, "-f", "mjpeg", "-")
    tags = mp4.MP4(tmp_path / "in.m4a")
    tags["\xa9nam"], tags["\xa9ART"], tags["trkn"] = ["Grüße"], ["Someone"], [(3, 12)]
    tags["covr"] = [mp4.MP4Cover(cover, mp4.MP4Cover.FORMAT_JPEG)]
    tags.save()
    copy_through(tmp_path / "in.m4a", tmp_path / "out.m4a")
    out = mp4.MP4(tmp_path / "out.m4a")
    for key in ("\xa9nam", "\xa9ART", "trkn"):
        assert out[key] == tags[key]
    assert bytes(out["covr"][0]) == cover
    assert not probe(tmp_path / "out.m4a").has_video
    # And across containers, the tags that both know.
    copy_through(tmp_path / "in.m4a", tmp_path / "out.flac")
    assert probe(tmp_path / "out.flac").tags["title"] == "Grüße"
    copy_through(tmp_path / "out.flac", tmp_path / "again.m4a")
    assert mp4.MP4(tmp_path / "again.m4a")["\xa9nam"] == ["Grüße"]


def test_film_to_sound_and_to_another_container(films, tmp_path):
    source = films(*FILMS[0])
    before, _ = read_audio(source)
    for name in ("a.wav", "a.m4a", "a.mkv"):
        copy_through(source, tmp_path / name)
        after, rate = read_audio(tmp_path / name)
        assert rate == 48000
        assert lag(before, after) == 0
        assert 0 <= after.shape[1] - before.shape[1] <= 2304
        assert probe(tmp_path / name).has_video == (name == "a.mkv")
    assert picture_hash(tmp_path / "a.mkv").split(b"=")[-1] == picture_hash(source).split(b"=")[-1]
    assert probe(tmp_path / "a.wav").subtype == "PCM_16"


def test_index_in_front_stays_in_front(films, tmp_path):
    ffmpeg("-i", films(*FILMS[0]), "-c", "copy", "-movflags", "+faststart", tmp_path / "in.mp4")
    copy_through(tmp_path / "in.mp4", tmp_path / "out.mp4")
    copy_through(films(*FILMS[0]), tmp_path / "slow.mp4")
    fast, slow = (tmp_path / "out.mp4").read_bytes(), (tmp_path / "slow.mp4").read_bytes()
    assert fast.index(b"moov") < fast.index(b"mdat")
    assert slow.index(b"mdat") < slow.index(b"moov")


def test_a_hole_in_the_timestamps_stays_a_hole(tmp_path):
    """Half a second lost in a recording: what follows must not move forward."""
    rate = 48000
    audio = noise(2 * rate, rate)
    for name, part in (("a", audio[:, :rate]), ("b", audio[:, rate:])):
        ffmpeg(
            "-f", "f32le", "-ar", rate, "-ac", 1, "-i", "-", tmp_path / f"{name}.wav", stdin=part.tobytes()
        )
    ffmpeg(
        *("-i", tmp_path / "a.wav", "-i", tmp_path / "b.wav"),
        *("-f", "lavfi", "-i", f"anullsrc=r={rate}:cl=mono:d=0.5"),
        *("-filter_complex", "[0][2][1]concat=n=3:v=0:a=1", "-c:a", "pcm_s16le", tmp_path / "whole.mkv"),
    )
    ffmpeg(
        *("-i", tmp_path / "whole.mkv", "-c", "copy"),
        *("-bsf:a", "noise=drop='between(pts,1000,1499)'", tmp_path / "holed.mkv"),
    )
    packets = ffprobe(tmp_path / "holed.mkv", "-show_entries", "packet=pts_time")["packets"]
    assert np.diff([float(packet["pts_time"]) for packet in packets]).max() > 0.4
    whole, _ = read_audio(tmp_path / "whole.mkv")
    after, _ = read_audio(tmp_path / "holed.mkv")
    assert abs(after.shape[1] - whole.shape[1]) <= 2048
    assert abs(lag(whole[:, rate + rate // 2 :], after[:, rate + rate // 2 :])) <= 48  # Matroska counts in ms


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_cut_film(films, tmp_path, name):
    film = next(film for film in FILMS if film[0] == name)
    source = films(*film)
    if name == "a.mp4":  # with the index in front, or nothing could be read at all
        ffmpeg("-i", source, "-c", "copy", "-movflags", "+faststart", tmp_path / "fast.mp4")
        source = tmp_path / "fast.mp4"
    part = tmp_path / f"part_{name}"
    part.write_bytes(source.read_bytes()[: int(0.6 * source.stat().st_size)])
    with pytest.raises(AudioFileError, match="cut short"):
        read_audio(part)
    with AudioReader(part, allow_truncated=True) as reader:
        frames = sum(block.shape[1] for block in reader.blocks())
        assert any("cut short" in line for line in reader.warnings)
    assert 0.2 * SECONDS < frames / reader.info.sample_rate < 0.9 * SECONDS


def test_cut_film_with_its_index_at_the_end(films, tmp_path):
    data = films(*FILMS[0]).read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioFileError, match=r"a\.mp4 is cut short") as caught:
        read_audio(tmp_path / "a.mp4")
    assert "\n" not in str(caught.value)


def test_film_without_sound(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:duration=0.2", tmp_path / "mute.mp4")
    with pytest.raises(AudioFileError, match=r"mute\.mp4 holds no sound"):
        read_audio(tmp_path / "mute.mp4")


@pytest.mark.parametrize(
    "name",
    [
        "-i.m4a",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("concat:a|b.m4a", "5%d @'\" ü.m4a")),
    ],
)
def test_names_that_look_like_options_and_protocols(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_audio(name, noise(8000, 16000), 16000)
    copy_through(name, name)
    assert read_audio(name)[0].shape == (1, 8000)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_ogg_of_several_streams_is_read_whole(tmp_path):
    """Joined Ogg files are one valid stream after the other; libsndfile stops after the first."""
    for name, seconds in (("a", 1), ("b", 2)):
        write_audio(tmp_path / f"{name}.ogg", noise(16000 * seconds, 16000), 16000)
    joined = tmp_path / "joined.ogg"
    joined.write_bytes((tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes())
    after, rate = read_audio(joined)
    assert rate == 16000
    assert abs(after.shape[1] - 3 * 16000) < 2000


@pytest.mark.parametrize("suffix", [".mp4", ".m4a"])
def test_without_ffmpeg(films, tmp_path, monkeypatch, suffix):
    source = tmp_path / f"in{suffix}"
    shutil.copy(films(*FILMS[0]), source)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError, match="ffmpeg, which is not installed") as caught:
        read_audio(source)
    assert "\n" not in str(caught.value)
    with pytest.raises(DependencyError, match="ffmpeg, which is not installed"):
        write_audio(tmp_path / f"out{suffix}", np.zeros(100, np.float32), 16000)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_a_container_that_cannot_be_written_is_refused_at_once(films, tmp_path):
    """H.264 does not fit into WebM: that must not come out after an hour of work."""
    info = probe(films(*FILMS[0]))
    with pytest.raises(AudioFileError, match=r"out\.webm: ffmpeg cannot write this container") as caught:
        AudioWriter(tmp_path / "out.webm", info)
    assert "\n" not in str(caught.value)
    with pytest.raises(AudioFileError, match="at most 2 channels"):
        AudioWriter(tmp_path / "out.avi", sample_rate=48000, channels=6)
    assert not list(tmp_path.iterdir())


def test_rate_a_codec_lacks_is_converted_with_a_warning(tmp_path):
    audio = noise(44100, 44100)
    with AudioWriter(tmp_path / "a.webm", sample_rate=44100, channels=1) as writer:
        writer.write(audio)
    assert any("44100 Hz" in line and "48000 Hz" in line for line in writer.warnings)
    after, rate = read_audio(tmp_path / "a.webm")
    assert rate == 48000
    assert abs(after.shape[1] - 48000) <= 1


def test_codec_choice():
    available = encoders(str(shutil.which("ffmpeg")))

    def chosen(muxer, source, bit_rate=None, **more):
        codec = choose_codec(muxer, source, bit_rate, channels=2, available=available, **more)
        assert codec is not None
        return codec.encoder, codec.bit_rate

    assert chosen("mp4", "aac", 128_000) == ("aac", 128_000)
    assert chosen("mp4", "aac", 48_000, high_efficiency=True) == ("aac", 128_000)
    assert chosen("mp4", "vorbis", 90_000)[0] == "aac"
    assert chosen("webm", "aac", 128_000)[0] == "libopus"
    assert chosen("matroska", "pcm_s24le") == ("pcm_s24le", None)
    assert chosen("mov", "pcm_lxf") == ("pcm_s16le", None)
    assert chosen("mp4", "pcm_s16le")[0] == "aac"
    assert chosen("matroska", "flac", 900_000) == ("flac", None)
    assert chosen("ipod", None) == ("aac", 160_000)
    assert choose_codec("webm", None, None, channels=1, available=frozenset({"aac"})) is None
