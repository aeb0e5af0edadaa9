"""``enhance --removed``: what was taken away and what was left are the input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.cli.conftest import sound

STEP = 1 / 32768


def write(path: Path, audio: np.ndarray, rate: int, subtype: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.T, rate, subtype=subtype)
    return path


def stereo(rate: int = 16000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 0.1 * rng.standard_normal((2, round(0.9 * rate))).astype(np.float32)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize(("subtype", "largest"), [("FLOAT", 3e-8), ("PCM_16", 1.01 * STEP)])
def test_output_and_removed_make_the_input(cli, tmp_path: Path, rate, subtype, largest) -> None:
    source = write(tmp_path / "a.wav", stereo(rate), rate, subtype)
    result = cli(
        "enhance", source, "-o", tmp_path / "b.wav", "--removed", tmp_path / "gone.wav", "--strength", 0.8
    )
    assert result.code == 0, result.err
    before, after, removed = (soundfile.read(tmp_path / name)[0] for name in ("a.wav", "b.wav", "gone.wav"))
    assert np.abs(removed).max() > 10 * STEP
    assert np.abs(after + removed - before).max() <= largest
    assert soundfile.info(tmp_path / "gone.wav").subtype == subtype


def test_nothing_is_removed_at_strength_0(cli, tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", stereo(), 16000, "FLOAT")
    command = (
        "enhance",
        source,
        "-o",
        tmp_path / "b.wav",
        "--removed",
        tmp_path / "gone.wav",
        "--strength",
        0,
    )
    assert cli(*command).code == 0
    assert not soundfile.read(tmp_path / "gone.wav")[0].any()


def test_a_folder_mirrors_the_outputs(cli, tmp_path: Path) -> None:
    for name in ("a.wav", "deep/a.wav"):
        write(tmp_path / "talks" / name, sound(seconds=0.2)[0], 16000, "PCM_16")
    result = cli("enhance", tmp_path / "talks", "-o", tmp_path / "clean", "--removed", tmp_path / "gone")
    assert result.code == 0, result.err
    found = sorted(str(path.relative_to(tmp_path / "gone")) for path in (tmp_path / "gone").rglob("*.wav"))
    assert found == ["a.wav", "deep/a.wav"]
    dry = cli(
        "enhance", tmp_path / "talks", "-o", tmp_path / "new", "--removed", tmp_path / "gone", "--dry-run"
    )
    assert f"and {tmp_path / 'gone' / 'a.wav'}" in dry.out


def test_one_file_into_a_folder(cli, tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", sound(seconds=0.2)[0], 16000, "PCM_16")
    assert cli("enhance", source, "--removed", tmp_path / "gone").code == 0
    assert (tmp_path / "gone" / "a_enhanced.wav").is_file()


def test_what_does_not_suit_is_told_before_any_work(cli, tmp_path: Path) -> None:
    source = write(tmp_path / "in" / "a.wav", sound(seconds=0.2)[0], 16000, "PCM_16")
    write(tmp_path / "in" / "b.wav", sound(seconds=0.2)[0], 16000, "PCM_16")
    (tmp_path / "there.wav").write_bytes(b"mine")
    out = tmp_path / "out.wav"
    for words, told in (
        ((source, "-o", out, "--removed", source), "would write over"),
        ((source, "-o", out, "--removed", out), "would write over"),
        ((source, "-o", out, "--removed", tmp_path / "there.wav"), "exists already"),
        ((source, "-o", out, "--removed", "-"), "name a file"),
        ((source, "-o", "-", "--removed", tmp_path / "in"), "name a file"),
        ((source, "-o", out, "--track", "all", "--removed", "x.wav"), "one sound track"),
        ((tmp_path / "in", "--removed", tmp_path / "x.wav"), "need a folder"),
        ((tmp_path / "in", "-o", tmp_path / "o", "--removed", tmp_path / "o"), "would write over"),
    ):
        result = cli("enhance", *words)
        assert result.code == 2, words
        assert told in result.err, words
        assert len(result.lines) == 1
    assert (tmp_path / "there.wav").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "there.wav"]


def test_neither_file_appears_where_the_work_fails(cli, tmp_path: Path) -> None:
    bad = stereo()
    bad[0, -1] = np.nan
    source = write(tmp_path / "a.wav", bad, 16000, "FLOAT")
    result = cli("enhance", source, "-o", tmp_path / "b.wav", "--removed", tmp_path / "gone.wav")
    assert result.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
