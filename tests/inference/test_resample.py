"""Resampling against theory: band-limited signals have one right value at every instant."""

from __future__ import annotations

import numpy as np
import pytest

from audio_enh.dsp.resample import StreamResampler, output_length, resample

RATES = [8000, 11025, 12345, 16000, 22050, 44100, 48000, 96000, 192000]


def tones(rate: int, seconds: float) -> np.ndarray:
    """Tones below 3 kHz, whatever the rate."""
    time = np.arange(round(rate * seconds)) / rate
    return sum(0.2 * np.sin(2 * np.pi * f * time + f) for f in (110.0, 997.0, 2900.0)).astype(np.float32)


@pytest.mark.parametrize("source", RATES)
@pytest.mark.parametrize("target", [8000, 16000, 48000])
def test_every_sample_is_at_its_instant(source: int, target: int) -> None:
    out = resample(tones(source, 1.0), source, target)
    expected = tones(target, 1.0)
    assert len(out) == output_length(source, source, target)
    inner = slice(target // 20, -target // 20)  # the filter sees silence beyond the ends
    np.testing.assert_allclose(out[: len(expected)][inner], expected[inner], atol=5e-5)


@pytest.mark.parametrize("source", RATES)
def test_there_and_back_never_loses_a_sample(source: int) -> None:
    for samples in [0, 1, 2, 3, 7, 100, 4321]:
        there = resample(np.ones((2, samples), np.float32), source, 16000)
        assert there.shape == (2, output_length(samples, source, 16000))
        assert resample(there, 16000, source).shape[1] >= samples


def test_blocks_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((3, 20_000)).astype(np.float32)
    stream = StreamResampler(44100, 16000, 3)
    cuts = np.sort(rng.integers(0, audio.shape[1], 40))
    pieces = [stream.process(block) for block in np.split(audio, cuts, axis=1)]
    np.testing.assert_array_equal(
        np.concatenate([*pieces, stream.flush()], axis=1), resample(audio, 44100, 16000)
    )


def test_channels_do_not_mix() -> None:
    audio = np.stack([tones(48000, 0.2), np.zeros(9600, np.float32)])
    out = resample(audio, 48000, 16000)
    np.testing.assert_array_equal(out[1], 0)
    np.testing.assert_array_equal(out[0], resample(audio[0], 48000, 16000))


def test_equal_rates_change_nothing() -> None:
    audio = tones(16000, 0.1)
    np.testing.assert_array_equal(resample(audio, 16000, 16000), audio)
