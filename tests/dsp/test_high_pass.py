"""The zero-phase high-pass filter: what it removes, what it leaves, any cut of the input."""

import math
import random

import pytest
import torch

from audio_enh.dsp.high_pass import ZeroPhaseHighPass, zero_phase_high_pass

RATE = 16000


@pytest.mark.parametrize(
    ("frequency", "low", "high"), [(0, 0, 3e-3), (40, 0, 6e-3), (70, 0.45, 0.55), (110, 0.99, 1.01)]
)
def test_takes_rumble_away_and_leaves_speech_in_phase(frequency, low, high):
    tone = torch.cos(2 * math.pi * frequency * torch.arange(2 * RATE) / RATE)[None]
    middle = slice(RATE // 2, -RATE // 2)
    out, tone = zero_phase_high_pass(tone, 70.0, RATE)[0, middle], tone[0, middle]
    gain = (out @ tone) / (tone @ tone)
    assert low <= gain.abs() <= high
    assert (out - gain * tone).abs().max() < 0.01


@pytest.mark.parametrize("samples", [0, 1, 500, 7999, 8000, 8001, 30000])
def test_output_is_as_long_and_the_same_for_every_cut(samples):
    audio = torch.randn(2, samples, generator=torch.Generator().manual_seed(0))
    whole = zero_phase_high_pass(audio, 70.0, RATE)
    assert whole.shape == audio.shape
    chance = random.Random(samples)
    high_pass, pieces, start = ZeroPhaseHighPass(70.0, RATE, 2), [], 0
    while start < samples:
        size = chance.randrange(1, 9000)
        pieces.append(high_pass.process(audio[:, start : start + size]))
        start += size
    assert torch.equal(torch.cat([*pieces, high_pass.flush()], dim=1), whole)


def test_cutoff_outside_of_the_band_is_refused():
    with pytest.raises(ValueError, match="cut-off"):
        ZeroPhaseHighPass(9000.0, RATE, 1)
