"""``audio-enh distort`` on files and folders."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_enh.cli import run
from audio_enh.distortions.catalog import DISTORTIONS
from tests.distortions.sounds import SAMPLES, lag, power_db, speech

CLEAN = SAMPLES / "clean"
SCRIPT = Path(sys.executable).with_name("audio-enh")


@pytest.fixture
def distort(capsys: pytest.CaptureFixture[str]):
    def call(*words: str | Path) -> tuple[int, str, str]:
        code = run(["distort", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_list_shows_all_with_ranges(distort):
    code, out, _ = distort("--list")
    assert code == 0
    rows = [line for line in out.splitlines() if line.startswith("  ") and line[2] != " "]
    assert len(rows) == len(DISTORTIONS) == 55
    assert "bitrate: 96, 80" in next(row for row in rows if row.startswith("  mp3 "))
    assert "0.5 of the sample rate to 500 Hz" in next(row for row in rows if row.startswith("  low_pass "))


def test_a_chain_on_a_file(distort, tmp_path: Path):
    code, _, err = distort(
        CLEAN / "dog.flac", "-o", tmp_path / "bad.wav", "--chain", "mp3(bitrate=16),lowpass(cutoff=3000)"
    )
    assert code == 0, err
    clean, rate = soundfile.read(CLEAN / "dog.flac", always_2d=True)
    bad, bad_rate = soundfile.read(tmp_path / "bad.wav", always_2d=True)
    assert (bad_rate, bad.shape) == (rate, clean.shape)
    assert power_db(bad.T, rate, 4500, 8000) < power_db(clean.T, rate, 4500, 8000) - 30
    assert abs(lag(clean.T, bad.T)) <= 1
    record = json.loads((tmp_path / "bad.json").read_text())
    assert [d["name"] for d in record["files"][0]["distortions"]] == ["mp3", "low_pass"]
    assert record["files"][0]["distortions"][0]["parameters"] == {"bitrate": 16}


def test_random_on_a_folder_is_seeded(distort, tmp_path: Path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert distort(CLEAN, "-o", tmp_path / name, "--random", "--seed", seed, "-q")[0] == 0
    rows = {n: json.loads((tmp_path / n / "distortions.json").read_text())["files"] for n in "abc"}
    assert len(rows["a"]) == 5
    assert (
        [r["distortions"] for r in rows["a"]]
        == [r["distortions"] for r in rows["b"]]
        != [r["distortions"] for r in rows["c"]]
    )
    for path in CLEAN.glob("*.flac"):
        assert (tmp_path / "a" / path.name).read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_one_file_alone_is_damaged_as_in_its_folder_only_if_it_is_first(distort, tmp_path: Path):
    distort(CLEAN, "-o", tmp_path / "all", "--random", "--seed", "1", "-q")
    distort(CLEAN / "chainsaw.flac", "-o", tmp_path / "one.flac", "--random", "--seed", "1", "-q")
    assert (tmp_path / "one.flac").read_bytes() == (tmp_path / "all" / "chainsaw.flac").read_bytes()


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"), [(8000, 1, "PCM_U8"), (96000, 6, "PCM_24"), (44100, 2, "FLOAT")]
)
def test_rate_channels_and_format_stay(distort, tmp_path: Path, rate: int, channels: int, subtype: str):
    audio = np.repeat(speech(rate, 1.0).T, channels, axis=1)
    soundfile.write(tmp_path / "in.wav", audio, rate, subtype)
    chain = "background_noise, opus, packet_loss, random_equaliser"
    code, _, err = distort(tmp_path / "in.wav", "-o", tmp_path / "out.wav", "--chain", chain)
    assert code == 0, err
    info = soundfile.info(tmp_path / "out.wav")
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (
        rate,
        channels,
        len(audio),
        subtype,
    )


def test_too_loud_is_turned_down_and_recorded(distort, tmp_path: Path):
    soundfile.write(tmp_path / "in.wav", 0.9 / np.abs(speech()).max() * speech()[0], 16000)
    distort(tmp_path / "in.wav", "-o", tmp_path / "out.wav", "--chain", "background_noise(snr=-8)")
    out, _ = soundfile.read(tmp_path / "out.wav")
    gain = json.loads((tmp_path / "out.json").read_text())["files"][0]["gain_db"]
    assert gain < -3
    assert np.abs(out).max() == pytest.approx(1, abs=1e-3)
    assert np.sum(np.abs(out) > 0.999) <= 2  # not clipped


@pytest.mark.parametrize("samples", [0, 1])
def test_hardly_any_samples(distort, tmp_path: Path, samples: int):
    soundfile.write(tmp_path / "in.wav", np.zeros(samples), 16000)
    assert (
        distort(tmp_path / "in.wav", "-o", tmp_path / "out.wav", "--chain", "hum, mp3, simulated_room")[0]
        == 0
    )
    assert soundfile.info(tmp_path / "out.wav").frames == samples


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--chain", "mp4"], "did you mean mp3"),
        (["--chain", "mp3(bitrat=16)"], "did you mean bitrate"),
        (["--chain", "mp3", "--random"], "either --chain or --random"),
        ([], "either --chain or --random"),
        (["--random", "--severity", "0.9", "0.1"], "the smaller first"),
        (["--random", "--noise", "/nowhere"], "no folder"),
        (["--chain", "mp3", "--record", "x.txt"], "name a .json file"),
        (["--random", "--seed", "-1"], "--seed"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(distort, tmp_path: Path, words: list[str], message: str):
    code, _, err = distort(CLEAN / "dog.flac", "-o", tmp_path / "out.wav", *words)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_missing_output_or_input(distort, tmp_path: Path):
    assert distort(CLEAN / "dog.flac", "--chain", "hum")[0] == 2
    assert distort("-o", tmp_path / "x.wav", "--chain", "hum")[0] == 2
    assert distort(tmp_path / "nothing.wav", "-o", tmp_path / "x.wav", "--chain", "hum")[0] == 2


def test_bad_files_do_not_stop_the_others(distort, tmp_path: Path):
    source = tmp_path / "in"
    source.mkdir()
    soundfile.write(source / "a.wav", np.full(800, np.nan, np.float32), 16000, "FLOAT")
    (source / "b.wav").write_bytes(b"no sound")
    soundfile.write(source / "c.wav", speech()[0], 16000)
    code, _, err = distort(source, "-o", tmp_path / "out", "--chain", "hum", "-q")
    assert code == 2
    assert "a.wav contains NaN" in err
    assert "b.wav" in err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"c.wav", "distortions.json"}


def test_existing_outputs_are_kept_and_their_record_too(distort, tmp_path: Path):
    distort(CLEAN, "-o", tmp_path, "--chain", "hum", "-q")
    (tmp_path / "dog.flac").unlink()
    before = {row["output"]: row for row in json.loads((tmp_path / "distortions.json").read_text())["files"]}
    code, _, err = distort(CLEAN, "-o", tmp_path, "--chain", "mp3")
    after = {row["output"]: row for row in json.loads((tmp_path / "distortions.json").read_text())["files"]}
    assert code == 0
    assert err.count("skipped") == 4
    changed = [name for name in after if after[name] != before[name]]
    assert changed == [str(tmp_path / "dog.flac")]
    single = distort(CLEAN / "dog.flac", "-o", tmp_path / "dog.flac", "--chain", "hum")
    assert single[0] == 2
    assert "--overwrite" in single[2]


def test_through_pipes():
    command = [SCRIPT, "distort", "-", "-o", "-", "--chain", "low_pass(cutoff=1000)", "-q"]
    data = io.BytesIO()
    soundfile.write(data, speech(seconds=3.0)[0], 16000, format="WAV")
    result = subprocess.run(command, input=data.getvalue(), capture_output=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout[:4] == b"RIFF"
    assert len(result.stdout) > 90000


def test_own_noise_is_used(distort, tmp_path: Path):
    time = np.arange(32000) / 16000
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "beep.wav", 0.5 * np.sin(2 * np.pi * 6000 * time), 16000)
    distort(
        CLEAN / "dog.flac",
        "-o",
        tmp_path / "out.wav",
        "--chain",
        "background_noise(snr=0)",
        "--noise",
        tmp_path / "noise",
    )
    out, rate = soundfile.read(tmp_path / "out.wav", always_2d=True)
    assert power_db(out.T, rate, 5900, 6100) > power_db(out.T, rate, 6500, 8000) + 20
