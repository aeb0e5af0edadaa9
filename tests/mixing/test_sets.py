"""`audio-enh mix`: the recipes of test sets."""

from __future__ import annotations

import csv
import filecmp

import numpy as np
import pytest
import soundfile

from audio_enh.cli import run
from audio_enh.sources.rooms import statistical_room

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


def test_dry_target_is_the_direct_sound(manifest, tmp_path):
    assert (
        mix(
            manifest,
            tmp_path / "set",
            "set=reverberant",
            "set.per_snr=1",
            "set.early_seconds=0",
            "set.snr_db=[60]",
        )
        == 0
    )
    row = next(csv.DictReader((tmp_path / "set" / "metadata.csv").open()))
    clean, _ = soundfile.read(tmp_path / "set" / "clean" / row["file"])
    speech, _ = soundfile.read(manifest.with_name(f"{row['speech']}.wav"))
    # The rooms' direct sound is one sample, their reflections are 1 ms later or more: nearly the speech itself.
    assert np.corrcoef(clean, speech)[0, 1] > 0.995


@pytest.fixture
def odd(manifest, tmp_path):
    """A manifest of its own to spoil: gives a function that adds a file."""
    folder = tmp_path / "sources"
    folder.mkdir()
    rows = ["path,kind,split"]

    def add(name, audio, kind, rate=RATE):
        soundfile.write(folder / name, audio, rate, "FLOAT")
        rows.append(f"{name},{kind},valid")
        (folder / "m.csv").write_text("\n".join(rows))
        return folder / "m.csv"

    rng = np.random.default_rng(1)
    add("talk.wav", np.concatenate([np.zeros(100), 0.1 * rng.standard_normal(3 * RATE)]), "speech")
    add("hiss.wav", 0.1 * rng.standard_normal(RATE), "noise")
    return add


@pytest.mark.parametrize(
    ("name", "audio", "kind"),
    [
        ("faint.wav", 5e-5 * np.ones(RATE), "noise"),
        ("empty.wav", np.zeros(0), "noise"),
        ("mute.wav", np.zeros(3 * RATE), "speech"),
    ],
)
def test_bad_sources_are_named_or_left_out(odd, tmp_path, capsys, name, audio, kind):
    sources = odd(name, audio, kind)
    assert mix(sources, tmp_path / "out", "set.per_snr=2") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert name in said
    assert "skip_broken=true" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-cache", "sources"]
    assert mix(sources, tmp_path / "out", "set.per_snr=2", "set.skip_broken=true") == 0
    table = list(csv.DictReader((tmp_path / "out" / "metadata.csv").open()))
    assert {(row["speech"], row["noise"]) for row in table} == {("talk", "hiss")}


@pytest.mark.parametrize(
    "noise", [np.full(RATE, 5e-5), np.r_[0.5, np.zeros(10**6)]], ids=["below -80 dB", "silence after a click"]
)
def test_search_for_noise_ends(tmp_path, capsys, noise):
    for name, audio in (("talk", 0.1 * np.random.default_rng(0).standard_normal(3 * RATE)), ("noise", noise)):
        soundfile.write(tmp_path / f"{name}.wav", audio, RATE, "FLOAT")
    (tmp_path / "m.csv").write_text("path,kind,split\ntalk.wav,speech,valid\nnoise.wav,noise,valid\n")
    assert mix(tmp_path / "m.csv", tmp_path / "out", "set.per_snr=1") == 2
    assert "-80 dB" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "noise.wav", "out-cache", "talk.wav"]


def test_low_rate_sources_of_a_wide_band_set_are_said(odd, tmp_path, capsys):
    sources = odd("narrow.wav", 0.1 * np.random.default_rng(2).standard_normal(8000), "noise", 8000)
    assert mix(sources, tmp_path / "out", "set.per_snr=1") == 0
    printed = "".join(capsys.readouterr())
    assert "1 of 2 noise files have less than 16000 Hz and nothing above 4 kHz" in printed


def test_a_set_appears_whole_or_not_at_all(manifest, tmp_path, monkeypatch):
    write = soundfile.write

    def full_disk(path, *arguments):
        if "0003" in str(path):
            raise OSError("no space left")
        write(path, *arguments)

    monkeypatch.setattr(soundfile, "write", full_disk)
    assert mix(manifest, tmp_path / "out", "set.per_snr=1") != 0
    assert [path.name for path in tmp_path.iterdir()] == ["out-cache"]
