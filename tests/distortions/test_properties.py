"""What holds for every distortion."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from audio_enh.distortions import DISTORTIONS, FAMILIES, Choice, Distortion, Recordings, SoundFiles
from tests.distortions.sounds import SAMPLES, generator, lag, lsd, si_sdr, speech

#: Without the sentence that is damaged below: as one of the babble's voices it would be an echo of itself.
TALKERS = SoundFiles([SAMPLES / "clean" / f"{name}.flac" for name in ("chainsaw", "helicopter", "waves")])
RECORDINGS = Recordings(talkers=TALKERS)
AVAILABLE = [kind for kind in DISTORTIONS if kind.unavailable(RECORDINGS) is None]
#: Codecs and lines that narrow the band whatever the severity, and a vocoder that keeps no waveform.
NEVER_CLOSE = {"gsm", "speex", "telephone"}
#: Where the waveform says little about severity.
BY_SPECTRUM = {"speex", "resonance"}
#: What depends on absolute level: quantisers and coders of fixed scale.
FIXED_SCALE = {"voip", "telephone"} | {kind.name() for family in FAMILIES[1:2] for kind, _ in family.members}
#: Independent noise in each channel, by intent.
WIDE = {"coloured_noise"}

every = pytest.mark.parametrize("kind", AVAILABLE, ids=lambda kind: kind.name())


def damage(
    kind: type[Distortion], severity: float, audio: np.ndarray, rate: int = 16000, seed: int = 0
) -> np.ndarray:
    rng = generator(seed)
    return kind.at(severity, rate, rng)(audio, rate, rng, RECORDINGS)


def test_there_are_55_in_ten_families():
    assert len(DISTORTIONS) == len({kind.name() for kind in DISTORTIONS}) == 55
    assert [family.name for family in FAMILIES] == [
        "band limiting",
        "codecs",
        "distortion",
        "loudness dynamics",
        "equalisation",
        "recorded noise",
        "reverb and delay",
        "spectral manipulation",
        "synthetic noise",
        "transmission",
    ]
    for family in FAMILIES:
        assert all(kind.family == family.name and weight > 0 for kind, weight in family.members)


@pytest.mark.parametrize("kind", DISTORTIONS, ids=lambda kind: kind.name())
def test_documented_with_parameters_that_severity_moves(kind: type[Distortion]):
    assert len(kind.summary()) > 10
    assert dataclasses.is_dataclass(kind)
    specs = kind.parameters()
    assert any(not spec.free for spec in specs.values())
    kind()  # the defaults lie within their own ranges
    mild, harsh = (kind.at(severity, 16000, generator()) for severity in (0.0, 1.0))
    for name, spec in specs.items():
        assert spec.problem(getattr(mild, name)) is spec.problem(getattr(harsh, name)) is None
        # What is drawn does not depend on severity, so that severities can be compared.
        assert (getattr(mild, name) == getattr(harsh, name)) == spec.free


@every
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 96000])
def test_any_rate_in_stereo(kind: type[Distortion], rate: int):
    mono = speech(rate, 0.6)
    audio = np.concatenate([mono, 0.5 * mono[:, ::-1]])
    out = damage(kind, 0.7, audio, rate)
    assert out.shape == audio.shape
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert not np.array_equal(out, audio)


@every
def test_short_silent_and_repeatable(kind: type[Distortion]):
    audio = speech(16000, 1.0)  # read-only: a distortion that wrote to its input would fail
    for length in (0, 1, 100):
        out = damage(kind, 1.0, audio[:, :length])
        assert out.shape == (1, length)
        assert np.isfinite(out).all()
    assert np.isfinite(damage(kind, 1.0, np.zeros((2, 8000), np.float32))).all()
    first = damage(kind, 0.6, audio, seed=3)
    assert np.array_equal(first, damage(kind, 0.6, audio, seed=3))
    with pytest.raises(ValueError, match="channels, samples"):
        kind()(audio[0], 16000, generator(), RECORDINGS)


@every
def test_equal_channels_stay_equal(kind: type[Distortion]):
    mono = speech(16000, 0.6)
    out = damage(kind, 0.7, np.repeat(mono, 2, axis=0))
    assert np.array_equal(out[0], out[1]) == (kind.name() not in WIDE)


@every
@pytest.mark.parametrize("severity", [0.0, 0.5, 1.0])
def test_not_delayed(kind: type[Distortion], severity: float):
    audio = speech()
    # Speex turns the phases of the spectrum: what its delay is depends on the frequency, by 0.2 ms.
    tolerance = 4 if kind.name() == "speex" else 1
    assert abs(lag(audio, damage(kind, severity, audio))) <= tolerance


@every
def test_severity_orders_the_damage(kind: type[Distortion]):
    distances = []
    for severity in (0.0, 0.33, 0.67, 1.0):
        values = []
        for seed, name in enumerate(("rain", "dog")):
            audio = speech(16000, 2.0, name)
            out = damage(kind, severity, audio, seed=seed)
            values.append(lsd(audio, out) if kind.name() in BY_SPECTRUM else -si_sdr(audio, out))
        distances.append(np.mean(values))
    assert np.all(np.diff(distances) > 0), distances
    if kind.name() not in NEVER_CLOSE:
        assert distances[0] < (1 if kind.name() in BY_SPECTRUM else -12)


@every
def test_loudness_of_the_input_does_not_matter(kind: type[Distortion]):
    if kind.name() in FIXED_SCALE:
        pytest.skip("codes an absolute scale")
    audio = speech(16000, 1.0)
    expected = damage(kind, 0.6, audio)
    out = damage(kind, 0.6, np.float32(0.05) * audio) * 20
    assert np.abs(out - expected).max() < 1e-4 * np.abs(expected).max()


def test_choices_list_their_mildest_first():
    spec = Choice((64, 32, 16))
    assert [spec.at(severity, 16000) for severity in (0, 0.5, 1)] == [64, 32, 16]
