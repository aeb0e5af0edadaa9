"""Whether a recogniser still understands: words and phonemes that PocketSphinx hears, with the models in its package.

It is an old recogniser of read American English and makes many mistakes, on clean speech too: what its numbers say of
one file is little, what they say of two systems on the same files is much more.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import DependencyError

from .errors import MetricError, as_pair, as_signal, check_rate, check_seconds, is_silent

Unit = Literal["words", "phonemes"]

_RATE = 16000
_MIN_SECONDS = 0.25
_LEVEL_DB = -26.0
# As the package's documentation has them for phonemes.
_PHONEME_LOOP = {"lw": 2.0, "beam": 1e-20, "pbeam": 1e-20}
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
# States searched per frame, a tenth of the default: as good on clean speech, and much faster in noise.
_SEARCHED = 3000
# What it heard of each signal; a file's clean speech is compared with many systems.
_heard: dict[tuple[Unit, bytes], tuple[str, ...]] = {}


def word_error_rate(estimate: NDArray[np.floating], transcript: str, sample_rate: int) -> float:
    """Words wrong, missing and too many over the words that were spoken; 0 up, lower is better.

    Args:
        estimate: ``(samples,)``, full scale is 1.
        transcript: what is said, in English; case and punctuation are ignored, digits are not spelt out.
        sample_rate: 16000, in Hz.

    Raises:
        MetricError: ``missing_input`` (no word in the transcript), ``unsupported_rate``, ``too_short`` (under
            0.25 s), ``silent_estimate``, or the input's faults.
        DependencyError: ``pocketsphinx`` is not installed.
    """
    spoken = words_of(transcript)
    if not spoken:
        raise MetricError("missing_input", "the transcript has no words")
    check_rate(sample_rate, (_RATE,), "WER")
    audio = as_signal(estimate, "estimate")
    if is_silent(audio):
        raise MetricError("silent_estimate", "estimate is silent: there is nothing to recognise")
    return edit_distance(spoken, recognise(audio, sample_rate)) / len(spoken)


def differential_word_error_rate(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int
) -> float:
    """The same with the words that the recogniser hears in the clean speech as the truth (dWER; Wang et al., 2020):
    no transcript is needed, and the recogniser's own mistakes count less; 0 up, lower is better.

    Args:
        reference, estimate: ``(samples,)``, equally long, full scale is 1.
        sample_rate: 16000, in Hz.

    Raises:
        MetricError: ``too_little_speech`` (no word is heard in the reference), ``unsupported_rate``, ``too_short``
            (under 0.25 s), or the inputs' faults.
        DependencyError: ``pocketsphinx`` is not installed.
    """
    heard, other = _both(reference, estimate, sample_rate, "words", "dWER")
    return edit_distance(heard, other) / len(heard)


def phoneme_similarity(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int
) -> float:
    """1 minus the edit distance of the phonemes heard in the two, over the number of the longer (after Pirklbauer et
    al., 2023, who divide by the reference's and so go below 0); 0 to 1, higher is better.

    Args:
        reference, estimate: ``(samples,)``, equally long, full scale is 1.
        sample_rate: 16000, in Hz.

    Raises:
        MetricError: as :func:`differential_word_error_rate`.
        DependencyError: ``pocketsphinx`` is not installed.
    """
    heard, other = _both(reference, estimate, sample_rate, "phonemes", "phoneme similarity")
    return 1 - edit_distance(heard, other) / max(len(heard), len(other))


def recognise(audio: NDArray[np.floating], sample_rate: int, unit: Unit = "words") -> tuple[str, ...]:
    """What PocketSphinx hears, without silence and noises: words in small letters, or ARPAbet phonemes.

    The signal is brought to -26 dBFS first. What was recognised before changes nothing.

    Args:
        audio: ``(samples,)``, not silent.
        sample_rate: 16000, in Hz.
    """
    check_rate(sample_rate, (_RATE,), "PocketSphinx")
    check_seconds(audio.size, sample_rate, _MIN_SECONDS, "PocketSphinx")
    level = np.sqrt(np.mean(np.square(audio)))
    pcm = (np.clip(audio * (10 ** (_LEVEL_DB / 20) / level), -1, 1) * 32767).round().astype("<i2").tobytes()
    key = unit, hashlib.sha256(pcm).digest()
    if key not in _heard:
        decoder = _decoder(unit)
        decoder.reinit_feat()  # it would go on with the last file's means
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        tokens = () if hypothesis is None else hypothesis.hypstr.split()
        _heard[key] = tuple(token for token in tokens if token != "SIL" and not token.startswith("+"))
    return _heard[key]


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text as they are compared: small letters, no punctuation, apostrophes within words kept."""
    return tuple(_WORD.findall(text.replace("\u2019", "'").lower()))


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Levenshtein's: the fewest insertions, deletions and substitutions that make one of the other."""
    numbers = {token: index for index, token in enumerate(dict.fromkeys((*first, *second)))}
    row = np.array([numbers[token] for token in second], dtype=np.int64)
    steps = np.arange(row.size + 1)
    costs = steps.copy()
    for index, token in enumerate(first, 1):
        best = np.minimum(costs[1:] + 1, costs[:-1] + (row != numbers[token]))
        # An insertion costs one more than the entry to the left: a running minimum without the steps.
        costs = np.minimum.accumulate(np.concatenate(([index], best)) - steps) + steps
    return int(costs[-1])


def _both(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int, unit: Unit, metric: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    check_rate(sample_rate, (_RATE,), metric)
    clean, other = as_pair(reference, estimate)
    heard = recognise(clean, sample_rate, unit)
    if not heard:
        raise MetricError("too_little_speech", f"{metric}: no {unit} are recognised in the reference")
    return heard, recognise(other, sample_rate, unit)


@functools.cache
def _decoder(unit: Unit) -> Any:
    try:
        import pocketsphinx
    except ImportError as error:
        raise DependencyError.missing("word recognition", "pocketsphinx", "speech-metrics") from error
    settings: dict[str, Any] = {"samprate": float(_RATE), "maxhmmpf": _SEARCHED, "loglevel": "FATAL"}
    if unit == "phonemes":
        model = pocketsphinx.get_model_path("en-us/en-us-phone.lm.bin")
        settings |= {"allphone": model, "lm": None, "dict": None, **_PHONEME_LOOP}
    return pocketsphinx.Decoder(**settings)
