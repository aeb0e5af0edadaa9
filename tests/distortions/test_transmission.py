"""Transmission: losses, lines, keys."""

from __future__ import annotations

import numpy as np
import pytest

from audio_enh.distortions.transmission import (
    Dtmf,
    FrameShuffle,
    PacketLoss,
    Telephone,
    Voip,
    conceal,
    gilbert_losses,
)
from tests.distortions.sounds import generator, power_db, si_sdr, speech, white

RATE = 16000


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.4])
@pytest.mark.parametrize("burst", [1.0, 3.0])
def test_losses_have_their_share_and_their_bursts(rate: float, burst: float):
    lost = gilbert_losses(generator(), 200_000, rate, burst)
    assert lost.mean() == pytest.approx(rate if burst > 1 or rate < 0.4 else 0.4, rel=0.06)
    bursts = np.sum(lost[1:] & ~lost[:-1])
    assert lost.sum() / bursts == pytest.approx(burst, rel=0.05)


def test_lost_packets_are_silent():
    audio = np.ones((1, 20 * RATE), np.float32)
    out = PacketLoss(0.2, 20, 2, "silence")(audio, RATE, generator())[0]
    assert np.mean(out < 0.5) == pytest.approx(0.2, abs=0.05)
    packets = out.reshape(-1, 320)[:, 20:-20]  # without the edges of a millisecond
    assert np.all(np.ptp(packets, axis=1) == 0)
    assert set(np.unique(packets.round(5))) == {0.0, 1.0}


def test_concealment_repeats_the_last_packet_and_fades():
    audio = np.repeat(np.array([0.2, 0.4, 0.6, 0.8, 1.0], np.float32), 320)[None]
    lost = np.array([False, True, True, False, False])
    out = conceal(audio, lost, 320, RATE, repeat=True)[0].reshape(5, 320)[:, 160]
    assert out == pytest.approx([0.2, 0.1, 0.05, 0.8, 1.0], abs=1e-5)
    # What comes before the first packet cannot be repeated.
    first = conceal(audio, ~lost, 320, RATE, repeat=True)[0].reshape(5, 320)[:, 160]
    assert first[0] == 0


def test_nothing_lost_nothing_changed():
    audio = speech()
    packets = np.zeros(200, bool)
    assert conceal(audio, packets, 160, RATE, repeat=True) == pytest.approx(audio, abs=1e-7)


def test_telephone_has_a_telephones_band_and_noise():
    noise = white(seconds=4.0)
    out = Telephone(45, 0, "mu")(noise, RATE, generator())
    inside = power_db(out, RATE, 500, 3000)
    assert power_db(out, RATE, 4100, 8000) < inside - 60
    assert power_db(out, RATE, 0, 150) < inside - 35
    silent = Telephone(20, 0, "a")(np.zeros((1, 4 * RATE), np.float32), RATE, generator())
    assert 20 * np.log10(np.std(silent)) == pytest.approx(-26 - 20, abs=0.5)


def test_keys_are_pairs_of_dtmf_tones():
    silent = np.zeros((1, 4 * RATE), np.float32)
    out = Dtmf(0, 0.5)(silent, RATE, generator())
    changes = np.flatnonzero(np.diff(np.concatenate([[0], (out[0] != 0).astype(int), [0]])))
    start, end = changes[0], changes[1]
    spectrum = np.abs(np.fft.rfft(out[0, start : end + 1], 4 * RATE))
    frequencies = np.arange(len(spectrum)) / 4
    below, above = frequencies < 1050, frequencies >= 1050
    low, high = (float(frequencies[part][np.argmax(spectrum[part])]) for part in (below, above))
    assert min(abs(low - f) for f in (697, 770, 852, 941)) < 8
    assert min(abs(high - f) for f in (1209, 1336, 1477, 1633)) < 8


def test_voip_without_losses_is_opus():
    audio = speech()
    whole = Voip(24, 0.005, 1)(audio, RATE, generator(1))
    assert si_sdr(audio, whole) > 12
    assert si_sdr(audio, Voip(24, 0.3, 1)(audio, RATE, generator(1))) < si_sdr(audio, whole) - 5


def test_shuffled_frames_are_the_same_frames():
    audio = speech()
    out = FrameShuffle(0.4, 20)(audio, RATE, generator())
    before, after = audio[0].reshape(-1, 320), out[0].reshape(-1, 320)
    places = [int(np.flatnonzero((before == frame).all(axis=1))[0]) for frame in after]
    assert sorted(places) == list(range(len(before)))
    moved = np.array(places) - np.arange(len(before))
    assert set(moved) == {-1, 0, 1}
    # Each swap takes two frames, and one that has just moved does not move again.
    assert np.mean(moved == 1) == pytest.approx(0.4 / 1.4, abs=0.1)
