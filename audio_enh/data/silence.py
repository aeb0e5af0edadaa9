"""Items that begin or end in digital silence, and speech that begins at once."""

from __future__ import annotations

import numpy as np

#: Speech begins where a frame of 10 ms comes within so many dB of the loudest one.
ONSET_DB = 35.0


def silence_ends(
    noisy: np.ndarray, clean: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A muted microphone: zeros in both signals before a drawn sample, after another one, or both.

    At most two thirds are silenced. What sets in after the zeros does so at full strength, noise and speech alike.
    """
    length = len(noisy)
    before, after = (int(length * rng.uniform(0.03, 1 / 3)) for _ in range(2))
    which = rng.integers(3)
    noisy, clean = noisy.copy(), clean.copy()
    for signal in (noisy, clean):
        if which != 1:
            signal[:before] = 0
        if which != 0:
            signal[length - after :] = 0
    return noisy, clean


def begin_at_speech(speech: np.ndarray, sample_rate: int) -> np.ndarray:
    """Moved forward so that speech begins within the first 10 ms; zeros follow. Silence stays as it is."""
    frame = sample_rate // 100
    count = len(speech) // frame
    if count == 0:
        return speech
    power = np.square(speech[: count * frame], dtype=np.float64).reshape(count, frame).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-ONSET_DB / 10))
    if not loud.size:
        return speech
    start = int(loud[0]) * frame
    return np.concatenate([speech[start:], np.zeros(start, speech.dtype)])
