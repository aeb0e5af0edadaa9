"""Chains: reading them, applying them, what is written down."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from audio_enh.distortions import Step, apply_chain, apply_in_pieces, parse_chain
from audio_enh.distortions.band_limiting import LowPass
from audio_enh.distortions.codecs import Mp3
from audio_enh.distortions.dynamics import Tremolo
from audio_enh.distortions.overload import Clipping
from audio_enh.distortions.synthetic_noise import Hum
from audio_enh.errors import UserError
from tests.distortions.sounds import generator, speech


def test_reading_a_chain():
    steps = parse_chain(
        "mp3(bitrate=16), lowpass(cutoff=3e3),Low-Pass, hum(severity=0.8, base=60), tremolo(shape=sine)"
    )
    assert steps == (
        Step(Mp3, fixed={"bitrate": 16}),
        Step(LowPass, fixed={"cutoff": 3000.0}),
        Step(LowPass),
        Step(Hum, 0.8, {"base": 60}),
        Step(Tremolo, fixed={"shape": "sine"}),
    )
    assert parse_chain("tremolo(shape='sine')") == (steps[-1],)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mp4", "no distortion 'mp4': did you mean mp3"),
        ("reverb_that_nobody_made", "did you mean|--list"),
        ("mp3(bitrat=16)", "no parameter 'bitrat': did you mean bitrate"),
        ("mp3(zzz=16)", "no parameter 'zzz': it has bitrate, severity"),
        ("mp3(bitrate=17)", "bitrate of mp3 takes 96, .* not 17"),
        ("hum(snr=1000)", "snr of hum takes 40 to -5 dB, not 1000"),
        ("hum(harmonics=2.5)", "whole number"),
        ("hum(snr=loud)", "takes a number, not 'loud'"),
        ("mp3(severity=2)", "severity of mp3 takes 0 to 1"),
        ("mp3(16)", "cannot read"),
        ("mp3(bitrate=16", "cannot read"),
        ("mp3(bitrate=True)", "cannot read"),
        ("mp3(**x)", "no parameter 'None'|cannot read"),
        ("__import__('os').system('true')", "cannot read"),
        ("mp3(bitrate=[1]*9**9)", "cannot read"),
        ("", "cannot read"),
        ("\0", "cannot read"),
    ],
)
def test_what_is_wrong_is_told(text: str, message: str):
    with pytest.raises(UserError, match=message):
        parse_chain(text)


def test_order_matters_and_is_kept():
    audio = speech()
    clip, pass_ = Step(Clipping, fixed={"depth": 20}), Step(LowPass, fixed={"cutoff": 1000})
    one, record = apply_chain([clip, pass_], audio, 16000, generator())
    other, _ = apply_chain([pass_, clip], audio, 16000, generator())
    assert [each.name for each in record] == ["clipping", "low_pass"]
    assert not np.allclose(one, other, atol=1e-3)


def test_the_record_is_enough_to_do_it_again():
    audio = speech()
    steps = parse_chain("background_noise(severity=0.4), band_pass, opus, packet_loss(rate=0.2), chorus")
    out, record = apply_chain(steps, audio, 16000, generator(9))
    again = [Step(step.kind, fixed=each.parameters) for step, each in zip(steps, record, strict=True)]
    repeated, record_again = apply_chain(again, audio, 16000, generator(9))
    assert np.array_equal(repeated, out)
    assert [each.parameters for each in record_again] == [each.parameters for each in record]
    # Nothing was left to severity, and the record says so.
    assert [each.severity for each in record] == [0.4, 0.5, 0.5, None, 0.5]
    assert {each.severity for each in record_again} == {None}
    assert json.loads(json.dumps([each.as_json() for each in record]))[0]["family"] == "recorded noise"


def test_an_empty_chain_changes_nothing():
    out, record = apply_chain([], speech(), 16000, generator())
    assert np.array_equal(out, speech())
    assert record == ()


def test_pieces_join_without_a_seam():
    audio = np.concatenate([speech(seconds=2.5, name=name) for name in ("rain", "dog", "waves")], axis=1)
    steps = parse_chain(
        "band_pass(width=2, centre=1000), short_delay(delay=0.2), algorithmic_reverb(rt60=0.5)"
    )
    whole, record = apply_chain(steps[:2], audio, 16000, generator())
    pieces, same = apply_in_pieces(steps[:2], audio, 16000, generator(), piece_seconds=2.3)
    assert same == record
    assert np.abs(pieces - whole).max() < 2e-3 * np.abs(whole).max()
    # With randomness the pieces differ from the whole, but nothing jumps at 2.3, 4.6 and 6.9 s.
    pieces, _ = apply_in_pieces(steps, audio, 16000, generator(), piece_seconds=2.3)
    jumps = np.abs(np.diff(pieces[0]))
    assert jumps[np.arange(1, 4) * 36800 - 1].max() < np.quantile(jumps, 0.999)
    assert pieces.shape == audio.shape


def test_one_piece_is_the_chain():
    steps = parse_chain("hum, mp3")
    whole, _ = apply_chain(steps, speech(), 16000, generator())
    assert np.array_equal(apply_in_pieces(steps, speech(), 16000, generator())[0], whole)


def test_torch_is_not_needed():
    """Data workers and the command line start without it."""
    code = "import sys, audio_enh.distortions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
