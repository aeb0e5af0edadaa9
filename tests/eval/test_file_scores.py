"""Bad input, file by file: a reason in the row, and what can be measured is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from audio_enh.eval.file_scores import measure_file
from audio_enh.eval.metrics import si_sdr
from audio_enh.eval.rows import Row, Settings, Task
from tests.eval.synthesis import RATE, noisy, speech, write

CLEAN = speech(1.5, seed=4)
NOISY = noisy(CLEAN, 10)
FAST = ("stoi", "si_sdr", "snr")


@pytest.fixture
def run(tmp_path: Path):
    """Measure an estimate against a reference, both arrays or files already there."""

    def measure(
        estimate, reference=CLEAN, rates=(RATE, RATE), mixture=None, system="out", metrics=FAST, **settings
    ) -> Row:
        paths = {}
        given = {
            "estimate": (estimate, rates[0]),
            "reference": (reference, rates[1]),
            "noisy": (mixture, rates[1]),
        }
        for role, (audio, rate) in given.items():
            if audio is not None and not isinstance(audio, Path):
                write(tmp_path / f"{role}.wav", np.asarray(audio), rate)
                audio = tmp_path / f"{role}.wav"
            paths[role] = audio
        return measure_file(Task("x", system, None, **paths), Settings(metrics, **settings))

    return measure


def reasons(row: Row) -> dict[str, str]:
    return {name: failure.reason for name, failure in row.failures.items()}


def test_good_pair(run) -> None:
    row = run(NOISY)
    assert row.status == "ok"
    assert row.scores["si_sdr"] == pytest.approx(si_sdr(CLEAN, NOISY), abs=1e-4)  # float32 in the file
    assert (row.sample_rate, row.channels, row.seconds) == (RATE, 1, 1.5)
    assert (row.lag_samples, row.warnings) == (0, [])
    assert set(row.sha256) == {"estimate", "reference"}


@pytest.mark.parametrize(
    ("estimate", "reference", "reason"),
    [
        (NOISY, 0 * CLEAN, "silent_reference"),
        (0 * CLEAN, CLEAN, "silent_estimate"),
        (NOISY[:-500], CLEAN, "length_mismatch"),
        (np.where(np.arange(CLEAN.size) == 9, np.nan, NOISY), CLEAN, "not_finite"),
        (NOISY, np.where(np.arange(CLEAN.size) == 9, np.inf, CLEAN), "not_finite"),
        (np.stack([NOISY, NOISY]), CLEAN, "channel_mismatch"),
        (CLEAN, CLEAN, "infinite"),
    ],
    ids=["silent reference", "silent estimate", "length", "NaN", "inf reference", "stereo", "same"],
)
def test_bad_pairs_have_a_reason(run, estimate, reference, reason: str) -> None:
    row = run(estimate, reference, metrics=("snr",))
    assert row.status == "failed"
    assert row.scores == {}
    assert reasons(row) == {"snr": reason}
    assert row.reason == reason
    assert row.failures["snr"].detail
    assert Row.from_json(row.to_json()) == row


def test_too_short(run) -> None:
    part = slice(4000, 4000 + RATE // 5)
    row = run(NOISY[part], CLEAN[part], metrics=("pesq_wb", "stoi", "si_sdr", "dnsmos_ovrl"))
    assert row.status == "partial"
    assert reasons(row) == {"pesq_wb": "too_short", "stoi": "too_little_speech", "dnsmos_ovrl": "too_short"}


def test_different_rates(run) -> None:
    row = run(NOISY, CLEAN, rates=(RATE, 48000))
    assert reasons(row) == dict.fromkeys(FAST, "rate_mismatch")
    assert "48000 Hz" in row.failures["snr"].detail
    # What is wrong with the pair comes before what is wrong with the estimate's rate.
    low = run(NOISY[::2], CLEAN, rates=(RATE // 2, RATE), metrics=("pesq_wb", "snr"))
    assert set(reasons(low).values()) == {"rate_mismatch"}


def test_files_that_are_none(run, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    assert run(tmp_path / "text.wav").reason == "unreadable"
    assert run(NOISY, tmp_path / "text.wav").reason == "unreadable"
    assert run(tmp_path / "gone.wav").reason == "unreadable"
    assert run(tmp_path / "none.wav").reason == "empty"
    assert run(NOISY, tmp_path / "none.wav").reason == "empty"


def test_reference_free_metrics_outlive_a_bad_reference(run, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    voice = noisy(speech(4.6), 10)  # twice this is one window of DNSMOS
    row = run(voice, tmp_path / "text.wav", metrics=("si_sdr", "dnsmos_ovrl"))
    assert row.status == "partial"
    assert reasons(row) == {"si_sdr": "unreadable"}
    assert 1 < row.scores["dnsmos_ovrl"] < 5


def test_bad_mixture_takes_only_what_needs_it(run, tmp_path: Path) -> None:
    metrics = ("si_sdr", "si_sir", "si_sar")
    assert run(0.9 * NOISY + 0.1 * CLEAN, mixture=NOISY, metrics=metrics).failures.keys() <= {"si_sar"}
    (tmp_path / "text.wav").write_text("not audio")
    row = run(NOISY, mixture=tmp_path / "text.wav", metrics=metrics)
    assert set(row.scores) == {"si_sdr"}
    assert set(reasons(row).values()) == {"unreadable"}
    row = run(NOISY, mixture=NOISY[:-100], metrics=metrics)
    assert set(row.scores) == {"si_sdr"}
    assert set(reasons(row).values()) == {"length_mismatch"}
    assert "mixture" in row.failures["si_sir"].detail


def test_stereo_is_the_mean_over_channels(run) -> None:
    worse = noisy(CLEAN, 0)
    row = run(np.stack([NOISY, worse]), np.stack([CLEAN, CLEAN]), metrics=("si_sdr",))
    assert row.channels == 2
    assert row.scores["si_sdr"] == pytest.approx((si_sdr(CLEAN, NOISY) + si_sdr(CLEAN, worse)) / 2, abs=1e-4)
    silent = run(np.stack([NOISY, 0 * worse]), np.stack([CLEAN, CLEAN]), metrics=("si_sdr",))
    assert reasons(silent) == {"si_sdr": "silent_estimate"}


def test_lag_is_reported_and_taken_out_on_demand(run) -> None:
    late = np.concatenate([np.zeros(160), NOISY[:-160]])
    row = run(late)
    assert (row.lag_samples, row.lag_ms) == (160, 10)
    assert row.warnings == ["lag"]
    assert row.scores["si_sdr"] < 0
    aligned = run(late, align_ms=20)
    assert aligned.warnings == ["aligned"]
    assert aligned.scores["si_sdr"] == pytest.approx(si_sdr(CLEAN, NOISY), abs=0.2)
    beyond = run(late, align_ms=5)
    assert beyond.warnings == ["lag_beyond_limit"]
    assert beyond.scores["si_sdr"] < 0


def test_a_late_and_longer_estimate_is_aligned(run) -> None:
    longer = np.concatenate([np.zeros(160), NOISY])
    assert run(longer).reason == "length_mismatch"
    row = run(longer, align_ms=20)
    assert row.scores["si_sdr"] == pytest.approx(si_sdr(CLEAN, NOISY), abs=0.01)


def test_trim(run) -> None:
    row = run(NOISY[:-100], trim_ms=10)
    assert row.warnings == ["trimmed"]
    assert row.scores["si_sdr"] == pytest.approx(si_sdr(CLEAN, NOISY), abs=0.2)
    assert run(NOISY[:-200], trim_ms=10).reason == "length_mismatch"


def test_what_looks_like_a_mistake_is_said(run) -> None:
    assert "identical_to_reference" in run(CLEAN).warnings
    assert "identical_to_noisy" in run(NOISY, mixture=NOISY).warnings
    assert "inverted" in run(-NOISY).warnings
    loud = run(3 * NOISY, 3 * CLEAN)
    assert "above_full_scale" in loud.warnings
    assert loud.peak > 1


def test_common_rate(run) -> None:
    wide = {"rates": (48000, 48000)}
    row = run(NOISY, sample_rate=16000, metrics=("si_sdr", "pesq_wb"), **wide)
    assert row.status == "ok"
    assert row.sample_rate == 48000  # of the file
    low = run(NOISY, rates=(8000, 8000), sample_rate=16000)
    assert low.reason == "unsupported_rate"


def test_files_of_different_rates_meet_at_a_common_one(run) -> None:
    wide = soxr.resample(CLEAN, RATE, 48000)
    row = run(NOISY, wide[:-1], rates=(RATE, 48000), sample_rate=RATE)
    assert row.status == "ok"
    assert row.scores["si_sdr"] == pytest.approx(si_sdr(CLEAN, NOISY), abs=0.3)


def test_noisy_system_knows_its_snr(run) -> None:
    row = run(NOISY, mixture=NOISY, system="noisy", metrics=("si_sdr", "si_sir"))
    assert row.input_snr_db == pytest.approx(10, abs=0.01)
    assert row.status == "ok"  # of the mixture itself SI-SIR is not asked


def test_swapped_folders_are_noticed(tmp_path: Path) -> None:
    voice = speech(4.6, seed=2)  # twice this is one window of DNSMOS
    write(tmp_path / "a.wav", voice)
    write(tmp_path / "b.wav", noisy(voice, 5))
    right = Task("x", "noisy", None, tmp_path / "b.wav", tmp_path / "a.wav", check_swap=True)
    wrong = Task("x", "noisy", None, tmp_path / "a.wav", tmp_path / "b.wav", check_swap=True)
    settings = Settings(("si_sdr",))
    assert "maybe_swapped" not in measure_file(right, settings).warnings
    row = measure_file(wrong, settings)
    assert "maybe_swapped" in row.warnings
    assert row.reference_ovrl < row.estimate_ovrl
