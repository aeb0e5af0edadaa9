"""Which metrics are measured."""

from __future__ import annotations

import pytest

from audio_enh.errors import UserError
from audio_enh.eval import METRICS
from audio_enh.eval.choice import STANDARD_METRICS, Material, choose_metrics, default_metrics, metric_names

ALONE = Material(reference=False, noisy=False, transcript=False, sample_rate=16000)
EVERYTHING = Material(reference=True, noisy=True, transcript=True, sample_rate=16000)


def test_the_standard_ones_that_exist() -> None:
    assert set(default_metrics(EVERYTHING)) == set(STANDARD_METRICS)
    assert all(name.startswith("dnsmos") for name in default_metrics(ALONE))
    assert "pesq_nb" in default_metrics(Material(True, False, False, 8000))
    assert choose_metrics((), EVERYTHING, ("si_sdr",)) == (("si_sdr",), [])


def test_all_leaves_out_what_is_not_installed_and_says_so(monkeypatch) -> None:
    absent = {"wer": ["pocketsphinx"], "distillmos": ["distillmos"]}
    monkeypatch.setattr("audio_enh.eval.choice.missing_packages", lambda name: absent.get(name, []))
    monkeypatch.setattr("audio_enh.eval.arrays._not_installed", lambda packages: [])
    names, notes = choose_metrics(("all",), EVERYTHING)
    assert set(names) == {metric.name for metric in METRICS} - set(absent)
    assert notes == ["not measured, as their packages are not installed: distillmos, wer"]
    names, _ = choose_metrics(("all",), ALONE)
    assert {metric.needs for metric in METRICS if metric.name in names} == {"estimate"}


@pytest.mark.parametrize(
    ("name", "material", "told"),
    [
        ("si_sdr", ALONE, "--clean"),
        ("si_sir", Material(True, False, False, 16000), "--noisy"),
        ("wer", Material(True, True, False, 16000), "column text"),
        ("nonsense", EVERYTHING, "unknown metric"),
    ],
)
def test_what_cannot_be_measured_is_told(monkeypatch, name: str, material: Material, told: str) -> None:
    monkeypatch.setattr("audio_enh.eval.arrays._not_installed", lambda packages: [])
    with pytest.raises(UserError, match=told):
        choose_metrics((name,), material)


def test_names_as_typed() -> None:
    assert metric_names(" wer, ,dwer,") == ("wer", "dwer")
    assert metric_names(None) == ()
