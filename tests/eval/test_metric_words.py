"""What a recogniser hears: against PocketSphinx called directly, on real speech that the project ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import audio_enh
from audio_enh.eval.metrics import (
    MetricError,
    differential_word_error_rate,
    phoneme_similarity,
    recognise,
    word_error_rate,
)
from audio_enh.eval.metrics.words import edit_distance, words_of
from audio_enh.io import read_audio
from tests.eval.synthesis import RATE, noisy, speech

pocketsphinx = pytest.importorskip("pocketsphinx")


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    audio, rate = read_audio(Path(audio_enh.__file__).parent / "samples" / "clean" / "rain.flac")
    assert rate == RATE
    return audio[0, : 2 * RATE].astype(np.float64)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ("kitten", "sitting", 3),
        ("", "abc", 3),
        ("abc", "", 3),
        ("abc", "abc", 0),
        ("ab", "ba", 2),
        ("abc", "bc", 1),
    ],
)
def test_edit_distance(first: str, second: str, distance: int) -> None:
    assert edit_distance(first, second) == distance


def test_edit_distance_is_the_textbooks() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = ([str(n) for n in rng.integers(0, 4, rng.integers(0, 12))] for _ in range(2))
        table = [list(range(len(b) + 1))]
        for i, x in enumerate(a):
            row = [i + 1]
            for j, y in enumerate(b):
                row.append(min(table[i][j + 1] + 1, row[j] + 1, table[i][j] + (x != y)))
            table.append(row)
        assert edit_distance(a, b) == table[-1][-1]


def test_words_of_a_text() -> None:
    assert words_of("\u201cDon\u2019t,\u201d he SAID \u2013 it's 5 o'clock; well-kept_thing\u2026") == (
        *("don't", "he", "said", "it's", "5", "o'clock", "well", "kept", "thing"),
    )
    assert words_of(" \u2026 ' -") == ()


def test_as_the_package_whatever_came_before(clean: np.ndarray) -> None:
    scaled = clean * 10 ** (-26 / 20) / np.sqrt(np.mean(clean**2))
    decoder = pocketsphinx.Decoder(samprate=16000.0, maxhmmpf=3000, loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw((np.clip(scaled, -1, 1) * 32767).round().astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    expected = tuple(decoder.hyp().hypstr.split())
    recognise(noisy(clean, 0)[:RATE], RATE)
    assert recognise(clean, RATE) == expected
    assert recognise(0.1 * clean, RATE) == expected
    assert word_error_rate(clean, " ".join(expected), RATE) == 0
    assert word_error_rate(clean, "Xylophone! " + ", ".join(expected), RATE) == 1 / (len(expected) + 1)
    phonemes = recognise(clean, RATE, "phonemes")
    assert phonemes
    assert all(phoneme.isalpha() and phoneme != "SIL" for phoneme in phonemes)


def test_noise_makes_it_worse(clean: np.ndarray) -> None:
    mixture = noisy(clean, 5)
    assert differential_word_error_rate(clean, clean, RATE) == 0
    assert differential_word_error_rate(clean, mixture, RATE) > 0
    assert phoneme_similarity(clean, clean, RATE) == 1
    assert 0 <= phoneme_similarity(clean, mixture, RATE) < 1


def test_heard_once(clean: np.ndarray, monkeypatch) -> None:
    recognise(clean, RATE)
    monkeypatch.setattr("audio_enh.eval.metrics.words._decoder", lambda unit: pytest.fail("heard again"))
    assert differential_word_error_rate(clean, clean, RATE) == 0


@pytest.mark.parametrize("metric", [differential_word_error_rate, phoneme_similarity])
@pytest.mark.parametrize(
    "reason", ["silent_reference", "silent_estimate", "too_short", "unsupported_rate", "length_mismatch"]
)
def test_no_value_has_a_reason(metric, reason: str) -> None:
    clean = speech(1)
    arguments = {
        "silent_reference": (0 * clean, clean, RATE),
        "silent_estimate": (clean, 0 * clean, RATE),
        "too_short": (clean[:3999], clean[:3999], RATE),
        "unsupported_rate": (clean, clean, 8000),
        "length_mismatch": (clean, clean[1:], RATE),
    }[reason]
    with pytest.raises(MetricError) as caught:
        metric(*arguments)
    assert caught.value.reason == reason


def test_speech_without_words_has_no_rate() -> None:
    click = np.zeros(RATE)
    click[8000] = 0.5
    with pytest.raises(MetricError) as caught:
        differential_word_error_rate(click, click, RATE)
    assert caught.value.reason == "too_little_speech"
    with pytest.raises(MetricError) as caught:
        word_error_rate(click, " ?! ", RATE)
    assert caught.value.reason == "missing_input"
