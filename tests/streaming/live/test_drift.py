"""Clocks that differ: the sound between them stays, and nobody hears how."""

import numpy as np
import pytest

from audio_enh.streaming.live import processor
from audio_enh.streaming.live.drift import DriftController

from .simulation import World


@pytest.mark.parametrize("drift", [-200.0, -50.0, 50.0, 200.0])
def test_the_loop_settles_without_overshoot_or_vibrato(drift):
    control, sound, trims = DriftController(0.025), 0.025, []
    for _ in range(12_000):  # two minutes
        trims.append(control.update(sound, 0.01))
        sound += (drift + control.ppm) * 1e-6 * 0.01
        assert abs(sound - 0.025) < 0.0011 * abs(drift) / 200
    assert control.ppm == pytest.approx(-drift, abs=2)
    assert control.drift == pytest.approx(-drift, abs=2)
    assert np.abs(np.diff(trims)).max() <= 1.0 + 1e-9  # 100 ppm per second


def test_a_drift_beyond_the_limit_does_not_wind_up():
    control = DriftController(0.025)
    for _ in range(6000):
        assert abs(control.update(0.2, 0.01)) <= 1000
    trims = [control.update(0.025, 0.01) for _ in range(2000)]
    assert min(map(abs, trims)) < 900


@pytest.mark.parametrize(("in_ppm", "out_ppm"), [(200, 0), (-100, 100)])
def test_minutes_of_drifting_devices(monkeypatch, in_ppm, out_ppm):
    world = World(monkeypatch, in_rate=16000, out_rate=16000, in_ppm=in_ppm, out_ppm=out_ppm)
    world.run(180)
    assert world.playback.underruns == 0
    assert world.capture.dropped == 0
    times, ppm, between = np.array(world.history).T
    settled = times > 120
    assert np.abs(between[settled] - 0.025).max() < 0.001
    assert ppm[settled].mean() == pytest.approx(out_ppm - in_ppm, abs=5)
    assert ppm[settled].std() < 15
    # Without the trim 200 ppm would have moved the buffer by 36 ms, which is more than it holds.


@pytest.mark.parametrize(
    ("in_rate", "out_rate", "in_channels", "out_channels"),
    [(44100, 48000, 2, 1), (48000, 44100, 1, 2), (16000, 48000, 1, 1), (96000, 48000, 8, 2)],
)
def test_what_is_played_is_what_was_heard(monkeypatch, in_rate, out_rate, in_channels, out_channels):
    world = World(
        monkeypatch,
        in_rate=in_rate,
        out_rate=out_rate,
        in_channels=in_channels,
        out_channels=out_channels,
        out_ppm=150,
    )
    world.run(15)
    assert world.playback.underruns == 0
    tail = world.output[-5 * out_rate :, -1].astype(np.float64)
    # A tone stays one tone: its level, and nothing beside it (the trim moves its frequency by parts in a million).
    spectrum = np.abs(np.fft.rfft(tail * np.kaiser(len(tail), 14)))
    frequencies = np.fft.rfftfreq(len(tail), 1 / out_rate)
    assert frequencies[spectrum.argmax()] == pytest.approx(440, abs=0.5)
    beside = np.abs(frequencies - 440) > 5
    assert 20 * np.log10(spectrum[beside].max() / spectrum.max()) < -70
    assert np.sqrt(2 * np.mean(tail**2)) == pytest.approx(1, abs=0.01)


def test_devices_that_stop_once_more_at_the_start_make_no_gap(monkeypatch):
    world = World(monkeypatch)
    world.run(0.03)
    world.run(1.8, silent="out")
    world.run(0.1)
    world.run(0.7, silent="in")
    world.run(10)
    assert world.playback.underruns == 0
    assert world.history[-1][2] == pytest.approx(0.025, abs=0.002)
    assert np.abs(world.output[-48000:]).max() > 0.99


def test_a_pause_of_the_output_leaves_no_extra_delay(monkeypatch):
    world = World(monkeypatch)
    world.run(5)
    world.run(0.6, silent="out")
    world.run(20)
    assert world.history[-1][2] == pytest.approx(0.025, abs=0.004)


def test_a_pause_of_the_input_is_one_gap_and_the_reserve_grows(monkeypatch):
    world = World(monkeypatch)
    world.run(5)
    world.run(0.3, silent="in")
    world.run(20)
    assert world.playback.underruns == 1
    assert world.processor.reserve == pytest.approx(0.020)
    assert world.history[-1][2] == pytest.approx(0.030, abs=0.004)


def test_the_reserve_goes_back_when_all_is_well(monkeypatch):
    monkeypatch.setattr(processor, "CALM_SECONDS", 6.0)  # of 60, and so all that follows
    world = World(monkeypatch, in_rate=16000, out_rate=16000)
    world.run(5)
    world.run(0.3, silent="in")
    world.run(60)
    assert world.processor.reserve == pytest.approx(0.020)
    world.run(50)
    assert world.playback.underruns == 1
    assert world.processor.reserve == pytest.approx(0.015)
    assert world.history[-1][2] == pytest.approx(0.025, abs=0.001)


def test_stalls_that_come_every_five_minutes_are_not_forgotten(monkeypatch):
    monkeypatch.setattr(processor, "CALM_SECONDS", 3.0)  # of 60: an hour in three minutes
    world = World(monkeypatch, in_rate=16000, out_rate=16000)
    world.run(5)
    underruns = []
    for _ in range(12):
        world.run(15)
        world.run(0.035, silent="worker")
        underruns.append(world.playback.underruns)
    # The first one tells how long they are.
    assert underruns[0] == underruns[-1] == 1


def test_a_larger_first_reserve_is_given_up_when_less_will_do(monkeypatch):
    monkeypatch.setattr(processor, "CALM_SECONDS", 2.0)  # of 60
    world = World(monkeypatch, in_rate=16000, out_rate=16000, first_reserve=0.03)
    world.run(8)
    assert world.history[-1][2] == pytest.approx(0.040, abs=0.001)
    world.run(60)
    assert world.processor.reserve == pytest.approx(0.015)
    assert world.history[-1][2] == pytest.approx(0.025, abs=0.002)
    assert world.playback.underruns == 0


def test_jitter_that_is_too_much_for_the_reserve_is_learned(monkeypatch):
    world = World(monkeypatch, jitter=0.040)
    world.run(40)
    before = world.playback.underruns
    assert before > 0
    world.run(40)
    assert world.playback.underruns - before <= 1
    assert world.processor.reserve <= 0.05
