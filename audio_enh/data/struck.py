"""Struck, clicking and scraping sounds made on the fly: coins, chimes, dishes, keys, latches, counters.

Recorded noise is mostly ambience, weather and machines; what such training noise lacks is heard worst. The sounds are
modal: an excitation (single blows, trains of clicks, bouncing, scraping) rings through a body of decaying partials
that are not harmonic. Ratios of the partials: Fletcher and Rossing, "The Physics of Musical Instruments" (1998).
"""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from audio_enh.sources.rooms import reverberate, statistical_room

#: Partials of a free bar (bending), a bell or glass, relative to the lowest one.
BAR = (1.0, 2.756, 5.404, 8.933, 13.34, 18.64)
GLASS = (1.0, 2.32, 4.25, 6.63, 9.38, 12.22)


def struck(length: int, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """One or two bodies, each struck or scraped in a way of its own, half of them in a room.

    Returns:
        ``(length,)`` float32 of standard deviation 1.
    """
    out = np.zeros(length)
    for _ in range(int(rng.integers(1, 3))):
        sound = fftconvolve(excitation(length, rng, sample_rate), body(rng, sample_rate))[:length]
        level = float(np.std(sound))
        if level > 0:
            out += sound / level * 10 ** (rng.uniform(-10, 0) / 20)
    out = out.astype(np.float32)
    if rng.random() < 0.5:
        out, _ = reverberate(out, statistical_room(rng, sample_rate), sample_rate, early_seconds=0.05)
    return (out / (np.std(out) + 1e-12)).astype(np.float32)


def body(rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """Impulse response of something solid: ``(samples,)``, between a dull click and a chime of two seconds."""
    kind = rng.integers(4)
    lowest = float(np.exp(rng.uniform(np.log(250), np.log(5000))))
    # Long ringing is for bars and glasses; plates, boxes and small parts are damped.
    ringing = float(
        np.exp(
            rng.uniform(np.log(0.15), np.log(2.0)) if kind < 2 else rng.uniform(np.log(0.006), np.log(0.25))
        )
    )
    if kind == 0:
        ratios = np.array(BAR)
    elif kind == 1:
        ratios = np.array(GLASS)
    else:  # a plate has its partials at even distances on average
        ratios = 1 + np.cumsum(rng.exponential(rng.uniform(0.1, 0.8), int(rng.integers(5, 40))))
    frequency = lowest * ratios * rng.uniform(0.98, 1.02, len(ratios))
    frequency = frequency[frequency < 0.48 * sample_rate]
    if not frequency.size:
        frequency = np.array([0.3 * sample_rate])
    decay = ringing * (frequency / frequency[0]) ** -rng.uniform(0.2, 1.2)  # seconds to -60 dB
    strength = rng.exponential(1.0, len(frequency)) * (frequency / frequency[0]) ** -rng.uniform(-0.5, 1.0)
    time = np.arange(int(sample_rate * min(2.0, max(0.01, float(decay.max()))))) / sample_rate
    partials = np.sin(2 * np.pi * (frequency[:, None] * time + rng.random((len(frequency), 1))))
    response = (strength[:, None] * partials * np.exp(-6.9 * time / decay[:, None])).sum(axis=0)
    # The blow itself: broad-band, a few milliseconds.
    blow = rng.standard_normal(len(time)) * np.exp(-time / rng.uniform(0.0003, 0.004))
    share = float(rng.uniform(0.05, 1.0) * np.std(response) / (np.std(blow) + 1e-12))
    return response + share * blow


def excitation(length: int, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """When and how hard it is struck, ``(length,)``: blows at random, a train, bouncing, or scraping."""
    out = np.zeros(length)
    seconds = length / sample_rate
    kind = rng.integers(4)
    if kind == 0:
        times = rng.uniform(
            0, seconds, 1 + rng.poisson(seconds * np.exp(rng.uniform(np.log(0.3), np.log(8))))
        )
    elif kind == 1:  # a counter, a ratchet, a wheel, steady typing
        interval = np.exp(rng.uniform(np.log(1 / 40), np.log(0.7)))
        times = np.arange(rng.uniform(0, interval), seconds, interval)
        times = times + rng.normal(0, 0.15 * rng.random() * interval, len(times))
        if rng.random() < 0.5:
            begin, share = rng.uniform(0, seconds), rng.uniform(0.2, 1)
            times = times[(times >= begin - share * seconds) & (times < begin)]
    elif kind == 2:  # falls and bounces, each time less high
        times, strengths = np.zeros(0), np.zeros(0)
        for start in rng.uniform(-0.3, seconds, 1 + rng.poisson(0.5 * seconds)):
            gaps = rng.uniform(0.1, 0.5) * rng.uniform(0.6, 0.95) ** np.arange(30)
            times = np.append(times, start + np.concatenate([[0], np.cumsum(gaps)]))
            strengths = np.append(strengths, np.append(1.0, gaps / gaps[0]))
        return _place(out, times, strengths, sample_rate)
    else:
        for _ in range(1 + rng.poisson(0.7 * seconds)):
            n = int(sample_rate * rng.uniform(0.05, 0.8))
            start = int(rng.integers(-n // 2, length))
            # Many small contacts a second, each of its own strength.
            contacts = rng.standard_normal(n) * (rng.random(n) < 10 ** rng.uniform(-2.5, -0.5))
            contacts *= np.sin(np.pi * (np.arange(n) + 0.5) / n)
            begin, end = max(0, start), min(length, start + n)
            out[begin:end] += contacts[begin - start : end - start]
        return out
    strengths = rng.lognormal(0, rng.uniform(0, 0.8), len(times)) * rng.choice([-1.0, 1.0], len(times))
    return _place(out, times, strengths, sample_rate)


def _place(out: np.ndarray, times: np.ndarray, strengths: np.ndarray, sample_rate: int) -> np.ndarray:
    places = np.round(times * sample_rate).astype(int)
    inside = (places >= 0) & (places < len(out))
    np.add.at(out, places[inside], strengths[inside])
    return out
