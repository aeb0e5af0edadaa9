"""Perceptual quality and intelligibility against a reference: PESQ and STOI."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import DependencyError

from .errors import MetricError, as_pair, check_rate, check_seconds
from .utterances import MAX_UTTERANCES, SAFE_SECONDS, count_utterances

# Below a quarter of a second P.862 has no utterance to align.
PESQ_MIN_SECONDS = 0.25


def pesq_wb(reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int) -> float:
    """Wide-band PESQ, ITU-T P.862.2 (2007): predicted MOS-LQO, 1.02 to 4.644; higher is better.

    Computed by the ``pesq`` package (the ITU's C code). Aligns in time and level by itself: a lag or a gain
    hardly shows. Not symmetric: the reference comes first.

    Args:
        reference, estimate: ``(samples,)``, equally long.
        sample_rate: 16000, in Hz.

    Raises:
        MetricError: ``unsupported_rate``, ``too_short`` (under 0.25 s), ``too_long`` (more utterances than
            the ITU's code has room for, never under 20 s), ``too_little_speech`` (no utterance found in the
            reference), or the inputs' faults: silent, not finite, of different lengths.
        DependencyError: the package is not installed.
    """
    check_rate(sample_rate, (16000,), "PESQ-WB")
    return _pesq(reference, estimate, sample_rate, "wb")


def pesq_nb(reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int) -> float:
    """Narrow-band PESQ, ITU-T P.862 (2001) mapped by P.862.1: MOS-LQO, 1.02 to 4.549; higher is better.

    Args:
        reference, estimate: ``(samples,)``, equally long.
        sample_rate: 8000 or 16000, in Hz.

    Raises:
        MetricError: as ``pesq_wb``.
        DependencyError: the package is not installed.
    """
    check_rate(sample_rate, (8000, 16000), "PESQ-NB")
    return _pesq(reference, estimate, sample_rate, "nb")


def stoi(reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int) -> float:
    """Short-time objective intelligibility (Taal, Hendriks, Heusdens, Jensen, IEEE TASLP 2011): mean
    correlation of third-octave envelopes up to 4.3 kHz, about 0 to 1; higher is better.

    Computed by ``pystoi``, which resamples to 10 kHz and leaves out frames 40 dB below the loudest.

    Args:
        reference, estimate: ``(samples,)``, equally long.
        sample_rate: any, in Hz.

    Raises:
        MetricError: ``too_little_speech`` when fewer than 30 frames (0.4 s) are left, where the package would
            return 1e-5; or the inputs' faults: silent, not finite, of different lengths.
        DependencyError: the package is not installed.
    """
    return _stoi(reference, estimate, sample_rate, extended=False)


def estoi(reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int) -> float:
    """Extended STOI (Jensen, Taal, IEEE TASLP 2016), for modulated maskers: correlation of whole spectra
    across bands and time, about 0 to 1; higher is better.

    Args:
        reference, estimate: ``(samples,)``, equally long.
        sample_rate: any, in Hz.

    Raises:
        MetricError: as ``stoi``.
        DependencyError: the package is not installed.
    """
    return _stoi(reference, estimate, sample_rate, extended=True)


def _pesq(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int, mode: str
) -> float:
    try:
        import pesq
    except ImportError as error:
        raise DependencyError.missing("PESQ", "pesq", "eval") from error
    clean, other = as_pair(reference, estimate)  # the package would score different lengths without a word
    check_seconds(clean.size, sample_rate, PESQ_MIN_SECONDS, "PESQ")
    if clean.size > SAFE_SECONDS * sample_rate:
        utterances = count_utterances(clean, sample_rate)
        if utterances > MAX_UTTERANCES:
            raise MetricError(
                "too_long",
                f"the reference has about {utterances} utterances, PESQ's code room for {MAX_UTTERANCES}:"
                " cut the file into parts of about 10 s",
            )
    try:
        return float(pesq.pesq(sample_rate, clean, other, mode))
    except pesq.NoUtterancesError:
        raise MetricError("too_little_speech", "PESQ finds no utterance in the reference") from None
    except pesq.BufferTooShortError:
        raise MetricError("too_short", f"PESQ needs more than {PESQ_MIN_SECONDS:g} s") from None


def _stoi(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int, extended: bool
) -> float:
    try:
        import pystoi
    except ImportError as error:
        raise DependencyError.missing("STOI", "pystoi", "eval") from error
    clean, other = as_pair(reference, estimate)
    # One frame of 256 samples at 10 kHz; with less, the package fails on its own indices.
    check_seconds(clean.size, sample_rate, 2 * 256 / 10000, "STOI")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
        try:
            return float(pystoi.stoi(clean, other, sample_rate, extended=extended))
        except RuntimeWarning:
            raise MetricError(
                "too_little_speech", "STOI needs 0.4 s of speech, frames 40 dB below the loudest left out"
            ) from None
