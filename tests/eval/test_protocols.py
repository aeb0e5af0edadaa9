"""Standard sets: layout, integrity and the noisy baseline, on a small set made like them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from audio_enh.errors import UserError
from audio_enh.eval import protocols
from audio_enh.eval.evaluation import Request, evaluate
from audio_enh.eval.protocols import PROTOCOLS, check_baseline, check_set, load_protocol, pair_set
from audio_enh.eval.rows import NOISY
from audio_enh.eval.statistics import Summary, summarise
from tests.eval.synthesis import noisy, speech, write

NAMES = [f"p{speaker}_{number:03d}" for speaker in (232, 257) for number in (1, 2, 5)]


@pytest.fixture
def vbdmd(tmp_path: Path) -> Path:
    """Six pairs laid out like VoiceBank-DEMAND."""
    for index, name in enumerate(NAMES):
        clean = speech(0.8, seed=index)
        write(tmp_path / "clean_testset_wav" / f"{name}.wav", clean)
        write(tmp_path / "noisy_testset_wav" / f"{name}.wav", noisy(clean, 8))
    lines = [f"{name} {'bus' if i % 2 else 'cafe'} {2.5 + 5 * (i % 3)}" for i, name in enumerate(NAMES)]
    (tmp_path / "log_testset.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def small(monkeypatch) -> protocols.Protocol:
    """VoiceBank-DEMAND with six files, which score what these six score."""
    protocol = dataclasses.replace(load_protocol("vbdmd"), files=6, baseline={"si_sdr": (8.0, 0.1)})
    monkeypatch.setattr(protocols, "PROTOCOLS", (protocol,))
    return protocol


def request(root: Path, tmp_path: Path, **more) -> Request:
    return Request(
        output=tmp_path / "out", protocol="vbdmd", root=root, metrics=("stoi",), workers=0, clips=0, **more
    )


def test_what_is_known_of_the_sets() -> None:
    vbdmd, dns = (load_protocol(name) for name in ("vbdmd", "dns2020"))
    assert (vbdmd.files, vbdmd.sample_rate) == (824, 16000)
    assert {name: mean for name, (mean, _) in vbdmd.baseline.items()} == {
        "pesq_wb": 1.97,
        "stoi": 0.921,
        "si_sdr": 8.45,
    }
    assert dns.files == 150
    for protocol in PROTOCOLS:
        assert "https://" in protocol.title
    with pytest.raises(UserError, match="known are vbdmd, dns2020"):
        load_protocol("timit")


def test_good_set_is_checked_and_scored(vbdmd: Path, tmp_path: Path, small) -> None:
    write_enhanced(vbdmd, tmp_path / "mine")
    evaluation = evaluate(request(vbdmd, tmp_path, enhanced=(tmp_path / "mine",)))
    assert evaluation.manifest.protocol["noisy_baseline"]["si_sdr"] == pytest.approx(8, abs=0.1)
    assert evaluation.manifest.settings["sample_rate"] == 16000
    assert set(evaluation.summary.metrics) == {"stoi", "si_sdr"}  # the baseline's are measured too
    assert list(evaluation.summary.groups) == ["speaker", "noise", "snr"]
    assert list(evaluation.summary.groups["snr"]) == ["2.5", "7.5", "12.5"]
    assert evaluation.summary.groups["speaker"]["p257"]["mine"]["si_sdr"].count == 3


def write_enhanced(root: Path, folder: Path) -> None:
    for index, name in enumerate(NAMES):
        write(folder / f"{name}.wav", noisy(speech(0.8, seed=index), 15))


def test_noisy_input_alone_is_a_check_of_the_set(vbdmd: Path, tmp_path: Path, small) -> None:
    assert evaluate(request(vbdmd, tmp_path)).summary.systems == [NOISY]


def test_wrong_baseline_gives_no_scores(vbdmd: Path, tmp_path: Path, small) -> None:
    for index, name in enumerate(NAMES):  # as if mixed at another level
        write(vbdmd / "noisy_testset_wav" / f"{name}.wav", noisy(speech(0.8, seed=index), 9))
    with pytest.raises(UserError, match=r"SI-SDR [89]\.\d\d instead of 8\.00; no scores are given"):
        evaluate(request(vbdmd, tmp_path))
    assert not (tmp_path / "out" / "report.json").exists()


def test_incomplete_set(vbdmd: Path, tmp_path: Path, small) -> None:
    for folder in ("clean_testset_wav", "noisy_testset_wav"):
        (vbdmd / folder / "p232_001.wav").unlink()
    with pytest.raises(UserError, match="vbdmd has 6 pairs, here are 5"):
        evaluate(request(vbdmd, tmp_path))
    (vbdmd / "noisy_testset_wav" / "p232_002.wav").unlink()
    with pytest.raises(UserError, match="has none for p232_002"):
        evaluate(request(vbdmd, tmp_path))


def test_files_of_another_set(vbdmd: Path, small) -> None:
    for folder in ("clean_testset_wav", "noisy_testset_wav"):
        (vbdmd / folder / "p232_001.wav").rename(vbdmd / folder / "p226_001.wav")
    with pytest.raises(UserError, match="not files of vbdmd: p226_001"):
        pair_set(small, vbdmd, {})


def test_no_set_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folders clean_testset_wav_16k.*https://datashare"):
        pair_set(load_protocol("vbdmd"), tmp_path, {})
    with pytest.raises(UserError, match="is not a folder"):
        pair_set(load_protocol("vbdmd"), tmp_path / "nowhere", {})


def test_dns_names_are_paired_and_tell_the_snr(tmp_path: Path) -> None:
    protocol = dataclasses.replace(load_protocol("dns2020"), files=2)
    root = tmp_path / "test_set" / "synthetic" / "no_reverb"
    tone = speech(0.3)
    for number, snr_db in ((7, 15), (12, 0)):
        write(root / "clean" / f"clean_fileid_{number}.wav", tone)
        write(root / "noisy" / f"clnsp1_train_69005_1_snr{snr_db}_tl-21_fileid_{number}.wav", tone)
    _, groups = pair_set(protocol, tmp_path, {})
    assert [group.key for group in groups] == ["7", "12"]
    check_set(protocol, groups)
    assert protocol.describe(root, groups) == {"7": {"snr": "15"}, "12": {"snr": "0"}}


def test_a_baseline_with_failures_is_no_baseline() -> None:
    protocol = dataclasses.replace(load_protocol("vbdmd"), files=6, baseline={"si_sdr": (8.0, 0.1)})
    five = summarise([8.0] * 5)
    assert isinstance(five, Summary)
    with pytest.raises(UserError, match="SI-SDR on 5 of 6 files"):
        check_baseline(protocol, {"si_sdr": five})
    with pytest.raises(UserError, match="SI-SDR on 0 of 6 files"):
        check_baseline(protocol, {})
