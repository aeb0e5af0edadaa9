"""`audio-enh mix`: the recipes of test sets."""

from __future__ import annotations

import csv
import filecmp

import numpy as np
import pytest
import soundfile

from audio_enh.cli import run
from audio_enh.data.rooms import statistical_room

RATE = 16000


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    rows = ["path,kind,split"]
    for i in range(2):
        time = np.arange(3 * RATE) / RATE
        audio = 0.3 * np.sin(2 * np.pi * 220 * (i + 1) * time) * (np.sin(2 * np.pi * time) > -0.5)
        soundfile.write(root / f"speech{i}.wav", audio, RATE)
        soundfile.write(root / f"noise{i}.wav", 0.1 * rng.standard_normal(RATE), RATE)
        soundfile.write(root / f"room{i}.wav", 0.5 * statistical_room(rng, RATE), RATE, "FLOAT")
        rows += [f"speech{i}.wav,speech,valid", f"noise{i}.wav,noise,valid", f"room{i}.wav,rir,valid"]
    (root / "manifest.csv").write_text("\n".join(rows))
    (root / "dry.csv").write_text("\n".join(row for row in rows if ",rir," not in row))
    return root / "manifest.csv"


def mix(manifest, out, *overrides):
    return run(["mix", f"manifest={manifest}", f"out={out}", f"set.cache={out}-cache", *overrides])


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_benchmark_is_both_sets_and_the_same_each_time(manifest, tmp_path):
    for name in ("a", "b"):
        code = run(
            ["mix", "set=benchmark", f"manifest={manifest}", f"out={tmp_path / name}", "set.per_snr=1"]
        )
        assert code == 0
    made = files(tmp_path / "a")
    assert made == files(tmp_path / "b")
    assert len(made) == 2 * (2 * 5 + 1)
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", made, shallow=False) == (made, [], [])

    # Each of them is what it is by itself.
    assert mix(manifest, tmp_path / "noisy", "set.per_snr=1") == 0
    assert mix(manifest, tmp_path / "reverberant", "set=reverberant", "set.per_snr=1") == 0
    for name in ("noisy", "reverberant"):
        alone = files(tmp_path / name)
        assert filecmp.cmpfiles(tmp_path / "a" / name, tmp_path / name, alone, shallow=False) == (
            alone,
            [],
            [],
        )
    rooms = [
        {row["room"] for row in csv.DictReader((tmp_path / name / "metadata.csv").open())}
        for name in ("noisy", "reverberant")
    ]
    assert rooms == [{""}, {"room0.wav", "room1.wav"}]


def test_no_rooms_no_set(manifest, tmp_path, capsys):
    assert mix(manifest.with_name("dry.csv"), tmp_path / "out", "set=reverberant") == 2
    assert "kind=rir" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_set_appears_whole_or_not_at_all(manifest, tmp_path, monkeypatch):
    write = soundfile.write

    def full_disk(path, *arguments):
        if "0003" in str(path):
            raise OSError("no space left")
        write(path, *arguments)

    monkeypatch.setattr(soundfile, "write", full_disk)
    assert mix(manifest, tmp_path / "out", "set.per_snr=1") != 0
    assert [path.name for path in tmp_path.iterdir()] == ["out-cache"]
