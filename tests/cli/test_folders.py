"""Folders as people have them: odd names, links, other files, and one file that must not stop the rest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_enh.io import probe
from tests.cli.conftest import sound

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
ffmpeg_needed = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffmpeg")


def wav(path: Path, seconds: float = 0.3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(seconds=seconds)[0], 16000)
    return path


def test_what_a_folder_leaves_out_is_counted_and_named(cli, tmp_path: Path) -> None:
    folder = tmp_path / "talks"
    wav(folder / "a.wav")
    wav(folder / "b.wav")
    for name in ("x.jpg", "y.jpg", "notes", ".hidden.wav"):
        (folder / name).write_bytes(b"text")
    (folder / "code.ts").write_text("export const answer = 42;\n" * 50)
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    (folder / "same.wav").symlink_to(folder / "b.wav")
    result = cli("enhance", folder)
    assert result.code == 0
    summary = result.lines[-1]
    assert summary.startswith("left out: 7 (2 .jpg; ")
    for words in (
        "1 no extension",
        "1 hidden",
        "code.ts: no transport stream",
        "gone.wav: a broken link",
        f"same.wav: the same file as {folder / 'b.wav'}",
    ):
        assert words in summary
    report = json.loads((tmp_path / "talks_enhanced" / "enhance_report.json").read_text())
    assert report["summary"]["left_out"] == len(report["left_out"]) == 7
    dry = cli("enhance", folder, "--dry-run")
    assert "left out: 7" in dry.err


def test_a_folder_without_recordings_says_what_it_holds(cli, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    result = cli("enhance", tmp_path)
    assert result.code == 2
    assert result.lines[-1].endswith("(1 .txt)")


def test_two_links_to_one_file_typed_one_after_the_other(cli, tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to(tmp_path / "a.wav")
    result = cli("enhance", tmp_path / "a.wav", tmp_path / "b.wav")
    assert result.code == 0
    assert f"{tmp_path / 'b.wav'}: the same file as {tmp_path / 'a.wav'}" in result.err


def test_names_that_are_no_text_or_would_be_obeyed(cli, tmp_path: Path) -> None:
    """Not UTF-8, escape sequences, line breaks: all are enhanced, and shown escaped."""
    folder = tmp_path / "talks"
    wav(folder / "a.wav")
    wav(folder / f"z{ESCAPE}\nsecond.wav")
    shutil.copy(folder / "a.wav", os.fsencode(folder) + b"/caf\xe9.wav")
    result = cli("enhance", folder)
    assert result.code == 0, result.err
    assert len(list((tmp_path / "talks_enhanced").glob("*.wav"))) == 3
    assert "\x1b" not in result.err
    assert "\x07" not in result.err
    assert "\\x1b]0;owned" in result.err
    assert "caf\\xe9.wav" in result.err
    assert len([line for line in result.lines if " -> " in line]) == 3
    shown = cli("enhance", folder, "--dry-run", "--overwrite")
    assert "\x1b" not in shown.out
    (folder / f"z{ESCAPE}\nsecond.wav").write_bytes(b"broken" * 100)
    failed = cli("enhance", folder, "--overwrite")
    assert failed.code == 2
    assert "\x1b" not in failed.err
    assert "2 enhanced, 0 skipped, 1 failed" in failed.err
    missing = cli("enhance", tmp_path / f"no{ESCAPE}.wav")
    assert missing.code == 2
    assert "\x1b" not in missing.err


def test_a_long_name_gets_a_shorter_output_and_stops_nothing(cli, tmp_path: Path) -> None:
    first = wav(tmp_path / ("ä" * 120 + "a.wav"))
    second = wav(tmp_path / ("ä" * 120 + "b.wav"))
    third = wav(tmp_path / "c.wav")
    result = cli("enhance", first, second, third)
    assert result.code == 0, result.err
    made = sorted(path.name for path in tmp_path.glob("*_enhanced.wav"))
    assert len(made) == 3
    assert made[0] == "c_enhanced.wav"
    assert all(len(os.fsencode(name)) <= 255 for name in made)


def test_a_name_that_the_output_folder_cannot_hold_is_that_files_failure(cli, tmp_path: Path) -> None:
    """eCryptfs and others take shorter names than the disk that a recording comes from."""
    folder = tmp_path / "talks"
    wav(folder / "a.wav")
    wav(folder / "b.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.wav").mkdir()  # something is in the way of one of them
    result = cli("enhance", folder, "-o", tmp_path / "out")
    assert result.code == 2
    assert "1 enhanced, 0 skipped, 1 failed" in result.err
    assert (tmp_path / "out" / "b.wav").is_file()


def test_any_exception_of_one_file_is_its_own(cli, tmp_path: Path, monkeypatch) -> None:
    from audio_enh.inference import files

    folder = tmp_path / "talks"
    for name in ("a", "b", "c"):
        wav(folder / f"{name}.wav")
    opened = files.AudioReader

    def fail(source, **options):
        if Path(source).name == "b.wav":
            raise RecursionError("maximum recursion depth exceeded")
        return opened(source, **options)

    monkeypatch.setattr(files, "AudioReader", fail)
    result = cli("enhance", folder)
    assert result.code == 2
    assert "2 enhanced, 0 skipped, 1 failed" in result.err


@ffmpeg_needed
def test_formats_that_can_only_be_read_become_others(cli, tmp_path: Path) -> None:
    folder = tmp_path / "talks"
    wav(folder / "a.wav")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", folder / "a.wav", "-ar", "8000", "-f", "gsm", folder / "memo.gsm"],
        check=True,
    )
    result = cli("enhance", folder)
    assert result.code == 0, result.err
    made = tmp_path / "talks_enhanced" / "memo.m4a"
    assert probe(made).subtype == "aac"
    assert probe(made).frames == pytest.approx(probe(folder / "memo.gsm").frames, abs=320)
    alone = cli("enhance", folder / "memo.gsm")
    assert alone.code == 0, alone.err
    assert (folder / "memo_enhanced.m4a").is_file()
    named = cli("enhance", folder / "memo.gsm", "-o", tmp_path / "x.gsm")
    assert named.code == 2
    assert "can be read, but not written: name an output such as .m4a" in named.err


@ffmpeg_needed
def test_a_full_disk_of_one_file_does_not_end_the_run(cli, tmp_path: Path) -> None:
    """The encoder that dies in the middle is no reader of our stdout that has enough."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount")
    try:
        folder = tmp_path / "talks"
        folder.mkdir()
        soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 48000 * 40), 48000)
        soundfile.write(tmp_path / "short.wav", sound(rate=48000)[0], 48000)
        for name in ("long", "short"):
            command = ["ffmpeg", "-v", "error", "-i", tmp_path / f"{name}.wav", folder / f"{name}.m4a"]
            subprocess.run(command, check=True)
        result = cli("enhance", folder, "-o", disk / "out")
        assert result.code == 2, result.err
        assert "no space left on the disk" in result.err
        assert "1 enhanced, 0 skipped, 1 failed" in result.err
    finally:
        subprocess.run(["umount", disk], check=True)


@ffmpeg_needed
@pytest.mark.parametrize("track", ["all", "Mic"])
def test_sound_tracks(cli, tmp_path: Path, track: str) -> None:
    """As OBS records them: all are cleaned one after the other, or one, and the picture stays."""
    from audio_enh.io import AudioReader

    for name, channels in (("desktop", 2), ("mic", 1)):
        soundfile.write(tmp_path / f"{name}.wav", sound(rate=48000, channels=channels).T, 48000)
    film = tmp_path / "film.mkv"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1"]
    command += [
        "-i",
        tmp_path / "desktop.wav",
        "-i",
        tmp_path / "mic.wav",
        "-map",
        "0",
        "-map",
        "1",
        "-map",
        "2",
    ]
    command += ["-c:a", "pcm_s16le", "-metadata:s:a:0", "title=Desktop", "-metadata:s:a:1", "title=Mic", film]
    subprocess.run(command, check=True)
    target = tmp_path / "out" / "film.mkv"
    result = cli("enhance", film, "-o", target, "--track", track)
    assert result.code == 0, result.err
    changed = []
    for number in ("1", "2"):
        with AudioReader(film, track=number) as old, AudioReader(target, track=number) as new:
            before, after = next(old.blocks()), next(new.blocks())
        assert before.shape == after.shape
        changed.append(not np.array_equal(before, after))
        assert np.corrcoef(before[0], after[0])[0, 1] > 0.9
    assert changed == [track == "all", True]
    assert [path.name for path in target.parent.iterdir()] == ["film.mkv"]
    if track == "all":
        assert (
            "no place for the 2 sound tracks"
            in cli("enhance", film, "-o", tmp_path / "a.wav", "--track", "all").err
        )
    missing = cli("enhance", film, "-o", tmp_path / "b.mkv", "--track", "Game")
    assert missing.code == 2
    assert "no sound track called Game: it has 1 (Desktop); 2 (Mic)" in missing.err
