"""Pairs are found by name and refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audio_enh.errors import UserError
from audio_enh.eval.pairing import match_rule, natural, pair_folders
from tests.eval.synthesis import write

TONE = 0.1 * np.sin(np.arange(100))


def folder(root: Path, name: str, *files: str) -> Path:
    for file in files:
        write(root / name / file, TONE)
    return root / name


def test_by_path_and_by_stem(tmp_path: Path) -> None:
    clean = folder(tmp_path, "clean", "a/1.wav", "b/1.wav")
    other = folder(tmp_path, "out", "a/1.flac", "b/1.flac")
    groups = pair_folders({"clean": clean, "out": other}, match_rule("path"))
    assert [group.key for group in groups] == ["a/1", "b/1"]
    assert groups[1].paths["out"].name == "1.flac"
    with pytest.raises(UserError, match=r"ambiguous pairs: .*a/1\.wav and .*b/1\.wav are both '1'"):
        pair_folders({"clean": clean, "out": other}, match_rule("stem"))
    flat = folder(tmp_path, "flat", "x.wav", "y.wav")
    deep = folder(tmp_path, "deep", "p/x.wav", "q/y.wav")
    assert len(pair_folders({"clean": flat, "out": deep}, match_rule("stem"))) == 2


def test_by_pattern(tmp_path: Path) -> None:
    clean = folder(tmp_path, "clean", "clean_fileid_2.wav", "clean_fileid_10.wav")
    noisy = folder(tmp_path, "noisy", "x_snr5_fileid_10.wav", "y_snr0_fileid_2.wav")
    groups = pair_folders({"clean": clean, "noisy": noisy}, match_rule(r"fileid_(\d+)"))
    assert [group.key for group in groups] == ["2", "10"]  # by number
    assert groups[0].paths["noisy"].name.startswith("y_")
    with pytest.raises(UserError, match="no match in clean_fileid"):
        pair_folders({"clean": clean, "noisy": noisy}, match_rule("nothing(like)this"))
    with pytest.raises(UserError, match="valid regular expression"):
        match_rule("(")


def test_missing_pairs_are_named(tmp_path: Path) -> None:
    clean = folder(tmp_path, "clean", "a.wav", "b.wav")
    other = folder(tmp_path, "out", "a.wav", "c.wav")
    with pytest.raises(UserError) as caught:
        pair_folders({"clean": clean, "out": other}, match_rule("path"))
    assert "clean has none for c" in str(caught.value)
    assert "out has none for b" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_folder_in_two_roles(tmp_path: Path) -> None:
    clean = folder(tmp_path, "clean", "a.wav")
    (tmp_path / "link").symlink_to(clean)
    for again in (clean, tmp_path / "clean" / ".." / "clean", tmp_path / "link"):
        with pytest.raises(UserError, match="the same folder"):
            pair_folders({"clean": clean, "noisy": again}, match_rule("path"))


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    clean = folder(tmp_path, "clean", "a.wav")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no audio files in"):
        pair_folders({"clean": clean, "out": tmp_path / "empty"}, match_rule("path"))
    with pytest.raises(UserError, match="is not a folder"):
        pair_folders({"clean": clean, "out": tmp_path / "nowhere"}, match_rule("path"))


def test_natural_order() -> None:
    assert sorted(["f10", "f2", "e3", "f2b"], key=natural) == ["e3", "f2", "f2b", "f10"]
    assert sorted(["1", "a", "10", "2"], key=natural) == ["1", "2", "10", "a"]
