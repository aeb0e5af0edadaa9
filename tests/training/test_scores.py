"""Means of validation scores: over items, groups and processes, with items that lack some."""

import math

import numpy as np
import pytest

from audio_enh.eval.arrays import VALIDATION_METRICS, evaluate_arrays, select_metrics
from audio_enh.training.scores import ValidationScores
from tests.distortions.sounds import speech

RATE = 16000
GROUPS = ("codecs", "rooms", "chain", "chain")


def an_item(number):
    """Noisy, enhanced and clean; the higher the number, the noisier."""
    clean = speech(seconds=2.0)[0]
    noise = np.random.default_rng(number).standard_normal(clean.size).astype(np.float32)
    return clean + 0.02 * noise, clean + 0.002 * (number + 1) * noise, clean


def one_process(values):
    return values


def scored(items, groups=GROUPS, metrics=VALIDATION_METRICS):
    scores = ValidationScores(select_metrics(metrics), groups)
    for number in items:
        scores.add(number, RATE, *an_item(number))
        scores.add_loss(float(number), 1)
    return scores


def test_means_are_those_of_the_evaluator():
    of_all, of_groups = scored(range(5)).means(one_process)
    single = [evaluate_arrays(clean, estimate, RATE) for _, estimate, clean in map(an_item, range(5))]
    for name, key in (("pesq", "pesq_wb"), ("stoi", "stoi"), ("si_sdr", "si_sdr")):
        values = np.array([each[key] for each in single])
        assert of_all[name] == pytest.approx(values.mean())
        assert of_groups[f"{name}/codecs"] == pytest.approx(values[[0, 4]].mean())
        assert of_groups[f"{name}/rooms"] == pytest.approx(values[1])
        assert of_groups[f"{name}/chain"] == pytest.approx(values[[2, 3]].mean())
    assert of_all["quality"] == pytest.approx(of_all["pesq"] + 5 * of_all["stoi"] + of_all["si_sdr"] / 10)
    assert of_all["unscored"] == 0
    assert of_all["loss"] == pytest.approx(2)


def test_processes_together_have_the_means_of_one():
    """Shares of unequal size, one without an item of some groups; every process comes to the same."""
    whole = scored(range(5))
    shares = [scored((0, 3, 4)), scored((1, 2))]
    vectors = []
    for share in shares:
        share.means(lambda values: vectors.append(values) or values)
    assert len({vector.shape for vector in vectors}) == 1
    for share in shares:
        together = share.means(lambda values: np.sum(vectors, axis=0))
        for mine, theirs in zip(together, whole.means(one_process), strict=True):
            assert mine == pytest.approx(theirs)


def test_an_item_counts_where_a_metric_has_a_value():
    scores = scored((0,), metrics=("pesq_wb", "si_sdr", "dnsmos_ovrl"))
    noisy, estimate, clean = an_item(1)
    scores.add(1, RATE, noisy, estimate, np.zeros_like(clean))  # silent reference: DNSMOS alone
    scores.add(2, RATE, noisy, clean, clean)  # no finite SI-SDR
    scores.add(3, RATE, noisy, np.full_like(clean, np.nan), clean)  # nothing
    of_all, of_groups = scores.means(one_process)
    assert of_all["unscored"] == 3
    assert {name for name in of_groups if name.endswith("/rooms")} == {"dnsmos_ovrl/rooms"}
    assert {name for name in of_groups if name.endswith("/chain")} == {"pesq/chain", "dnsmos_ovrl/chain"}
    assert of_all["si_sdr"] == pytest.approx(of_groups["si_sdr/codecs"])
    assert "quality" not in of_all
    assert set(of_all) | set(of_groups) <= set(scores.logged)


def test_no_items_and_no_groups():
    of_all, of_groups = scored((), groups=()).means(one_process)
    assert of_groups == {}
    assert math.isnan(of_all["quality"])
    assert math.isnan(of_all["loss"])
    assert of_all["unscored"] == 0
