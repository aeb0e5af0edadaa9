"""What this program did not make, it neither removes nor writes over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from audio_enh.cli import run as audio_enh
from audio_enh.errors import UserError
from audio_enh.io import write_audio
from audio_enh.io.owned import MARK, check_report, claim, is_owned, make_owned, remove_owned


def test_only_marked_folders_are_removed(tmp_path: Path) -> None:
    made, other = tmp_path / "a" / "made", tmp_path / "other"
    make_owned(made)
    (made / "inside").mkdir()
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    link = tmp_path / "link"
    link.symlink_to(made)
    for folder in (other, link, tmp_path, tmp_path / "nowhere"):
        assert not is_owned(folder)
        remove_owned(folder)
    assert (other / "thesis.txt").exists()
    assert made.exists()
    remove_owned(made)
    assert not made.exists()
    assert made.parent.exists()
    with pytest.raises(FileExistsError):
        make_owned(other)
    claim(other)
    assert not is_owned(other)
    claim(tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == [MARK]


def test_a_report_takes_the_place_of_reports_only(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    check_report(path, overwrite=False)
    path.write_text(json.dumps({"audio_enh": "0.1.0", "files": []}))
    check_report(path, overwrite=False)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    dangling = tmp_path / "dangling.json"
    dangling.symlink_to(tmp_path / "elsewhere.json")
    for place, text in ((path, '{"mine": 1}'), (path, "[" * 100_000), (link, None), (dangling, None)):
        if text is not None:
            path.write_text(text)
        with pytest.raises(UserError, match="--overwrite"):
            check_report(place, overwrite=False)
        check_report(place, overwrite=True)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert audio_enh([str(each) for each in arguments]) == 2
    return capsys.readouterr().err


def test_outputs_that_are_there_or_links_need_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "talk.wav"
    write_audio(source, 0.1 * np.random.default_rng(0).standard_normal((1, 1600)).astype(np.float32), 16000)
    dangling = tmp_path / "out.wav"
    dangling.symlink_to(tmp_path / "elsewhere.wav")
    assert "--overwrite" in refusal(capsys, "enhance", source, "-o", dangling)
    assert not (tmp_path / "elsewhere.wav").exists()

    notes = tmp_path / "notes.json"
    notes.write_text('{"mine": 1}')
    command = ["enhance", source, "-o", tmp_path / "new.wav", "--report", notes]
    assert "no report of this program" in refusal(capsys, *command)
    assert not (tmp_path / "new.wav").exists()

    # Of damaged files the record lies beside the output, under its name.
    (tmp_path / "bad.json").write_text('{"mine": 1}')
    command = ["distort", source, "-o", tmp_path / "bad.wav", "--chain", "hum"]
    assert "no report of this program" in refusal(capsys, *command)

    command = ["demo", "-o", tmp_path]
    (tmp_path / "noisy.wav").write_bytes(b"mine")
    assert "noisy.wav exists already" in refusal(capsys, *command)

    for path in (tmp_path / "model.onnx", tmp_path / "compared.md"):
        path.write_bytes(b"mine")
    command = ["export", "-o", tmp_path / "model.onnx"]
    assert "model.onnx exists already" in refusal(capsys, *command)
    command = ["compare", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "compared.md"]
    assert "compared.md exists already" in refusal(capsys, *command)
    for name in ("noisy.wav", "model.onnx", "compared.md"):
        assert (tmp_path / name).read_bytes() == b"mine"
    assert notes.read_text() == (tmp_path / "bad.json").read_text() == '{"mine": 1}'
