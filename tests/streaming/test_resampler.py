"""The live resampler against theory: tones, delay, cuts, trim."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_enh.streaming.resampler import Resampler

PAIRS = [
    (48000, 16000), (16000, 48000), (44100, 16000), (16000, 44100), (8000, 16000), (96000, 16000),
    (44100, 48000), (48000, 48000), (11025, 16000), (44100, 48001),
]  # fmt: skip


def tone(frequency: float, rate: int, seconds: float = 0.2) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate, dtype=np.float64)[None]


def decibels(ratio: float) -> float:
    return 20 * math.log10(max(ratio, 1e-12))


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("position", [0.01, 0.3, 0.7, 0.89])
def test_tones_of_the_pass_band_are_delayed_by_exactly_the_delay(source, target, position):
    frequency = position * min(source, target) / 2
    resampler = Resampler(source, target)
    out = resampler.process(tone(frequency, source).astype(np.float32))[0]
    instants = np.arange(len(out)) / target - float(resampler.delay) / source
    expected = np.sin(2 * np.pi * frequency * instants)
    settled = 2 * round(float(resampler.delay) / source * target)
    # 0.1 dB of ripple is 1.2 % of the amplitude; a delay off by a tenth of a sample would be 20 % at the top.
    assert np.abs(out - expected)[settled:].max() < (1e-3 if position < 0.8 else 0.012)


@pytest.mark.parametrize(
    ("source", "target"), [(48000, 16000), (44100, 16000), (96000, 16000), (48000, 32000)]
)
def test_what_the_target_cannot_hold_is_filtered_out(source, target):
    for frequency in np.linspace(1.11 * target / 2, source / 2 * 0.99, 7):
        out = Resampler(source, target).process(tone(frequency, source).astype(np.float32))[0]
        assert decibels(np.abs(out[len(out) // 4 :]).max()) < -75


@pytest.mark.parametrize(
    ("source", "target"), [(16000, 48000), (16000, 44100), (8000, 16000), (44100, 48001)]
)
def test_images_are_filtered_out(source, target):
    frequency = 0.89 * source / 2
    out = Resampler(source, target).process(tone(frequency, source, 0.5).astype(np.float32))[0]
    out = out[len(out) // 8 :]
    window = np.kaiser(len(out), 14)
    spectrum = np.abs(np.fft.rfft(out * window))
    frequencies = np.fft.rfftfreq(len(out), 1 / target)
    far = np.abs(frequencies - frequency) > 100
    assert decibels(spectrum[far].max() / spectrum.max()) < -75


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_an_impulse_comes_after_the_delay(source, target):
    resampler = Resampler(source, target)
    audio = np.zeros((1, 2000), np.float32)
    audio[0, 700] = 1
    out = resampler.process(audio)[0].astype(np.float64)
    centre = np.sum(np.arange(len(out)) * out) / np.sum(out)
    assert centre * source / target == pytest.approx(700 + float(resampler.delay), abs=0.002)


def test_the_way_down_and_back_takes_three_milliseconds():
    down, up = Resampler(48000, 16000), Resampler(16000, 48000)
    assert down.delay + 3 * up.delay == 144


@pytest.mark.parametrize(("source", "target"), [(16000, 44100), (16000, 48000), (48000, 16000)])
def test_a_longer_delay_can_be_asked_for(source, target):
    delay = Resampler.min_delay(source, target) + Fraction(137, 441)
    rng = np.random.default_rng(0)
    audio = np.convolve(rng.standard_normal(3000), np.hanning(33) / 16, "same")[None].astype(np.float32)
    longer, shorter = Resampler(source, target, delay=delay), Resampler(source, target)
    late, early = longer.process(audio)[0], shorter.process(audio)[0]
    # Band-limited, so a Fourier shift by the difference tells.
    shift = float(delay - shorter.delay) * target / source
    n = len(early)
    phase = np.exp(-2j * np.pi * np.fft.rfftfreq(n) * shift)
    expected = np.fft.irfft(np.fft.rfft(early) * phase, n)
    inner = slice(n // 4, 3 * n // 4)
    assert np.abs(late - expected)[inner].max() < 1e-3 * np.abs(early).max()
    with pytest.raises(ValueError, match="delay"):
        Resampler(source, target, delay=shorter.delay - 1)


@settings(max_examples=25, deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    sizes=st.lists(st.integers(0, 700), min_size=1, max_size=8),
    ppm=st.sampled_from([0.0, 0.0, -300.0, 41.5]),
    channels=st.integers(1, 3),
)
def test_neither_values_nor_counts_depend_on_the_cuts(pair, sizes, ppm, channels):
    source, target = pair
    audio = np.random.default_rng(1).standard_normal((channels, 5000)).astype(np.float32)
    whole = Resampler(source, target, channels)
    whole.ratio_ppm = ppm
    expected = whole.process(audio)

    resampler = Resampler(source, target, channels)
    resampler.ratio_ppm = ppm
    pieces, start, turn = [], 0, 0
    while start < 5000 and turn < 5000:
        stop = start + sizes[turn % len(sizes)] + (sum(sizes) == 0)
        pieces.append(resampler.process(audio[:, start:stop]))
        start, turn = min(stop, 5000), turn + 1
        if ppm == 0:
            assert sum(piece.shape[1] for piece in pieces) == math.ceil(start * target / source)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), expected, atol=2e-5)


def test_a_constant_stays_one():
    for source, target in PAIRS:
        resampler = Resampler(source, target)
        resampler.ratio_ppm = 77
        out = resampler.process(np.ones((1, 4000), np.float32))[0]
        np.testing.assert_allclose(out[len(out) // 4 :], 1, atol=1e-6)


@pytest.mark.parametrize("pair", [(48000, 48000), (48000, 44100), (16000, 48000)])
def test_the_trim_changes_speed_without_a_click(pair):
    source, target = pair
    frequency = 440.0
    resampler = Resampler(source, target)
    audio = tone(frequency, source, 4).astype(np.float32)
    pieces, counts = [], []
    trims = [0, 200, -200, 500, 0]
    for i, block in enumerate(np.array_split(audio, 400, axis=1)):
        resampler.ratio_ppm = trims[i // 80]
        pieces.append(resampler.process(block))
        counts.append(pieces[-1].shape[1])
    per_stage = np.add.reduceat(counts, np.arange(0, 400, 80))
    expected = target / source * audio.shape[1] / 5 * (1 + 1e-6 * np.array(trims))
    np.testing.assert_allclose(per_stage, expected, atol=1.01)

    # What is left of a sine after the recursion that continues it: a click would stand out of that.
    def roughness(out: np.ndarray) -> float:
        out = out[0].astype(np.float64)[200:]
        return np.abs(out[2:] - 2 * np.cos(2 * np.pi * frequency / target) * out[1:-1] + out[:-2]).max()

    steady = Resampler(source, target)
    steady.ratio_ppm = 500
    # The slope may change by what was asked for, 700 ppm at most; a sample too many or few is 1400 times that.
    change = 700e-6 * 2 * np.pi * frequency / target
    assert roughness(np.concatenate(pieces, axis=1)) < 1.3 * roughness(steady.process(audio)) + change


def test_reset_forgets_the_signal():
    resampler = Resampler(44100, 16000, 2)
    audio = np.random.default_rng(2).standard_normal((2, 1000)).astype(np.float32)
    first = resampler.process(audio)
    resampler.reset()
    np.testing.assert_array_equal(resampler.process(audio), first)


def test_memory_is_bounded_and_wrong_arguments_are_named():
    resampler = Resampler(16000, 48000)
    before = resampler._buffer.nbytes
    assert resampler.process(np.zeros((1, 100_000), np.float32)).shape == (1, 300_000)
    assert resampler._buffer.nbytes == before
    with pytest.raises(ValueError, match="shape"):
        resampler.process(np.zeros(10, np.float32))
    with pytest.raises(ValueError, match="ratio_ppm"):
        resampler.ratio_ppm = float("nan")
    with pytest.raises(ValueError, match="positive"):
        Resampler(0, 16000)
