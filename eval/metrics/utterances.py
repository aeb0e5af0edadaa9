"""How many utterances PESQ will find: its C code keeps them in arrays of 50 and never looks for their end.

More utterances overwrite memory: the score is wrong or the process dies (seen: 200 s of continuous speech).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# P.862 works on frames of 4 ms. A pause up to 200 ms does not end an utterance, and speech under 200 ms is
# none: 50 utterances need at least 20 s.
_FRAME_SECONDS = 0.004
_MAX_PAUSE = 50
_MIN_UTTERANCE = 50
_MIN_SPEECH = 4
SAFE_SECONDS = 20.0
MAX_UTTERANCES = 45  # 49 fit; the level filters before PESQ's own detector are not repeated here


def count_utterances(reference: NDArray[np.float64], sample_rate: int) -> int:
    """Utterances in a signal, found as by the voice activity detector of ITU-T P.862 (2001).

    Args:
        reference: ``(samples,)``, not silent.
        sample_rate: in Hz.
    """
    speech = _speech_frames(reference, round(_FRAME_SECONDS * sample_rate))
    starts, ends = _runs(speech)
    kept = ends - starts > _MIN_SPEECH
    starts, ends = starts[kept], ends[kept]
    if starts.size == 0:
        return 0
    split = starts[1:] - ends[:-1] > _MAX_PAUSE
    starts = np.concatenate((starts[:1], starts[1:][split]))
    ends = np.concatenate((ends[:-1][split], ends[-1:]))
    return int(np.count_nonzero(ends - starts >= _MIN_UTTERANCE))


def _speech_frames(audio: NDArray[np.float64], frame: int) -> NDArray[np.bool_]:
    """Frames above a threshold of twice the noise's standard deviation, itself found by iteration."""
    audio = audio - audio.mean()
    whole = audio.size // frame * frame
    energy = np.square(audio[:whole]).reshape(-1, frame).mean(1)
    energy = np.maximum(energy, 1e-4 * energy.max())
    threshold = energy.mean()
    for _ in range(12):
        noise = energy[energy <= threshold]
        if noise.size:
            threshold = 1.001 * (noise.mean() + 2 * noise.std())
    speech = energy > threshold
    if speech.any() and energy[speech].mean() < 1.001 * energy[~speech].mean():
        return np.ones_like(speech)
    speech[[0, -1]] = False
    return speech


def _runs(active: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and one past the last index of each run of True."""
    edges = np.diff(np.concatenate(([False], active, [False])).astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
