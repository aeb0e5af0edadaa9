"""Speaker similarity: our copy of the network against numbers of the package's own code."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from audio_enh.errors import DependencyError
from audio_enh.eval.metrics import MetricError, speaker_similarity
from audio_enh.eval.metrics.speaker import embed
from tests.eval.synthesis import RATE, noisy, speech

pytestmark = pytest.mark.skipif(find_spec("resemblyzer") is None, reason="resemblyzer is not installed")

# Of VoiceEncoder("cpu").embed_utterance, Resemblyzer 0.1.4, for speech(seconds, seed) at -30 dBFS: the first six
# values that are not 0.
REFERENCE = {
    (0.9, 0): ([2, 5, 8, 9, 10, 16], [0.02702, 0.06626, 0.04626, 0.07211, 0.06256, 0.04049]),
    (2.9, 2): ([1, 2, 5, 8, 10, 11], [0.00264, 0.01764, 0.03035, 0.11052, 0.05144, 0.01]),
    (3.05, 4): ([5, 6, 8, 10, 12, 14], [0.00055, 0.02301, 0.12287, 0.12797, 0.02282, 0.21018]),
    (7.3, 3): ([0, 2, 5, 8, 9, 10], [6e-05, 0.05401, 0.03145, 0.10864, 0.00926, 0.10248]),
}


@pytest.mark.parametrize("which", REFERENCE)
def test_as_the_package(which: tuple[float, int]) -> None:
    audio = speech(which[0], seed=which[1])
    found = embed(audio * 10 ** (-30 / 20) / np.sqrt(np.mean(audio**2)))
    places, values = REFERENCE[which]
    assert np.flatnonzero(found)[:6].tolist() == places
    assert found[places] == pytest.approx(values, abs=1e-5)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


def test_nothing_of_the_package_is_run() -> None:
    assert "resemblyzer" not in sys.modules


def test_equal_voices_are_1_and_a_gain_or_pauses_change_nothing() -> None:
    clean = speech(3, seed=1)
    assert speaker_similarity(clean, clean, RATE) == pytest.approx(1, abs=1e-6)
    assert speaker_similarity(clean, 0.01 * clean, RATE) == pytest.approx(1, abs=1e-6)
    mixture = noisy(clean, 10)
    plain = speaker_similarity(clean, mixture, RATE)
    pause = np.zeros(2 * RATE)
    assert 0 < plain < 0.99
    later = speaker_similarity(np.concatenate([pause, clean]), np.concatenate([pause + 0.3, mixture]), RATE)
    assert later == pytest.approx(plain, abs=0.05)  # what lies in long pauses is not compared
    assert speaker_similarity(clean, noisy(clean, 0), RATE) < plain


@pytest.mark.parametrize(
    "reason",
    ["too_little_speech", "silent_reference", "silent_estimate", "unsupported_rate", "length_mismatch"],
)
def test_no_value_has_a_reason(reason: str) -> None:
    clean = speech(3, seed=1)
    click = np.zeros(3 * RATE)
    click[100] = 0.5
    time = np.arange(clean.size) / RATE
    arguments = {
        "too_little_speech": (click, clean, RATE),
        "silent_reference": (0 * clean, clean, RATE),
        "silent_estimate": (np.where(time < 1, 0, clean), np.where(time < 0.5, clean, 0), RATE),
        "unsupported_rate": (clean, clean, 48000),
        "length_mismatch": (clean, clean[1:], RATE),
    }[reason]
    with pytest.raises(MetricError) as caught:
        speaker_similarity(*arguments)
    assert caught.value.reason == reason


def test_missing_package_is_told_with_the_command(monkeypatch) -> None:
    from audio_enh.eval import arrays, select_metrics

    find = arrays.importlib.util.find_spec
    gone = ("resemblyzer", "distillmos")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in gone else find(name))
    with pytest.raises(
        DependencyError, match=r"^speaker similarity needs .*: pip install --no-deps resemblyzer$"
    ):
        select_metrics(["speaker_similarity"])
    with pytest.raises(
        DependencyError, match=r"^DistillMOS needs .* distillmos: pip install .*speech-metrics"
    ):
        select_metrics(["distillmos"])
