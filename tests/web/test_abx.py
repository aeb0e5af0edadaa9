"""Listening tests: what is drawn, counted and written."""

import csv
from pathlib import Path
from random import Random

import pytest
from scipy.stats import binom

from audio_enh.errors import UserError
from audio_enh.web.abx import ListeningTest, Pair, describe

PAIRS = [Pair(f"{name}.wav", (Path("a") / name, Path("b") / name)) for name in ("one", "=two")]


def draw(repeats=5, seed=0):
    return ListeningTest.draw(("first", "second"), PAIRS, repeats, "Ada", Random(seed))


def test_orders_and_x_are_drawn_evenly_and_independently():
    trials = [trial for seed in range(50) for trial in draw(20, seed).trials]
    cells = [sum(t.a == a and t.x == x for t in trials) for a in (0, 1) for x in "AB"]
    # A quarter of 2000 each, within four standard deviations.
    assert all(abs(cell - 500) < 4 * (2000 * 0.25 * 0.75) ** 0.5 for cell in cells)
    assert {trial.pair.name for trial in draw().trials} == {"one.wav", "=two.wav"}


def test_x_is_played_from_the_file_that_its_letter_stands_for():
    for trial in draw().trials:
        a, b, x = trial.order
        assert {a, b} == {0, 1}
        assert x == (a if trial.x == "A" else b)


def test_the_result_is_the_binomial_tests():
    test = draw()
    for number, trial in enumerate(list(test.trials)):
        wrong = "B" if trial.x == "A" else "A"
        test.answer(wrong if number == 0 else trial.x, 2.0)
    assert test.current is None
    with pytest.raises(UserError):
        test.answer("A", 1.0)
    result = test.result()
    assert (result.correct, result.total) == (9, 10)
    assert result.p_value == pytest.approx(binom.sf(8, 10, 0.5))
    assert (result.low, result.high) == pytest.approx((0.555, 0.9975), abs=1e-3)
    assert "a difference was heard" in describe(result)


@pytest.mark.parametrize(
    ("right", "words"), [([1] * 4, "so few trials"), ([1, 0] * 5, "no difference was shown")]
)
def test_what_is_no_evidence_is_called_so(right, words):
    test = draw()
    for trial, good in zip(list(test.trials), right, strict=False):
        test.answer(trial.x if good else ("B" if trial.x == "A" else "A"), 1.0)
    assert words in describe(test.result())


def test_the_table_has_a_line_per_answer_and_no_formulas(tmp_path):
    test = draw()
    for trial in list(test.trials)[:6]:
        test.answer(trial.x, 1.25)
    test.write_csv(tmp_path / "abx.csv")
    rows = list(csv.DictReader((tmp_path / "abx.csv").open()))
    assert len(rows) == 6
    assert {row["file"] for row in rows} <= {"one.wav", "'=two.wav"}
    for row, trial in zip(rows, test.trials, strict=False):
        assert (row["a"], row["b"]) == (test.systems[trial.a], test.systems[1 - trial.a])
        assert row["x"] == (row["a"] if trial.x == "A" else row["b"])
        assert (row["correct"], row["answer"], row["listener"]) == ("1", trial.x, "Ada")


def test_a_test_has_bounds():
    with pytest.raises(UserError, match="nothing to compare"):
        ListeningTest.draw(("a", "b"), [], 5)
    with pytest.raises(UserError, match="trials"):
        ListeningTest.draw(("a", "b"), PAIRS, 101)
