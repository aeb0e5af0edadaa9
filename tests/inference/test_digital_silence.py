"""The shipped real-time model after digital silence, such as a muted microphone's."""

import numpy as np
import pytest

import audio_enh
from audio_enh.eval.metrics import si_sdr
from audio_enh.streaming.export import bundled_recordings


@pytest.mark.parametrize("recording", range(2))
def test_noise_after_digital_silence_is_taken_away_as_without_it(recording):
    _, noisy, clean, rate = bundled_recordings()[recording]
    enhancer = audio_enh.load(device="cpu")
    muted = enhancer.enhance(np.concatenate([np.zeros(4 * rate, np.float32), noisy]), rate)
    assert not muted[: 4 * rate - rate // 10].any()
    without = si_sdr(enhancer.enhance(noisy, rate), clean)
    assert si_sdr(muted[4 * rate :], clean) > without - 1.0


@pytest.mark.parametrize("seconds", [3, 30])
def test_first_word_after_digital_silence_is_as_without_it(seconds):
    _, _, clean, rate = bundled_recordings()[0]
    clean = clean[: 3 * rate]
    enhancer = audio_enh.load(device="cpu")
    silence = np.zeros(seconds * rate, np.float32)
    after = enhancer.enhance(np.concatenate([silence, clean]), rate)[len(silence) :]
    np.testing.assert_allclose(after, enhancer.enhance(clean, rate), atol=1e-5)


def test_a_word_after_a_pause_in_zeros_is_as_after_a_short_one():
    """As between the takes of an edited recording, or when a microphone is muted for a while."""
    _, _, clean, rate = bundled_recordings()[0]
    clean = clean[: 3 * rate]
    enhancer = audio_enh.load(device="cpu")
    short, long = (
        enhancer.enhance(np.concatenate([clean, np.zeros(length, np.float32), clean]), rate)[-len(clean) :]
        for length in (rate // 5, 20 * rate)
    )
    np.testing.assert_allclose(long, short, atol=1e-5)
