"""Public collections, as small stand-ins of their structure, through the real command."""

import csv
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_enh.cli import run
from audio_enh.data.prepare import corpora
from audio_enh.data.prepare.archives import unpack_archives
from audio_enh.errors import UserError
from audio_enh.sources.packed import AudioFolder, PairFolder

SCRIPT = Path(sys.executable).with_name("audio-enh")


def sound(path: Path, rate: int = 48000, seconds: float = 0.25, channels: int = 1, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    soundfile.write(path, 0.1 * rng.standard_normal((round(rate * seconds), channels)), rate)
    return path


def voicebank(root: Path) -> Path:
    for stem, speakers in (
        ("trainset_28spk_wav", ("p226", "p287", "p228", "p230")),
        ("testset_wav", ("p232",)),
    ):
        for side in ("clean", "noisy"):
            for i, speaker in enumerate(speakers):
                sound(root / f"{side}_{stem}" / f"{speaker}_00{i}.wav", seed=i + 10 * (side == "noisy"))
    return root


def ears(root: Path) -> Path:
    for speaker in ("p001", "p099", "p100", "p102"):
        for style in ("emo_anger_freeform", "vegetative_eating", "whisper_1"):
            sound(root / speaker / f"{style}.wav")
    return root


def dns(root: Path) -> Path:
    base = root / "datasets_fullband"
    for reader in range(40):
        sound(
            base / "clean_fullband" / "read_speech" / f"book_1_chp_2_reader_{reader:05}_3.wav", seconds=0.05
        )
        sound(
            base / "clean_fullband" / "read_speech" / f"book_4_chp_2_reader_{reader:05}_0.wav", seconds=0.05
        )
    sound(base / "noise_fullband" / "door_1.wav")
    room = base / "impulse_responses" / "SLR26" / "small" / "room_0.wav"
    room.parent.mkdir(parents=True)
    response = np.zeros((4800, 2))
    response[[100, 300], [0, 1]] = 0.9
    soundfile.write(room, response, 48000)
    for side in ("clean", "noisy"):
        name = "clean_fileid_7.wav" if side == "clean" else "clnsp1_door_snr3_fileid_7.wav"
        sound(base / "test_set" / "synthetic" / "no_reverb" / side / name, rate=16000)
    return root


def libritts(root: Path) -> Path:
    for subset in ("train-clean-100", "dev-clean", "test-other"):
        sound(root / "LibriTTS" / subset / "19" / "198" / f"19_198_{subset}.wav", rate=24000)
    return root


def wham(root: Path) -> Path:
    for code in ("tr", "cv", "tt"):
        sound(root / "wham_noise" / code / f"{code}_1.wav", rate=16000, channels=2)
    sound(root / "high_res_wham" / "audio" / "place_1.wav")
    table = root / "high_res_wham" / "high_res_metadata.csv"
    table.write_text("Filename,WHAM! Split\naudio/place_1.wav,Train\n")
    return root


def call(*words, capsys=None):
    code = run(["data", "prepare", *map(str, words)])
    return code, capsys.readouterr() if capsys else None


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


def counts(out: Path) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for row in rows(out):
        key = row["kind"], row["split"]
        found[key] = found.get(key, 0) + 1
    return found


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        (
            "vbdmd",
            voicebank,
            {
                ("pair", "train"): 2,
                ("pair", "valid"): 2,
                ("pair", "test"): 1,
                ("speech", "train"): 2,
                ("speech", "valid"): 2,
                ("speech", "test"): 1,
            },
        ),
        ("ears", ears, {("speech", "train"): 4, ("speech", "valid"): 2, ("speech", "test"): 2}),
        ("libritts", libritts, {("speech", "train"): 1, ("speech", "valid"): 1, ("speech", "test"): 1}),
        ("wham", wham, {("noise", "train"): 2, ("noise", "valid"): 1, ("noise", "test"): 1}),
    ],
)
def test_collection_is_resampled_and_split(name, make, expected, tmp_path):
    out = tmp_path / "out"
    assert call(name, make(tmp_path / "source"), "-o", out, "--allow-incomplete")[0] == 0
    assert counts(out) == expected
    for row in rows(out):
        for path in filter(None, (row["path"], row["clean"])):
            info = soundfile.info(str(out / path))
            assert (info.samplerate, info.channels) == (16000, 1)
            assert row["group"]
            assert info.duration == pytest.approx(float(row["seconds"]), abs=1e-3)


def test_voicebank_validates_on_p226_and_p287_and_recipes_read_it(tmp_path):
    out = tmp_path / "out"
    call("vbdmd", voicebank(tmp_path / "source"), "-o", out, "--allow-incomplete")
    assert {row["speaker"] for row in rows(out) if row["split"] == "valid"} == {"p226", "p287"}
    noisy, clean = PairFolder(str(out / "manifest.csv"), {"kind": "pair", "split": "train"}).files()
    assert [p.name for p in noisy] == [p.name for p in clean] == ["p228_002.flac", "p230_003.flac"]
    source, _ = soundfile.read(tmp_path / "source" / "clean_trainset_28spk_wav" / "p228_002.wav")
    assert len(soundfile.read(clean[0])[0]) == len(source) // 3


def test_dns_keeps_a_reader_on_one_side_and_pairs_by_fileid(tmp_path):
    out = tmp_path / "out"
    assert call("dns", dns(tmp_path / "source"), "-o", out)[0] == 0
    speech = [row for row in rows(out) if row["kind"] == "speech" and row["split"] != "test"]
    by_reader: dict[str, set[str]] = {}
    for row in speech:
        by_reader.setdefault(row["speaker"], set()).add(row["split"])
    assert len(by_reader) == 40
    assert all(len(splits) == 1 for splits in by_reader.values())
    assert set.union(*by_reader.values()) == {"train", "valid"}
    assert counts(out)["pair", "test"] == 1
    assert sum(n for (kind, _), n in counts(out).items() if kind == "rir") == 1


def test_own_folders_and_several_collections_share_a_manifest(tmp_path):
    out = tmp_path / "out"
    for talker in range(30):
        sound(tmp_path / "talk" / f"t{talker}" / "a.flac", rate=16000, seconds=0.05)
        sound(tmp_path / "talk" / f"t{talker}" / "b.flac", rate=16000, seconds=0.05)
    arguments = ("--kind", "speech", "--name", "mine", "--valid-fraction", "0.2")
    assert call("folder", tmp_path / "talk", "-o", out, *arguments)[0] == 0
    assert call("wham", wham(tmp_path / "noise"), "-o", out)[0] == 0
    assert {row["source"] for row in rows(out)} == {"mine", "wham"}
    sides = {row["speaker"]: set() for row in rows(out) if row["source"] == "mine"}
    for row in rows(out):
        if row["source"] == "mine":
            sides[row["speaker"]].add(row["split"])
    assert len(sides) == 30
    assert all(len(splits) == 1 for splits in sides.values())
    assert call("wham", tmp_path / "noise", "-o", out)[0] == 0  # again: its rows are replaced, not doubled
    assert counts(out)["noise", "train"] == 2
    assert AudioFolder(str(out / "manifest.csv"), {"kind": "noise", "split": "train"}).files()


def test_stopped_run_goes_on_and_changed_files_are_done_again(tmp_path):
    source, out = wham(tmp_path / "source"), tmp_path / "out"
    call("wham", source, "-o", out)
    done = out / "wham" / "train" / "tr_1.flac"
    before = done.stat().st_mtime_ns
    call("wham", source, "-o", out)
    assert done.stat().st_mtime_ns == before
    sound(source / "wham_noise" / "tr" / "tr_1.wav", rate=16000, seconds=0.5)
    os.utime(source / "wham_noise" / "tr" / "tr_1.wav", (before / 1e9 + 5, before / 1e9 + 5))
    call("wham", source, "-o", out)
    assert soundfile.info(str(done)).duration == 0.5
    call("wham", source, "-o", out, "--sample-rate", "8000")
    assert soundfile.info(str(done)).samplerate == 8000


@pytest.mark.parametrize(
    ("spoil", "arguments", "said"),
    [
        (lambda root: None, ("vbdmd", "--x"), "No such option"),
        (lambda root: None, ("vbdmd",), "has 2 train pairs of VoiceBank-DEMAND, 28 speakers, not 10802"),
        (
            lambda root: (root / "clean_testset_wav" / "p232_000.wav").unlink(),
            ("vbdmd", "--allow-incomplete"),
            "has no clean file",
        ),
        (
            lambda root: sound(root / "clean_testset_wav" / "p232_000.wav", seconds=0.3),
            ("vbdmd", "--allow-incomplete"),
            "not equally long",
        ),
        (
            lambda root: (root / "noisy_testset_wav" / "p232_000.wav").write_bytes(b"RIFF"),
            ("vbdmd", "--allow-incomplete"),
            "p232_000.wav",
        ),
        (
            lambda root: soundfile.write(
                root / "noisy_testset_wav" / "p232_000.wav", np.full(99, np.nan), 48000, "FLOAT"
            ),
            ("vbdmd", "--allow-incomplete"),
            "NaN",
        ),
        (
            lambda root: sound(root / "noisy_testset_wav" / "p232_000.wav", rate=8000),
            ("vbdmd", "--allow-incomplete"),
            "less than the 16000 Hz",
        ),
        (lambda root: None, ("ears",), "p001 to p107"),
        (lambda root: None, ("folder",), "--kind"),
        (lambda root: None, ("ears", "--kind", "speech"), "--kind"),
    ],
)
def test_mistake_is_one_line_and_leaves_no_manifest(spoil, arguments, said, tmp_path, capsys):
    source = voicebank(tmp_path / "source")
    spoil(source)
    name, *options = arguments
    code, captured = call(name, source, "-o", tmp_path / "out", *options, capsys=capsys)
    assert code == 2
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_broken_files_can_be_skipped(tmp_path, capsys):
    source, out = voicebank(tmp_path / "source"), tmp_path / "out"
    (source / "noisy_trainset_28spk_wav" / "p228_002.wav").write_bytes(b"RIFF")
    code, captured = call("vbdmd", source, "-o", out, "--allow-incomplete", "--skip-broken", capsys=capsys)
    assert code == 0
    assert "p228_002.wav" in captured.err
    assert counts(out)["pair", "train"] == 1


def zipped(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as content:
        for path in sorted(folder.rglob("*.wav")):
            content.write(path, path.relative_to(folder.parent))


def test_archives_are_unpacked_once(tmp_path, monkeypatch):
    plain, source, out = voicebank(tmp_path / "plain"), tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for folder in plain.iterdir():
        zipped(folder, source / f"{folder.name}.zip")
    assert call("vbdmd", source, "-o", out, "--allow-incomplete")[0] == 0
    assert counts(out)["pair", "train"] == 2
    monkeypatch.setattr(zipfile.ZipFile, "extractall", lambda *_: pytest.fail("unpacked again"))
    assert call("vbdmd", source, "-o", out, "--allow-incomplete")[0] == 0


def test_archive_with_a_published_sum_must_be_that_one(tmp_path):
    archive = tmp_path / "dev-clean.tar.gz"
    with tarfile.open(archive, "w:gz") as content:
        data = b"x" * 100
        member = tarfile.TarInfo("LibriTTS/dev-clean/1/2/a.wav")
        member.size = len(data)
        content.addfile(member, io.BytesIO(data))
    true = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert unpack_archives(tmp_path, {archive.name: true}, tmp_path / "out")
    published = corpora.CORPORA["libritts"].archives
    with pytest.raises(UserError, match="SHA-256"):
        unpack_archives(tmp_path, published, tmp_path / "other")


def test_damaged_archive_is_said_and_leaves_nothing(tmp_path):
    zipped(wham(tmp_path / "plain"), tmp_path / "wham_noise.zip")
    content = bytearray((tmp_path / "wham_noise.zip").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "wham_noise.zip").write_bytes(content)
    with pytest.raises(UserError, match="fetch it again"):
        unpack_archives(tmp_path, {"wham_noise.zip": None}, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_interrupted_run_stops_leaves_no_debris_and_goes_on(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    for i in range(300):
        sound(source / "wham_noise" / "tr" / f"{i:03}.wav", rate=48000, seconds=2.0)
    command = [SCRIPT, "data", "prepare", "wham", source, "-o", out, "--jobs", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as child:
        while not list(out.rglob("*.flac")):
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM
    assert err == b"stopped by SIGTERM\n"
    done = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert 0 < len(done) < 300
    assert all(path.suffix == ".flac" and not path.name.startswith(".") for path in done)
    assert call("wham", source, "-o", out)[0] == 0
    assert len(rows(out)) == 300
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())


def tone(path: Path, hertz: float, seconds: float = 0.5, when: float = 1e9, rate: int = 16000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate), rate)
    os.utime(path, (when, when))
    return path


def pitch(path: Path) -> float:
    audio, rate = soundfile.read(path)
    return float(np.argmax(np.abs(np.fft.rfft(audio))) * rate / len(audio))


def test_rows_tell_what_the_audio_is(tmp_path, capsys):
    """Another source under the same name is refused, or converted: never the old audio under new rows."""
    out = tmp_path / "out"
    tone(tmp_path / "a" / "x" / "1.wav", 440, when=2e9)
    tone(tmp_path / "b" / "x" / "1.wav", 3000, when=1e9)
    speech = ("-o", out, "--kind", "speech")
    assert call("folder", tmp_path / "a", *speech)[0] == 0
    code, captured = call("folder", tmp_path / "b", *speech, capsys=capsys)
    assert code == 2
    assert "--name" in captured.err
    assert len(rows(out)) == 1
    assert pitch(out / rows(out)[0]["path"]) == 440
    # Replaced by an older file of the same size, as a copy of a backup is.
    tone(tmp_path / "a" / "x" / "1.wav", 3000, when=1e9)
    assert call("folder", tmp_path / "a", *speech)[0] == 0
    assert pitch(out / rows(out)[0]["path"]) == 3000
    assert call("folder", tmp_path / "b", *speech, "--name", "other")[0] == 0
    assert {row["source"] for row in rows(out)} == {"folder", "other"}


def test_kinds_under_one_name_stay(tmp_path):
    out = tmp_path / "out"
    for name in ("talk", "hiss", "pairs/noisy", "pairs/clean"):
        tone(tmp_path / name / "x" / "1.wav", 440)
    for name, kind in (("talk", "speech"), ("hiss", "noise"), ("pairs", "pairs"), ("talk", "speech")):
        assert call("folder", tmp_path / name, "-o", out, "--kind", kind)[0] == 0
    kinds = sorted((row["kind"], row["path"]) for row in rows(out))
    assert [kind for kind, _ in kinds] == ["noise", "pair", "speech", "speech"]
    assert all((out / path).exists() for _, path in kinds)


def test_manifest_of_an_earlier_version_is_gone_on_with(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.csv").write_text(
        "path,clean,kind,split,source,speaker,seconds\nold/a.flac,,speech,train,old,p1,1.000\n"
    )
    tone(tmp_path / "talk" / "x" / "1.wav", 440)
    assert call("folder", tmp_path / "talk", "-o", out, "--kind", "speech")[0] == 0
    assert [(row["source"], row["group"]) for row in rows(out)] == [("old", ""), ("folder", "x")]


def test_levels_and_channels_of_sources_are_kept(tmp_path, capsys):
    rng = np.random.default_rng(0)
    audio = rng.standard_normal(8000) / 8
    for side, gain in (("noisy", 4.0), ("clean", 2.0)):
        (tmp_path / "in" / side / "x").mkdir(parents=True)
        soundfile.write(tmp_path / "in" / side / "x" / "1.wav", gain * audio, 16000, "FLOAT")
    (tmp_path / "talk" / "x").mkdir(parents=True)
    soundfile.write(tmp_path / "talk" / "x" / "faint.wav", 1e-4 * audio, 16000, "FLOAT")
    soundfile.write(tmp_path / "talk" / "x" / "sides.wav", np.stack([audio, -audio], 1), 16000, "FLOAT")
    out = tmp_path / "out"
    assert call("folder", tmp_path / "in", "-o", out, "--kind", "pairs")[0] == 0
    code, captured = call("folder", tmp_path / "talk", "-o", out, "--kind", "speech", capsys=capsys)
    assert code == 0
    assert "cancel out" in captured.err
    assert "sides.wav" in captured.err
    read = {row["path"]: soundfile.read(out / row["path"])[0] for row in rows(out)}
    noisy, clean = (next(x for path, x in read.items() if f"/{side}/" in path) for side in ("noisy", "clean"))
    assert np.abs(noisy).max() == pytest.approx(0.999, abs=1e-4)
    np.testing.assert_allclose(
        noisy, 2 * clean, atol=1e-4
    )  # nothing is clipped, and the two keep their relation
    faint = next(x for path, x in read.items() if "faint" in path)
    assert np.sum((faint - 1e-4 * audio) ** 2) < 1e-4 * np.sum((1e-4 * audio) ** 2)
    sides = next(x for path, x in read.items() if "sides" in path)
    np.testing.assert_allclose(sides, audio, atol=1e-4)


def test_rooms_keep_their_channels_and_noise_is_no_room(tmp_path, capsys):
    response = np.zeros((1600, 2))
    response[[100, 150], [0, 1]] = 0.9
    (tmp_path / "rooms" / "hall").mkdir(parents=True)
    soundfile.write(tmp_path / "rooms" / "hall" / "a.wav", response, 16000)
    sound(tmp_path / "rooms" / "hall" / "isotropic.wav", rate=16000, seconds=2)
    out = tmp_path / "out"
    code, captured = call("folder", tmp_path / "rooms", "-o", out, "--kind", "rir", capsys=capsys)
    assert code == 2
    assert "isotropic.wav' is no room response" in captured.err
    assert call("folder", tmp_path / "rooms", "-o", out, "--kind", "rir", "--skip-broken")[0] == 0
    (row,) = rows(out)
    kept, _ = soundfile.read(out / row["path"])
    np.testing.assert_allclose(kept, response, atol=1e-5)
