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
