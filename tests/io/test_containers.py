"""Containers as phones, cameras and podcasts make them; hostile ones; what comes along, and what does not."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_enh.errors import AudioFileError
from audio_enh.io import AudioReader, AudioWriter, probe, read_audio, write_audio
from audio_enh.io.containers import (
    AUDIO_EXTENSIONS,
    FFMPEG_MUXERS,
    READ_ONLY,
    SOUNDFILE_FORMATS,
    writable_suffix,
)
from audio_enh.io.ffprobe import find_track, probe_container

from .sounds import copy_through, lag, noise
from .test_ffmpeg import ffmpeg, ffprobe

pytestmark = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="needs ffmpeg"
)
RATE = 48000


def sound_file(path: Path, audio: np.ndarray, *options, rate: int = RATE) -> Path:
    ffmpeg(
        *("-f", "f32le", "-ar", rate, "-ac", len(audio), "-i", "-", *options, path),
        stdin=audio.T.astype("<f4").tobytes(),
    )
    return path


# Suffixes of ffmpeg's demuxers that are no recordings: pictures and video without sound, subtitles, lists; music of
# games and trackers; streams without a header, whose rate nobody knows.
_NO_SOUND = """avif avs avs2 avs3 obu h26l h264 264 avc hevc h265 265 h261 ipu mjpg mjpeg mpo j2k mj2 yuv cif qcif rgb
y4m v210 yuv10 vc1 rcv flm cdg cgi ifv mvi mxg v idf ser yop str imx mks jv aqt lrc txt mpl2 sub pjs rt smi sami scc
stl sup idx vtt ans art asc diz ice nfo vt sbg mcc bmv cdxl xl"""
_GAMES = """aax acm adf adp dtk ads ss2 adx afc aix ast bfstm bcstm binka brstm cdata fsb fwse genh hca ivr kux dat
lvf mca mods moflex msf mtaf musx nsp redspark rsd rso sdr2 sdx sga svag svs vag viv vpk xmv xvag vb son derf ism
669 amf ams dbm digi dmf dsm dtm far gdm imf it j2b m15 mdl med mmcmp mms mo3 mod mptm mt2 mtm nst okt plm ppm psm
pt36 ptm s3m sfx sfx2 st26 stk stm stp ult umx wow xm xpk"""
_HEADERLESS = "al ul sw sb ub uw sln aptx aptxhd dfpwm bit bitpacked c2 g729 302 daud"
NO_RECORDINGS = {*_NO_SOUND.split(), *_GAMES.split(), *_HEADERLESS.split()}


@pytest.mark.slow
def test_every_suffix_that_ffmpeg_knows_is_a_recording_or_known_not_to_be() -> None:
    names = subprocess.run(
        ["ffmpeg", "-hide_banner", "-v", "error", "-demuxers"], capture_output=True, text=True
    )
    demuxers = [line.split()[1] for line in names.stdout.splitlines() if line.startswith(" D")]
    suffixes = set()
    for demuxer in demuxers:
        first = demuxer.split(",")[0]
        text = subprocess.run(
            ["ffmpeg", "-hide_banner", "-v", "error", "-h", f"demuxer={first}"],
            capture_output=True,
            text=True,
        ).stdout
        if found := re.search(r"Common extensions: (.*)\.$", text, re.MULTILINE):
            suffixes |= set(found[1].split(","))
    unknown = {s for s in suffixes if f".{s}" not in AUDIO_EXTENSIONS} - NO_RECORDINGS
    assert not unknown


def test_one_table(tmp_path) -> None:
    tables = (SOUNDFILE_FORMATS, FFMPEG_MUXERS, READ_ONLY)
    assert sum(map(len, tables)) == len(AUDIO_EXTENSIONS)  # each once
    assert all(writable_suffix(suffix) in {*SOUNDFILE_FORMATS, *FFMPEG_MUXERS} for suffix in AUDIO_EXTENSIONS)
    for suffix, format in SOUNDFILE_FORMATS.items():
        path = tmp_path / f"a{suffix}"
        write_audio(path, noise(16000, 16000), 16000)
        assert probe(path).frames >= 16000, suffix
        copy_through(path, tmp_path / f"b{suffix}")
        assert probe(tmp_path / f"b{suffix}").format in (format, "WAV", "WAVEX"), suffix


@pytest.mark.parametrize(
    "suffix",
    [
        ".qta",
        *(pytest.param(s, marks=pytest.mark.slow) for s in (".m4r", ".3g2", ".qt", ".f4v", ".vob", ".weba")),
    ],
)
def test_other_names_of_containers(tmp_path, suffix):
    audio = noise(RATE, RATE)
    write_audio(tmp_path / f"a{suffix}", audio, RATE)
    copy_through(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}")
    assert lag(audio, read_audio(tmp_path / f"b{suffix}")[0]) == 0


@pytest.mark.parametrize(
    ("name", "options", "bits"),
    [
        ("a.m4a", ["-c:a", "alac", "-sample_fmt", "s16p"], 16),
        ("a.m4a", ["-c:a", "alac", "-sample_fmt", "s32p"], 24),
        ("a.mka", ["-c:a", "flac", "-sample_fmt", "s16"], 16),
        ("a.tta", ["-sample_fmt", "s16"], 16),
        ("a.wv", ["-sample_fmt", "s16p"], 16),
    ],
)
def test_bit_depth_stays(tmp_path, name, options, bits):
    """16 bits became 24, and floats in WavPack."""
    path = sound_file(tmp_path / name, noise(RATE, RATE, 2), *options)
    copy_through(path, tmp_path / f"out{name}")
    old, new = probe_container(path), probe_container(tmp_path / f"out{name}")
    assert (old.bits, new.bits, new.sample_format) == (bits, bits, old.sample_format)
    np.testing.assert_array_equal(read_audio(tmp_path / f"out{name}")[0], read_audio(path)[0])
    assert (tmp_path / f"out{name}").stat().st_size < 1.1 * path.stat().st_size
    copy_through(path, tmp_path / "out.wav")
    assert soundfile.info(tmp_path / "out.wav").subtype == f"PCM_{bits}"


def test_flac_in_ogg_stays_lossless(tmp_path):
    path = sound_file(tmp_path / "a.ogg", noise(RATE, RATE), "-c:a", "flac", "-sample_fmt", "s16")
    copy_through(path, tmp_path / "b.ogg")
    assert probe(tmp_path / "b.ogg").subtype == "flac"
    np.testing.assert_array_equal(read_audio(tmp_path / "b.ogg")[0], read_audio(path)[0])


def test_mp3_in_wav_comes_back_as_samples(tmp_path):
    path = sound_file(tmp_path / "a.wav", noise(RATE, RATE), "-c:a", "libmp3lame")
    _, writer = copy_through(path, tmp_path / "b.wav")
    assert soundfile.info(tmp_path / "b.wav").subtype == "PCM_16"
    assert read_audio(tmp_path / "b.wav")[0].shape == read_audio(path)[0].shape
    assert any("PCM_16 instead" in line for line in writer.warnings)


def test_mp3_files_stitched_together(tmp_path):
    """As podcasts' advertisements are: mono then stereo, 44.1 then 22.05 kHz."""
    parts = [(44100, 1, 2), (22050, 2, 3)]
    for number, (rate, channels, seconds) in enumerate(parts):
        sound_file(
            tmp_path / f"{number}.mp3", noise(rate * seconds, rate, channels), "-b:a", "64k", rate=rate
        )
    joined = tmp_path / "joined.mp3"
    joined.write_bytes((tmp_path / "0.mp3").read_bytes() + (tmp_path / "1.mp3").read_bytes())
    with AudioReader(joined) as reader:
        audio = np.concatenate(list(reader.blocks()), axis=1)
        assert any("change on the way" in line for line in reader.warnings)
    assert (reader.info.sample_rate, len(audio)) == (44100, 1)
    assert abs(audio.shape[1] / 44100 - 5) < 0.15
    assert audio[0, int(4.0 * 44100) : int(4.5 * 44100)].std() > 0.05
    copy_through(joined, tmp_path / "out.mp3")
    assert abs(read_audio(tmp_path / "out.mp3")[0].shape[1] / 44100 - 5) < 0.15
    assert probe(tmp_path / "0.mp3").backend == "soundfile"  # and a plain one is read as before


@pytest.mark.parametrize("drop", [(100, 100), (100, 103), (60, 100)])
@pytest.mark.parametrize("name", ["a.webm", "a.mp4"])
def test_any_hole_keeps_what_follows_in_place(tmp_path, name, drop):
    codec = {"a.webm": "libopus", "a.mp4": "aac"}[name]
    whole = sound_file(tmp_path / f"whole{name}", noise(5 * RATE, RATE), "-c:a", codec, "-b:a", "96k")
    ffmpeg(
        "-i", whole, "-c", "copy", "-bsf:a", f"noise=drop='between(n,{drop[0]},{drop[1]})'", tmp_path / name
    )
    before, _ = read_audio(whole)
    with AudioReader(tmp_path / name) as reader:
        after = np.concatenate(list(reader.blocks()), axis=1)
        assert any("a hole of" in line for line in reader.warnings)
    assert abs(after.shape[1] - before.shape[1]) <= 48
    late = slice(4 * RATE, int(4.9 * RATE))
    assert abs(lag(before[:, late], after[:, late])) <= 48


def test_jitter_is_no_hole(tmp_path):
    """Timestamps that come and go by 18 ms, as screen recorders write them."""
    whole = sound_file(tmp_path / "whole.mkv", noise(5 * RATE, RATE), "-c:a", "aac")
    ffmpeg("-i", whole, "-c", "copy", "-bsf:a", "setts=pts='PTS+mod(N*7,3)*9'", tmp_path / "a.mkv")
    with AudioReader(tmp_path / "a.mkv") as reader:
        after = np.concatenate(list(reader.blocks()), axis=1)
        assert reader.warnings == ()
    np.testing.assert_array_equal(after, read_audio(whole)[0])


def test_fragmented_mp4_with_b_frames_and_a_hole(tmp_path):
    """The picture's own delay must not be given to the sound, nor be taken from it."""
    audio = noise(4 * RATE, RATE)
    film = tmp_path / "film.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=4"),
        *(
            "-f",
            "f32le",
            "-ar",
            RATE,
            "-ac",
            1,
            "-i",
            "-",
            "-c:v",
            "libx264",
            "-bf",
            "3",
            "-g",
            "25",
            "-c:a",
            "aac",
        ),
        *("-movflags", "frag_keyframe+empty_moov", "-bsf:a", "noise=drop='between(n,60,63)'", film),
        stdin=audio.T.tobytes(),
    )
    copy_through(film, tmp_path / "out.mp4")
    old, new = read_audio(film)[0], read_audio(tmp_path / "out.mp4")[0]
    late = slice(3 * RATE, int(3.8 * RATE))
    assert lag(old[:, late], new[:, late]) == 0

    def offset(path):
        """Of sound against picture, in seconds."""
        first = ffprobe(
            path, "-select_streams", "v:0", "-show_entries", "frame=pts_time", "-read_intervals", "%+#3"
        )
        return probe_container(path).start - float(first["frames"][0]["pts_time"])

    assert abs(offset(tmp_path / "out.mp4") - offset(film)) <= 0.001
    # The picture begins after 80 ms there (two frames that are shown later than they are decoded), and so does the
    # sound, but for the encoder's first packet, which ffmpeg puts in front.
    assert abs(lag(audio[:, late], old[:, late]) - 0.08 * RATE) <= 48


def test_a_hole_of_twenty_hours_is_not_filled_unasked(tmp_path):
    import resource

    path = sound_file(tmp_path / "whole.mkv", noise(RATE, RATE), "-c:a", "libopus")
    ffmpeg("-i", path, "-c", "copy", "-bsf:a", "setts=pts='PTS+gt(N,20)*72000000'", tmp_path / "a.mkv")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (
        AudioReader(tmp_path / "a.mkv") as reader,
        pytest.raises(AudioFileError, match=r"a hole of 20\.0 hours"),
    ):
        for _ in reader.blocks():
            pass
    with AudioReader(tmp_path / "a.mkv", allow_truncated=True) as reader:
        frames = sum(block.shape[1] for block, _ in zip(reader.blocks(60.0), range(30), strict=False))
        assert frames == 30 * 60 * RATE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


@pytest.mark.parametrize("kind", ["hls", "concat", "dash"])
def test_a_list_of_files_that_calls_itself_mp4(tmp_path, kind):
    """It would read other files of this machine into the output, or wait for an address for ever."""
    secret = tmp_path / "secret.ts"
    sound_file(secret, noise(RATE, RATE), "-c:a", "aac")
    path = tmp_path / "talk.mp4"
    path.write_text(
        {
            "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{secret}\n#EXT-X-ENDLIST\n",
            "concat": f"ffconcat version 1.0\nfile '{secret}'\n",
            "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>\n',
        }[kind]
    )
    began = time.monotonic()
    with pytest.raises(AudioFileError, match=r"not a recording|can read"):
        probe(path)
    assert time.monotonic() - began < 20


def test_an_ffmpeg_that_hangs_is_ended(tmp_path, monkeypatch):
    from audio_enh.io import ffmpeg as module

    path = sound_file(tmp_path / "a.m4a", noise(RATE, RATE))
    probe(path)
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    monkeypatch.setattr(
        module, "find_program", lambda name: str(program) if name == "ffmpeg" else shutil.which(name)
    )
    began = time.monotonic()
    with AudioReader(path) as reader, pytest.raises(AudioFileError, match="made no progress"):
        next(reader.blocks())
    assert time.monotonic() - began < 20


def test_tags_of_any_length(tmp_path):
    """200 kB broke the command line."""
    info = probe(sound_file(tmp_path / "a.flac", noise(RATE, RATE)))
    from dataclasses import replace

    tags = {"title": "A = B; #1 \\ two\nlines", "comment": "x" * 300_000}
    with AudioWriter(tmp_path / "b.mka", replace(info, tags=tags)) as writer:
        writer.write(noise(RATE, RATE))
    found = probe_container(tmp_path / "b.mka").tags
    assert found["title"] == tags["title"]
    assert found["comment"] == tags["comment"]


@pytest.fixture
def two_tracks(tmp_path):
    """A desktop at 48 kHz in stereo and a microphone in mono, as OBS records."""
    desktop, microphone = noise(2 * RATE, RATE, 2), noise(2 * RATE, RATE, 1, seed=5)
    sound_file(tmp_path / "d.wav", desktop)
    sound_file(tmp_path / "m.wav", microphone)
    ffmpeg(
        *("-i", tmp_path / "d.wav", "-i", tmp_path / "m.wav", "-map", "0:a", "-map", "1:a", "-c:a", "aac"),
        *("-metadata:s:a:0", "title=Desktop", "-metadata:s:a:1", "title=Mic", tmp_path / "two.mkv"),
    )
    ffmpeg("-i", tmp_path / "two.mkv", "-map", "0", "-c", "copy", tmp_path / "two.m4a")
    return tmp_path / "two.mkv"


def packets(path, track):
    return ffmpeg("-i", path, "-map", f"0:a:{track}", "-c", "copy", "-f", "streamhash", "-")


def test_a_track_by_number_or_name(two_tracks):
    assert find_track(two_tracks, "2") == find_track(two_tracks, "mic") == 2
    with AudioReader(two_tracks) as reader:
        assert reader.info.channels == 2
        assert any("2 sound tracks: number 1 (Desktop) is read" in line for line in reader.warnings)
    with AudioReader(two_tracks, track="Mic") as reader:
        assert reader.info.channels == 1
        assert reader.warnings == ()
    for wrong in ("Game", "3"):
        with pytest.raises(AudioFileError, match="sound track"):
            AudioReader(two_tracks, track=wrong)


@pytest.mark.parametrize("suffix", [".mkv", ".m4a"])
def test_the_other_track_is_kept_as_it_is(two_tracks, tmp_path, suffix):
    source, target = two_tracks.with_suffix(suffix), tmp_path / f"out{suffix}"
    with AudioReader(source, track="2") as reader, AudioWriter(target, reader.info) as writer:
        for block in reader.blocks():
            writer.write(0.5 * block)
    assert packets(target, 0) == packets(source, 0)
    assert len(probe_container(target).sounds) == 2
    with AudioReader(source, track="2") as old, AudioReader(target, track="2") as new:
        before, after = next(old.blocks()), next(new.blocks())
    assert lag(before, after) == 0
    assert after.std() == pytest.approx(0.5 * before.std(), rel=0.1)


def test_a_track_without_a_place_is_named(two_tracks, tmp_path):
    _, writer = copy_through(two_tracks, tmp_path / "out.aac")
    assert any("sound track 2 (Mic) does not fit and is left out" in line for line in writer.warnings)


def test_tags_of_phones_and_the_date_of_recording(tmp_path):
    audio = noise(RATE, RATE)
    apple = "com.apple.quicktime."
    source = sound_file(
        tmp_path / "in.mov",
        audio,
        *("-c:a", "aac", "-movflags", "use_metadata_tags", "-metadata", f"{apple}make=Apple"),
        *(
            "-metadata",
            f"{apple}location.ISO6709=+52.5+013.4/",
            "-metadata",
            "creation_time=2024-05-06T07:08:09Z",
        ),
    )
    copy_through(source, tmp_path / "out.mov")
    old, new = probe_container(source).tags, probe_container(tmp_path / "out.mov").tags
    assert new[f"{apple}make"] == "Apple"
    assert new[f"{apple}location.iso6709"] == "+52.5+013.4/"
    assert new["creation_time"][:19] == old["creation_time"][:19] == "2024-05-06T07:08:09"


def test_data_streams_of_cameras(tmp_path):
    """ffmpeg writes none itself, so the track of a subtitle is renamed to GoPro's."""
    (tmp_path / "s.srt").write_text("1\n00:00:00,100 --> 00:00:01,900\nGPMD payload\n")
    film = tmp_path / "film.mp4"
    ffmpeg(
        *(
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=64x48:rate=25:duration=2",
            "-f",
            "lavfi",
            "-i",
            "sine=r=48000:d=2",
        ),
        *(
            "-i",
            tmp_path / "s.srt",
            "-map",
            "0",
            "-map",
            "1",
            "-map",
            "2",
            "-c:s",
            "mov_text",
            "-c:a",
            "aac",
            film,
        ),
    )
    data = film.read_bytes()
    at = data.index(b"tx3g")
    data = data[:at] + b"gpmd" + data[at + 4 :]
    at = data.rindex(b"sbtl") if b"sbtl" in data else data.rindex(b"text", 0, at)
    film.write_bytes(data[:at] + b"meta" + data[at + 4 :])
    streams = probe_container(film).streams
    assert [(s.kind, s.tag) for s in streams][2] == ("data", "gpmd")
    _, writer = copy_through(film, tmp_path / "out.mp4")
    found = probe_container(tmp_path / "out.mp4").streams
    assert [(s.kind, s.tag) for s in found] == [(s.kind, s.tag) for s in streams]
    assert writer.warnings == ()
    _, writer = copy_through(film, tmp_path / "out.mkv")
    assert any("stream 2 (data, gpmd) does not fit and is left out" in line for line in writer.warnings)
