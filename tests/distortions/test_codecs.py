"""Codecs: the real coders, their rates, noise and delay."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from audio_enh.distortions import FAMILIES, Recordings, _coders, codecs
from audio_enh.distortions.codecs import (
    Aac,
    Ac3,
    Adpcm,
    ALaw,
    Eac3,
    Gsm,
    Mp2,
    Mp3,
    MuLaw,
    Opus,
    Speex,
    Vorbis,
)
from audio_enh.errors import DependencyError
from tests.distortions.sounds import generator, power_db, snr, speech, white

RATE = 16000
FFMPEG = (Mp2, Aac, Ac3, Eac3, Speex)


def noise_of(codec, audio: np.ndarray = None, rate: int = RATE) -> float:
    audio = speech() if audio is None else audio
    return snr(audio, codec(audio, rate, generator()))


@pytest.mark.parametrize("kind", [MuLaw, ALaw])
def test_g711_has_38_decibels_and_loses_six_a_bit(kind):
    noise = white(level=0.05)
    ratios = [noise_of(kind(bits), noise) for bits in (8, 7, 6, 5, 4)]
    assert ratios[0] == pytest.approx(37.5, abs=1.5)  # ITU-T G.711 at medium levels
    assert np.all(np.abs(np.diff(ratios) + 6) < 1)


def test_mu_law_with_all_bits_is_libsndfiles():
    audio = speech()
    data = io.BytesIO()
    soundfile.write(data, audio[0], RATE, format="WAV", subtype="ULAW")
    data.seek(0)
    assert np.array_equal(MuLaw(8)(audio, RATE, generator())[0], soundfile.read(data, dtype="float32")[0])


def test_adpcm_variants_are_in_order():
    variants = Adpcm.parameters()["variant"].options
    sentences = [speech(name=name) for name in ("rain", "dog")]
    ratios = [np.mean([noise_of(Adpcm(v), each) for each in sentences]) for v in variants]
    assert 15 < min(ratios) < max(ratios) < 45
    assert np.all(np.diff(ratios) < 0.2)  # the first two are on a par


@pytest.mark.parametrize(("level", "kbps"), [(0.2, 128), (0.9, 24)])
def test_mp3_has_the_bit_rate_that_its_level_stands_for(level: float, kbps: int):
    data = io.BytesIO()
    soundfile.write(
        data, white(seconds=8)[0], RATE, format="MP3", compression_level=level, bitrate_mode="CONSTANT"
    )
    assert len(data.getvalue()) * 8 / 8 / 1000 == pytest.approx(kbps, rel=0.05)


@pytest.mark.parametrize(
    ("codec", "expected"),
    [
        (Mp3(24), {8000: 16000, 44100: 24000, 96000: 24000}),
        (Mp3(64), {16000: 16000, 44100: 44100, 96000: 48000}),
        (Opus(), {8000: 8000, 22050: 24000, 44100: 48000}),
        (Gsm(), {8000: 8000, 48000: 8000}),
        (MuLaw(), {8000: 8000, 44100: 44100}),
        (Ac3(), {8000: 32000, 48000: 48000}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_coding_rates(codec: codecs.Codec, expected: dict[int, int]):
    assert {rate: codec.coding_rate(rate) for rate in expected} == expected


def test_gsm_is_narrow_band():
    noise = white()
    out = Gsm(1)(noise, RATE, generator())
    assert power_db(out, RATE, 4200, 8000) < power_db(out, RATE, 300, 3400) - 50


def test_the_end_of_the_signal_comes_out():
    for codec in (Mp3(64), Opus(32), Vorbis(0.5), Gsm(1)):
        out = codec(white(seconds=1.0), RATE, generator())
        assert np.sqrt(np.mean(out[:, -300:] ** 2)) > 0.5 * np.sqrt(np.mean(out**2)), codec


def test_beyond_full_scale_is_no_clipping():
    audio = speech() * 100
    assert np.abs(audio).max() > 10
    assert noise_of(Vorbis(0.9), audio) > 15


def test_a_delay_is_measured_and_taken_back(monkeypatch: pytest.MonkeyPatch):
    """A coder that delays by 123 samples comes out as one that does not."""

    def late(mono, rate, *rest):
        return np.concatenate([np.zeros(123, np.float32), mono])

    monkeypatch.setattr(codecs, "through_libsndfile", late)
    codecs._delay.cache_clear()
    try:
        audio = speech()
        assert Vorbis(0.25)(audio, RATE, generator()) == pytest.approx(audio, abs=1e-6)
    finally:
        codecs._delay.cache_clear()


def test_without_ffmpeg_its_codecs_say_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_coders, "find_program", lambda name: None)
    for kind in FFMPEG:
        assert "ffmpeg" in (kind.unavailable(Recordings()) or "")
        with pytest.raises(DependencyError, match=f"{kind.name()} needs ffmpeg"):
            kind()(speech(), RATE, generator())


def test_an_ffmpeg_without_the_encoder_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_coders, "find_program", lambda name: "/usr/bin/true")
    monkeypatch.setattr(_coders, "encoders", lambda program: frozenset({"aac"}))
    assert Aac.unavailable(Recordings()) is None
    assert "libspeex" in (Speex.unavailable(Recordings()) or "")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [k for k, _ in FAMILIES[1].members], ids=lambda kind: kind.name())
@pytest.mark.parametrize("rate", [8000, 22050, 48000, 96000])
def test_every_option_at_every_rate(kind, rate: int):
    if kind.unavailable(Recordings()) is not None:
        pytest.skip("not here")
    audio = speech(rate, 1.3)[:, int(0.8 * rate) :]
    for name, spec in kind.parameters().items():
        for option in getattr(spec, "options", (spec.at(0, rate), spec.at(1, rate))):
            out = kind(**{name: option})(audio, rate, generator())
            assert 0.3 < np.sqrt(np.mean(out**2) / np.mean(audio**2)) < 2, option
