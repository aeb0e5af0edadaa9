"""What mixtures may hold beside speech and recorded noise: struck things, digital silence, favoured recordings."""

import csv
import pickle

import numpy as np
import pytest
import soundfile

from audio_enh.data import augment
from audio_enh.data.mixing import MixConfig, Mixer
from audio_enh.data.silence import begin_at_speech, silence_ends
from audio_enh.data.struck import body, excitation, struck
from audio_enh.errors import UserError
from audio_enh.sources.packed import AudioFolder, PackedAudio

RATE = 16000


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Two talkers, the second twice as clean in the manifest, a long hiss and a short beep."""
    root = tmp_path_factory.mktemp("favoured")
    time = np.arange(4 * RATE) / RATE
    rng = np.random.default_rng(0)
    bursts = (np.sin(2 * np.pi * time) > 0) & (time > 0.2)
    files = {
        "a.wav": (0.3 * np.sin(2 * np.pi * 200 * time) * bursts, "speech", "30"),
        "b.wav": (0.3 * np.sin(2 * np.pi * 2000 * time) * bursts, "speech", "50"),
        "hiss.wav": (0.1 * rng.standard_normal(20 * RATE), "noise", ""),
        "beep.wav": (0.1 * np.sin(2 * np.pi * 1000 * time[: RATE // 4]), "noise", ""),
    }
    with (root / "m.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "kind", "dynamic_range_db"])
        for name, (audio, kind, decibels) in files.items():
            soundfile.write(root / name, audio, RATE)
            writer.writerow([name, kind, decibels])
    return root / "m.csv"


def packed(manifest, kind, favour=None):
    folder = AudioFolder(str(manifest), where={"kind": kind}, favour=favour)
    files = folder.files()
    audio = PackedAudio(files, RATE, manifest.parent / "cache")
    if (weights := folder.weights(files)) is not None:
        audio.favour(weights)
    return pickle.loads(pickle.dumps(audio))  # as a worker process gets it


def mixer(manifest, **config):
    nothing = dict.fromkeys(
        (
            *(
                "second_noise",
                "synthetic_noise",
                "modulated_noise",
                "babble",
                "reverb",
                "equaliser",
                "low_pass",
            ),
            *("clipping", "speech_only", "noise_only"),
        ),
        0.0,
    )
    return Mixer(
        packed(manifest, "speech"), packed(manifest, "noise"), config=MixConfig(**{**nothing, **config})
    )


def test_struck_things_ring_and_fall_silent():
    """What is heard is short and peaked: not one of the sounds is like steady noise, which peaks at 4 or 5."""
    peaks = []
    for seed in range(60):
        sound = struck(3 * RATE, np.random.default_rng(seed), RATE)
        assert sound.shape == (3 * RATE,)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
        assert np.std(sound) == pytest.approx(1, abs=0.01)
        peaks.append(np.abs(sound).max())
    assert np.median(peaks) > 8


def test_bodies_are_partials_that_die_away():
    for seed in range(40):
        response = body(np.random.default_rng(seed), RATE)
        quarter = max(1, len(response) // 4)
        assert augment.rms(response[-quarter:]) < 0.5 * augment.rms(response[:quarter])


def test_every_kind_of_excitation_is_drawn_and_strikes():
    strikes = [np.count_nonzero(excitation(3 * RATE, np.random.default_rng(s), RATE)) for s in range(80)]
    assert max(strikes) > 1000  # scraping
    assert sorted(strikes)[len(strikes) // 2] < 200
    assert sum(count > 0 for count in strikes) > 70


def test_struck_noise_is_mixed_where_asked_for(manifest):
    def peak(**config):
        each = (
            mixer(manifest, snr_db=(0, 0), **config)(np.random.default_rng(i), 2 * RATE) for i in range(20)
        )
        noises = [mixture.noisy - mixture.clean for mixture in each]
        return np.median([np.abs(noise).max() / augment.rms(noise) for noise in noises])

    assert peak(struck=1.0) > 1.5 * peak()


def test_new_options_are_off_and_change_no_mixture(manifest):
    """Recipes of earlier versions draw what they drew."""
    config = MixConfig()
    assert (config.struck, config.noise_by_file, config.digital_silence, config.speech_at_once) == (
        0,
        0,
        0,
        0,
    )
    plain, weighed = packed(manifest, "speech"), packed(manifest, "speech", "dynamic_range_db")
    rng = np.random.default_rng(5)
    expected = int(np.searchsorted(np.cumsum(plain.lengths), rng.integers(plain.lengths.sum()), side="right"))
    start = int(rng.integers(plain.lengths[expected] - RATE + 1))
    drawn = plain.draw(np.random.default_rng(5), RATE, loop=False)
    np.testing.assert_array_equal(drawn, plain.read(expected, start, RATE))
    assert len(weighed) == len(plain)


def test_cleaner_recordings_are_drawn_more_often(manifest):
    def share(audio):
        crossings = [
            np.count_nonzero(np.diff(np.sign(audio.draw(np.random.default_rng(i), RATE, loop=False))))
            for i in range(300)
        ]
        return np.mean(np.array(crossings) > 1000)

    assert share(packed(manifest, "speech")) == pytest.approx(0.5, abs=0.1)
    # 20 dB apart: twice as often as the median for the one, half as often for the other.
    assert share(packed(manifest, "speech", "dynamic_range_db")) == pytest.approx(0.8, abs=0.08)


def test_favouring_needs_a_column_of_numbers(manifest):
    with pytest.raises(UserError, match="to be numbers"):
        packed(manifest, "noise", "dynamic_range_db")
    with pytest.raises(UserError, match="lacks the column"):
        packed(manifest, "speech", "loudness")
    with pytest.raises(UserError, match="needs a manifest"):
        AudioFolder(str(manifest.parent), favour="dynamic_range_db").weights([])


def test_short_recordings_are_drawn_as_often_as_long_ones(manifest):
    noise = packed(manifest, "noise")

    def beeps(by_file):
        drawn = (noise.draw(np.random.default_rng(i), RATE, loop=True, by_file=by_file) for i in range(200))
        return np.mean([np.abs(np.fft.rfft(audio)[1000]) > 0.3 * 0.1 * RATE / 2 for audio in drawn])

    assert beeps(True) == pytest.approx(0.5, abs=0.1)
    assert beeps(False) < 0.05


def test_digital_silence_is_in_both_signals_and_sets_in_at_once(manifest):
    mix = mixer(manifest, digital_silence=1.0, snr_db=(0, 0))
    for seed in range(20):
        noisy, clean, *_ = mix(np.random.default_rng(seed), 2 * RATE)
        sounding = np.flatnonzero(noisy)
        first, last = sounding[0], sounding[-1]
        assert first > 0.05 * RATE or last < 1.95 * RATE
        assert last - first > 0.6 * RATE
        assert not clean[:first].any()
        assert not clean[last + 1 :].any()
    noisy, clean = silence_ends(np.ones(900), np.ones(900), np.random.default_rng(0))
    np.testing.assert_array_equal(noisy, clean)


def test_speech_can_begin_with_the_item(manifest):
    mix = mixer(manifest, speech_at_once=1.0)
    for seed in range(10):
        _, clean, *_ = mix(np.random.default_rng(seed), 2 * RATE)
        assert augment.rms(clean[:320]) > 0.3 * augment.rms(clean)
    np.testing.assert_array_equal(begin_at_speech(np.zeros(1000), RATE), np.zeros(1000))
    np.testing.assert_array_equal(begin_at_speech(np.ones(10), RATE), np.ones(10))


def test_rumble_lies_below_speech_and_only_in_the_noisy_signal(manifest):
    for seed in range(12):
        spectrum = np.abs(np.fft.rfft(augment.rumble(4 * RATE, np.random.default_rng(seed), RATE))) ** 2
        assert spectrum[: 4 * 100].sum() > 0.95 * spectrum.sum()  # below 100 Hz
    louder = 0
    for seed in range(10):
        noisy, clean, *_ = mixer(manifest, rumble=1.0, snr_db=(40, 40))(np.random.default_rng(seed), 2 * RATE)
        difference = np.abs(np.fft.rfft(noisy - clean)) ** 2
        assert difference[: 2 * 100].sum() > 0.5 * difference.sum()
        louder += augment.rms(noisy) > 1.5 * augment.rms(clean)
    assert louder > 2


def test_items_know_the_bandwidth_of_their_speech(manifest):
    """Every file by its row; files with less than is asked for are left out."""
    column = "dynamic_range_db"  # any column of numbers
    with pytest.raises(UserError, match="needs bandwidth="):
        AudioFolder(str(manifest), where={"kind": "speech"}, min_bandwidth=1).files()
    speech = AudioFolder(str(manifest), where={"kind": "speech"}, bandwidth=column)
    assert [p.name for p in speech.files()] == ["a.wav", "b.wav"]
    wide = AudioFolder(str(manifest), where={"kind": "speech"}, bandwidth=column, min_bandwidth=40)
    assert [p.name for p in wide.files()] == ["b.wav"]
    pack = PackedAudio(speech.files(), RATE, manifest.parent / "cache")
    assert np.isinf(pack.bandwidths).all()
    pack.limit_bands(speech.bandwidths(speech.files()))
    mix = mixer(manifest)
    mix.speech = pickle.loads(pickle.dumps(pack))
    drawn = {mix(np.random.default_rng(seed), RATE).bandwidth for seed in range(20)}
    assert drawn == {30.0, 50.0}
