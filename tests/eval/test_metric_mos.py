"""DNSMOS and PLCMOS against speechmos called directly, and its pitfalls."""

from __future__ import annotations

import numpy as np
import pytest
from speechmos import dnsmos as package_dnsmos
from speechmos import plcmos as package_plcmos

from audio_enh.eval.metrics import MetricError, dnsmos, plcmos
from tests.eval.synthesis import RATE, noisy, speech


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return speech(4.6, seed=8)  # twice this is one window of DNSMOS: quick


def test_dnsmos_as_the_package(clean: np.ndarray) -> None:
    audio = noisy(clean, 15)
    theirs = package_dnsmos.run(audio, RATE)
    expected = [theirs[name] for name in ("ovrl_mos", "sig_mos", "bak_mos", "p808_mos")]
    assert dnsmos(audio, RATE) == pytest.approx(expected, abs=1e-4)


def test_plcmos_as_the_package_with_the_same_raters(clean: np.ndarray, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr("numpy.random.normal", lambda size: rng.standard_normal(size))
    theirs = package_plcmos.run(clean, RATE)["plcmos"]
    assert plcmos(clean, RATE, seed=0) == pytest.approx(theirs, abs=1e-4)


def test_plcmos_repeats_and_leaves_the_global_generator(clean: np.ndarray) -> None:
    np.random.seed(3)  # noqa: NPY002 - the legacy state is what must stay untouched
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert plcmos(clean, RATE) == plcmos(clean, RATE)
    assert plcmos(clean, RATE, seed=1) != plcmos(clean, RATE, seed=2)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_noise_lowers_the_score_and_the_level_moves_it(clean: np.ndarray) -> None:
    score = dnsmos(clean, RATE)
    assert score.bak > dnsmos(noisy(clean, 5), RATE).bak
    assert score.ovrl != pytest.approx(dnsmos(0.05 * clean, RATE).ovrl, abs=1e-3)


def test_beyond_full_scale_is_clipped_where_the_package_refuses(clean: np.ndarray) -> None:
    with pytest.raises(ValueError, match="between -1 and 1"):
        package_dnsmos.run(4 * clean, RATE)
    assert dnsmos(4 * clean, RATE) == dnsmos(np.clip(4 * clean, -1, 1), RATE)


@pytest.mark.parametrize("metric", [dnsmos, plcmos])
def test_no_value_has_a_reason(clean: np.ndarray, metric) -> None:
    bad = clean.copy()
    bad[0] = np.nan
    for wanted, arguments in {
        "empty": (clean[:0], RATE),  # the package never returns from this
        "too_short": (clean[:3999], RATE),
        "silent_estimate": (0 * clean, RATE),
        "not_finite": (bad, RATE),
        "unsupported_rate": (clean, 48000),
    }.items():
        with pytest.raises(MetricError) as caught:
            metric(*arguments)
        assert caught.value.reason == wanted
