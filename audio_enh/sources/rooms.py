"""Room impulse responses: recorded ones, and a fast statistical model for the many that were not."""

from __future__ import annotations

import numpy as np

#: The direct sound ends at most so long after its peak, in seconds; it is never cut or faded before 1 ms.
DIRECT_SECONDS = 0.003


def direct_path(response: np.ndarray) -> int:
    """Sample at which the direct sound arrives: the strongest one."""
    return int(np.argmax(np.abs(response)))


def has_one_onset(response: np.ndarray, sample_rate: int) -> bool:
    """Whether this can be a room's response: one onset, silence before it, and what follows dies away.

    The onset is the first sample of half the peak's height. Less than a tenth of the energy may come more than
    50 ms before it, and 0.3 s after it nothing may be as high again. Of 148 measured responses all are so, of
    580 recordings of noise 4 in 100: bangs, barks and sneezes.

    Args:
        response: ``(samples,)``.
        sample_rate: in Hz.
    """
    height = np.abs(response)
    peak = float(height.max(initial=0.0))
    if peak == 0:
        return False
    onset = int(np.argmax(height >= peak / 2))
    energy = np.square(response, dtype=np.float64)
    before = energy[: max(0, onset - int(0.05 * sample_rate))].sum()
    after = height[onset + int(0.3 * sample_rate) :].max(initial=0.0)
    return bool(before < 0.1 * energy.sum() and after < peak / 2)


def statistical_room(rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """A random response after Polack's model: direct sound, sparse early reflections, decaying noise.

    RT60 0.1-1.0 s, direct-to-reverberant ratio -3 to 15 dB; high frequencies decay faster, as air and
    walls make them.

    Returns:
        ``(samples,)`` float32, the direct sound first, of height 1.
    """
    rt60 = rng.uniform(0.1, 1.0)
    n = int(sample_rate * rt60)
    time = np.arange(n) / sample_rate
    decay = np.exp(-6.908 * time / rt60)
    tail = rng.standard_normal(n) * decay
    # One pole smooths more where the tail is older: mix of the raw and the smoothed tail by age.
    smooth = np.convolve(tail, np.array([0.25, 0.5, 0.25]), mode="same") * 1.6
    age = np.clip(time / (0.5 * rt60), 0, 1)
    tail = tail * (1 - age) + smooth * age
    gap = int(sample_rate * rng.uniform(0.001, 0.01))
    tail[:gap] = 0
    for _ in range(int(rng.integers(4, 12))):
        at = int(rng.integers(gap, max(gap + 1, int(0.05 * sample_rate))))
        if at < n:
            tail[at] += rng.choice([-1.0, 1.0]) * rng.uniform(1, 4) * decay[at]
    energy = np.sum(tail**2)
    ratio = 10 ** (-rng.uniform(-3, 15) / 10)
    response = tail * np.sqrt(ratio / (energy + 1e-12))
    response[0] = 1.0
    return response.astype(np.float32)


def reverberate(
    audio: np.ndarray, response: np.ndarray, sample_rate: int, early_seconds: float
) -> tuple[np.ndarray, np.ndarray]:
    """Speech in a room, and the part of it that a listener wants to keep.

    Args:
        audio: ``(samples,)``.
        response: ``(taps,)``.
        sample_rate: in Hz.
        early_seconds: reflections up to this long after the direct sound belong to the target. With less than
            :data:`DIRECT_SECONDS` the target is the direct sound alone, which is always whole.

    Returns:
        ``(wet, target)``, both as long as ``audio`` and aligned: the direct sound is not delayed.
    """
    from scipy.signal import fftconvolve  # whose import takes longer than a mistyped command should

    start = direct_path(response)
    cut = start + int(max(early_seconds, DIRECT_SECONDS) * sample_rate)
    early = response[:cut].copy()
    fade = min(len(early), int(0.002 * sample_rate))
    if len(response) > cut and fade:
        early[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    wet = fftconvolve(audio, response)[start : start + len(audio)]
    target = fftconvolve(audio, early)[start : start + len(audio)]
    # Same loudness as before for the target; the wet signal keeps its relation to it.
    before, after = np.sqrt(np.mean(audio**2)), np.sqrt(np.mean(target**2))
    gain = before / after if after > 1e-9 else 1.0
    return (wet * gain).astype(np.float32), (target * gain).astype(np.float32)
