"""From float samples to integers, and counting what is not a number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def count_nonfinite(audio: NDArray[np.floating]) -> int:
    """Number of samples that are NaN or infinite."""
    return int(audio.size - np.count_nonzero(np.isfinite(audio)))


def replace_nonfinite(audio: NDArray[np.floating]) -> NDArray[np.floating]:
    """NaN becomes 0, infinity full scale. Returns ``audio`` itself if all its samples are finite."""
    if np.isfinite(audio).all():
        return audio
    return np.nan_to_num(audio, nan=0.0, posinf=1.0, neginf=-1.0)


def quantize(audio: NDArray[np.float32], bits: int) -> tuple[NDArray[np.integer], int]:
    """Round to ``bits``-bit integers, left-justified as libsndfile takes them.

    Integers up to 24 bits that were read as float32 come back bit for bit: full scale is 2**(bits - 1) both
    ways (libsndfile's own float writer scales by 2**31 - 1 and truncates, which does not round trip). No
    dither is added: it would break that, and recordings carry more noise of their own than half a step.

    Args:
        audio: finite samples of any shape, full scale is 1.
        bits: 1 to 32.

    Returns:
        int16 (up to 16 bits) or int32 samples, and the number of samples beyond full scale, which are
        clipped. Exactly 1.0 is one step too many for an integer; it becomes the largest one, uncounted.
    """
    full_scale = float(2 ** (bits - 1))
    clipped = int(np.count_nonzero(np.abs(audio) > 1.0))
    # float32 cannot hold 2**31 - 1, nor audio * 2**31 exactly clipped to it: 25 bits and more need float64.
    exact: NDArray[np.floating] = audio.astype(np.float64) if bits > 24 else audio
    scaled = np.clip(np.rint(exact * full_scale), -full_scale, full_scale - 1)
    if bits <= 16:
        return scaled.astype(np.int16) << (16 - bits), clipped
    return scaled.astype(np.int32) << (32 - bits), clipped
