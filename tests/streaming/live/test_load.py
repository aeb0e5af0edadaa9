"""Overload: the input instead of a crackle, and back."""

import math

import numpy as np
import pytest

from audio_enh.streaming.live.load import LoadGovernor

from .simulation import World


def busy(world: World, seconds: float):
    """The model takes so long for every block from here on."""

    def work():
        world.now += seconds

    world.engine.on_run = work


def test_a_model_that_is_too_slow_is_left_out_without_a_gap(monkeypatch):
    world = World(monkeypatch)
    busy(world, 0.001)
    world.run(5)
    assert all(world.engine.runs)
    busy(world, 0.013)
    world.run(10)
    busy(world, 0.001)
    before = len(world.engine.runs)
    world.run(40)
    # Most blocks of the busy time went without it, and no more gaps than it took to notice.
    assert np.mean(world.engine.runs[500:before]) < 0.2
    assert world.playback.underruns <= 2
    # It came back, for good.
    assert all(world.engine.runs[-1500:])
    assert not world.processor.governor.overloaded


def test_a_single_hiccup_is_no_overload(monkeypatch):
    world = World(monkeypatch)
    busy(world, 0.001)
    world.run(5)
    busy(world, 0.008)
    world.run(0.015)
    busy(world, 0.001)
    world.run(5)
    assert world.processor.governor.times == 0
    assert world.playback.underruns == 0


def test_it_stays_away_longer_each_time_and_forgets_that_when_all_is_well():
    governor, now, holds = LoadGovernor(hold=0.5, longest_hold=4), 0.0, []
    for _ in range(6):
        while governor.may_run(0.01, 0.02, now):
            governor.worked(0.02, 0.01)
            now += 0.02
        gone = now
        while not governor.may_run(0.01, 0.02, now):
            now += 0.01
        holds.append(now - gone)
    assert holds == pytest.approx([0.5, 1, 2, 4, 4, 4], abs=0.02)
    for _ in range(2000):
        assert governor.may_run(0.01, 0.02, now)
        governor.worked(0.0005, 0.01)
        now += 0.01
    while governor.may_run(0.01, 0.02, now):
        governor.worked(0.02, 0.01)
        now += 0.02
    assert not governor.may_run(0.01, 0.02, now + 0.49)
    assert governor.may_run(0.01, 0.02, now + 0.51)


def test_without_an_output_only_a_lasting_overload_counts():
    governor = LoadGovernor()
    for _ in range(20):
        assert governor.may_run(0.01, math.inf, 0.0)
        governor.worked(0.02, 0.01)
