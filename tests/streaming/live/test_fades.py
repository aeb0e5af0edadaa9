"""No steps where the sound changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_enh.streaming.live.fades import Fader, cut

from .simulation import World


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 70)), min_size=1, max_size=10))
def test_gains_move_in_small_steps_and_arrive(moves):
    fader, path = Fader(100, 1.0), [1.0]
    for target, samples in moves:
        fader.target = target
        gains = fader.gains(samples)
        path += [gains] * samples if isinstance(gains, float) else gains.tolist()
    assert np.abs(np.diff(path)).max(initial=0) <= 0.01 + 1e-5
    fader.gains(101)
    assert fader.settled
    assert fader.value == fader.target == moves[-1][0]


def test_a_cut_takes_out_what_it_says_and_joins_softly():
    tone = np.sin(2 * np.pi * np.arange(4800) / 480, dtype=np.float64)[None].astype(np.float32)
    for frames in (1, 100, 333, 2400):
        shorter = cut(tone, frames, 240)
        assert shorter.shape == (1, 4800 - frames)
        np.testing.assert_array_equal(shorter[:, 240:], tone[:, frames + 240 :])
        assert np.abs(np.diff(shorter)).max() < 0.025  # the tone itself has steps of 0.013


def test_what_is_too_short_is_cut_less():
    assert cut(np.ones((2, 480), np.float32), 4800, 240).shape == (2, 240)
    assert cut(np.ones((2, 100), np.float32), 50, 240).shape == (2, 100)


def test_mute_and_back_have_no_clicks(monkeypatch):
    world = World(monkeypatch, sound=lambda t: np.sin(2 * np.pi * 100 * t))
    world.run(1)
    world.processor.muted = True
    world.run(1)
    assert np.abs(world.output[-24000:]).max() == 0
    world.processor.muted = False
    world.run(1)
    playing = world.output[24000:, 0]
    assert np.abs(np.diff(playing)).max() < 2 * 2 * np.pi * 100 / 48000
    assert np.abs(playing[-24000:]).max() == pytest.approx(1, abs=0.01)


def test_bypass_takes_the_strength_away_and_gives_it_back(monkeypatch):
    world = World(monkeypatch)
    world.processor.strength = 0.7
    world.run(0.1)
    assert world.engine.strength == 0.7
    world.processor.bypassed = True
    world.run(0.1)
    assert world.engine.strength == 0
    world.processor.bypassed = False
    world.run(0.1)
    assert world.engine.strength == 0.7
