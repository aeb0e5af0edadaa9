"""Packed audio, rooms and mixtures: levels, alignment, reproducibility."""

import csv

import numpy as np
import pytest
import soundfile

from audio_enh.data import augment
from audio_enh.data.mixing import MixConfig, Mixer
from audio_enh.data.testset import build_test_set
from audio_enh.errors import AudioFileError, UserError
from audio_enh.sources.packed import AudioFolder, PackedAudio
from audio_enh.sources.rooms import reverberate, statistical_room

RATE = 16000
PLAIN = dict.fromkeys(
    (
        *("second_noise", "synthetic_noise", "modulated_noise", "babble", "reverb", "equaliser", "low_pass"),
        *("clipping", "speech_only", "noise_only"),
    ),
    0.0,
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Bursts of "speech" and steady noise, in nested folders, several formats and rates."""
    root = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    for i, (suffix, rate) in enumerate([("wav", 16000), ("flac", 48000), ("ogg", 16000)]):
        (root / "speech" / f"talker{i}").mkdir(parents=True)
        time = np.arange(4 * rate) / rate
        audio = 0.3 * np.sin(2 * np.pi * 220 * (i + 1) * time) * (np.sin(2 * np.pi * time) > -0.5)
        soundfile.write(root / "speech" / f"talker{i}" / f"a.{suffix}", audio, rate)
        (root / "noise").mkdir(exist_ok=True)
        soundfile.write(root / "noise" / f"n{i}.wav", 0.1 * rng.standard_normal((RATE, 2)), RATE)
    return root


def packed(sources, name):
    return PackedAudio(AudioFolder(str(sources / name)).files(), RATE, sources / "cache")


def mixer(sources, **changes):
    return Mixer(
        packed(sources, "speech"), packed(sources, "noise"), config=MixConfig(**{**PLAIN, **changes})
    )


def test_packed_audio_is_the_files_resampled_and_mono(sources):
    speech = packed(sources, "speech")
    assert len(speech) == 3
    assert speech.seconds == pytest.approx(12, abs=0.1)
    index = next(i for i, file in enumerate(speech.files) if file.suffix == ".wav")
    expected, _ = soundfile.read(speech.files[index], dtype="float32")
    np.testing.assert_allclose(speech.read(index), expected, atol=1e-4)


def test_cache_is_made_anew_when_a_file_changes(sources):
    file = sources / "noise" / "n0.wav"
    before = packed(sources, "noise").read(0)
    soundfile.write(file, np.zeros(RATE + 1), RATE)
    after = packed(sources, "noise")
    assert len(after.read(0)) == RATE + 1 != len(before)
    soundfile.write(file, before, RATE)


def test_same_generator_same_mixture(sources):
    draw = Mixer(packed(sources, "speech"), packed(sources, "noise"))
    first, second = (draw(np.random.default_rng(5), RATE) for _ in range(2))
    np.testing.assert_array_equal(first.noisy, second.noisy)
    assert not np.array_equal(first.noisy, draw(np.random.default_rng(6), RATE).noisy)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.0])
def test_ratio_and_level_are_what_was_asked_for(sources, snr):
    draw = mixer(sources, snr_db=(snr, snr), level_db=(-30, -30))
    for seed in range(5):
        mixture = draw(np.random.default_rng(seed), 2 * RATE)
        noise = mixture.noisy - mixture.clean
        measured = 20 * np.log10(augment.active_rms(mixture.clean) / augment.rms(noise))
        assert measured == pytest.approx(snr, abs=0.1)
        assert 20 * np.log10(augment.rms(mixture.noisy)) == pytest.approx(-30, abs=0.1)


def test_every_kind_of_mixture_is_finite_and_within_full_scale(sources):
    draw = Mixer(
        packed(sources, "speech"),
        packed(sources, "noise"),
        config=MixConfig(
            reverb=0.5, babble=0.3, synthetic_noise=0.3, low_pass=0.3, clipping=0.3, level_db=(-20, 0)
        ),
    )
    for seed in range(40):
        mixture = draw(np.random.default_rng(seed), RATE)
        assert mixture.noisy.shape == mixture.clean.shape == (RATE,)
        assert np.isfinite(mixture.noisy).all()
        assert np.abs(mixture.noisy).max() <= 1


def test_speech_alone_and_noise_alone(sources):
    speech = mixer(sources, speech_only=1.0)(np.random.default_rng(0), RATE)
    np.testing.assert_array_equal(speech.noisy, speech.clean)
    noise = mixer(sources, noise_only=1.0)(np.random.default_rng(0), RATE)
    assert not noise.clean.any()
    assert noise.noisy.any()


def test_room_keeps_the_direct_sound_in_place():
    rng = np.random.default_rng(0)
    audio = rng.standard_normal(RATE).astype(np.float32)
    response = np.concatenate([np.zeros(300, np.float32), statistical_room(rng, RATE)])
    wet, target = reverberate(audio, response, RATE, early_seconds=0.05)
    for signal in (wet, target):
        correlation = np.correlate(signal[4000:8000], audio[3900:8100], mode="valid")
        assert int(np.argmax(np.abs(correlation))) == 100
    assert np.sum((wet - target) ** 2) > 0


@pytest.mark.parametrize("early_seconds", [0.0, 0.001, 0.05])
def test_direct_sound_is_whole(early_seconds):
    """With any early part the wet signal keeps its level, and a dry target is the speech itself."""
    rng = np.random.default_rng(0)
    audio = rng.standard_normal(RATE).astype(np.float32)
    response = np.zeros(RATE // 4, np.float32)
    response[300:304] = 0.3, 1, -0.5, 0.2  # a loudspeaker's direct sound
    response[1500:] = 0.02 * rng.standard_normal(len(response) - 1500)
    wet, target = reverberate(audio, response, RATE, early_seconds)
    expected = np.convolve(audio, response[300:304])[1 : 1 + RATE]
    assert np.corrcoef(target, expected)[0, 1] > 0.99999
    assert augment.rms(target) == pytest.approx(augment.rms(audio), rel=1e-5)
    direct = np.dot(wet, target) / np.dot(target, target)
    assert direct == pytest.approx(1, abs=0.02)


def test_dry_target_in_training(sources):
    draw = mixer(sources, reverb=1.0, early_seconds=0.0)
    assert all(np.isfinite(draw(np.random.default_rng(seed), RATE).noisy).all() for seed in range(5))
    with pytest.raises(ValueError, match="early_seconds"):
        MixConfig(early_seconds=-0.1)


@pytest.mark.parametrize("name", ["coloured_noise", "hum", "clicks"])
def test_synthetic_noise_has_unit_level(name):
    rng = np.random.default_rng(1)
    make = getattr(augment, name)
    noise = make(RATE, rng) if name == "coloured_noise" else make(RATE, rng, RATE)
    assert augment.rms(noise) == pytest.approx(1, rel=0.05)


def test_test_set_is_what_its_table_says(sources, tmp_path):
    speech, noise = (AudioFolder(str(sources / name)) for name in ("speech", "noise"))
    arguments = {"snr_db": (0, 10), "per_snr": 2, "cache": str(sources / "cache")}
    first = build_test_set(str(tmp_path / "a"), speech, noise, **arguments)
    second = build_test_set(str(tmp_path / "b"), speech, noise, **arguments)
    rows = list(csv.DictReader((first / "metadata.csv").open()))
    assert [row["snr_db"] for row in rows] == ["0", "10", "0", "10"]
    for row in rows:
        clean, _ = soundfile.read(first / "clean" / row["file"])
        noisy, _ = soundfile.read(first / "noisy" / row["file"])
        measured = 20 * np.log10(augment.active_rms(clean) / augment.rms(noisy - clean))
        assert measured == pytest.approx(float(row["snr_db"]), abs=0.1)
        assert (first / "noisy" / row["file"]).read_bytes() == (second / "noisy" / row["file"]).read_bytes()
    with pytest.raises(UserError, match="not empty"):
        build_test_set(str(tmp_path / "a"), speech, noise, **arguments)


def test_manifest_chooses_rows_and_names_what_is_missing(sources, tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,split\na.wav,train\nb.wav,valid\n")
    files = AudioFolder(str(manifest), where={"split": "valid"}).files()
    assert [file.name for file in files] == ["b.wav"]
    with pytest.raises(UserError, match="kind"):
        AudioFolder(str(manifest), where={"kind": "speech"}).files()
    with pytest.raises(UserError, match="split=test"):
        AudioFolder(str(manifest), where={"split": "test"}).files()
    assert AudioFolder(str(manifest), where={"split": "test"}, optional=True).files() == []
    with pytest.raises(AudioFileError, match=r"b\.wav"):
        PackedAudio(files, RATE, tmp_path)
    with pytest.raises(UserError, match="no audio"):
        AudioFolder(str(tmp_path)).files()
