"""Folders, globs and names to inputs; inputs to outputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from audio_enh.errors import AudioFileError, UserError
from audio_enh.io import find_audio, plan_outputs


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in [
        "rec/b.wav",
        "rec/a.MP3",
        "rec/day 1/c.flac",
        "rec/day 1/deep/d.opus",
        "rec/day 1/film.mkv",
        "rec/notes.txt",
        "rec/.hidden.wav",
        "rec/._a.mp3",
        "rec/.b.123-abcd.part.wav",
        "rec/.cache/e.wav",
        "take[1].wav",
        "take1.wav",
        "empty/readme.md",
    ]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def relatives(found) -> list[str]:
    return [item.relative.as_posix() for item in found]


def test_folder_is_searched_in_depth_and_sorted(tree):
    found = find_audio([tree / "rec"])
    assert relatives(found) == ["a.MP3", "b.wav", "day 1/c.flac", "day 1/deep/d.opus", "day 1/film.mkv"]
    assert [item.path for item in found] == [tree / "rec" / name for name in relatives(found)]


def test_a_named_file_is_taken_whatever_its_name(tree):
    assert relatives(find_audio(["rec/notes.txt", "rec/.hidden.wav"])) == ["notes.txt", ".hidden.wav"]


def test_a_name_that_exists_is_no_glob(tree):
    assert [item.path for item in find_audio(["take[1].wav"])] == [Path("take[1].wav")]
    assert [item.path for item in find_audio(["take?.wav"])] == [Path("take1.wav")]


def test_globs_keep_the_part_below_their_fixed_part(tree):
    assert relatives(find_audio(["rec/*"])) == [
        "a.MP3",
        "b.wav",
        "day 1/c.flac",
        "day 1/deep/d.opus",
        "day 1/film.mkv",
    ]
    assert relatives(find_audio([str(tree / "rec" / "*" / "*.flac")])) == ["day 1/c.flac"]
    assert relatives(find_audio(["rec/**/*.opus"])) == ["day 1/deep/d.opus"]


def test_each_file_comes_once(tree):
    found = find_audio(["rec/b.wav", tree / "rec", "rec/*.wav", "./rec/../rec/b.wav"])
    assert relatives(found)[0] == "b.wav"
    assert len({item.path.resolve() for item in found}) == len(found) == 5


def test_links_to_folders_are_followed_once_and_loops_end(tree):
    os.symlink(tree / "rec", tree / "rec" / "day 1" / "loop")  # noqa: PTH211
    (tree / "other").mkdir()
    (tree / "other" / "linked").symlink_to(tree / "rec" / "day 1")
    assert len(find_audio(["rec"])) == 5
    assert "linked/c.flac" in relatives(find_audio(["other"]))


def test_output_folder_inside_the_input_is_left_out(tree):
    (tree / "rec" / "clean").mkdir()
    (tree / "rec" / "clean" / "b.wav").touch()
    for argument in ("rec", "rec/*", "rec/**/*.wav"):
        found = find_audio([argument], exclude=["rec/clean"])
        assert not any("clean" in item.path.parts for item in found)
        assert "b.wav" in relatives(found)


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        ("empty", UserError, "no audio files in empty"),
        ("missing.wav", AudioFileError, "missing.wav: no such file"),
        ("missing/*.wav", AudioFileError, r"no audio file matches missing/\*\.wav"),
        ("empty/*", AudioFileError, "no audio file matches"),
    ],
)
def test_nothing_found_is_an_error_that_names_it(tree, argument, error, message):
    with pytest.raises(error, match=message):
        find_audio(["take1.wav", argument])


def test_outputs_mirror_the_tree(tree):
    plan = plan_outputs(find_audio(["rec", "take1.wav"]), "out")
    assert [str(target) for _, target in plan] == [
        "out/a.MP3",
        "out/b.wav",
        "out/day 1/c.flac",
        "out/day 1/deep/d.opus",
        "out/day 1/film.mkv",
        "out/take1.wav",
    ]
    plan = plan_outputs(find_audio(["rec"]), Path("out"), extension=".wav")
    assert str(plan[0][1]) == "out/a.wav"
    assert plan == plan_outputs(find_audio(["rec"]), Path("out"), extension="wav")


def test_two_inputs_for_one_output_are_refused_by_name(tree):
    (tree / "x").mkdir()
    (tree / "x" / "b.wav").touch()
    with pytest.raises(UserError, match=r"rec/b\.wav and x/b\.wav would both become out/b\.wav"):
        plan_outputs(find_audio(["rec/b.wav", "x/b.wav"]), "out")
    (tree / "rec" / "b.flac").touch()
    plan_outputs(find_audio(["rec"]), "out")
    with pytest.raises(UserError, match=r"would both become out/b\.wav"):
        plan_outputs(find_audio(["rec"]), "out", extension=".wav")
    (tree / "x" / "B.wav").touch()
    with pytest.raises(UserError, match="both"):  # one file on macOS and Windows
        plan_outputs(find_audio(["x"]), "out")


def test_an_output_must_not_replace_another_input(tree):
    (tree / "rec" / "a.wav").touch()
    found = find_audio(["rec/a.MP3", "rec/a.wav"])
    with pytest.raises(UserError, match=r"rec/a\.MP3 would replace another input, rec/a\.wav"):
        plan_outputs(found[:1] + found[1:], "rec", extension=".wav")
    # Onto itself is fine: it is read to its end before it is replaced.
    assert plan_outputs(find_audio(["rec/b.wav"]), "rec")[0][1] == Path("rec/b.wav")
