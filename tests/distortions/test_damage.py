"""Random damage: its statistics, its targets, and that an item is the same wherever it is drawn."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
import soundfile

from audio_enh.distortions import (
    DISTORTIONS,
    FAMILIES,
    PackedSounds,
    RandomDamage,
    Recordings,
    SoundFiles,
)
from audio_enh.distortions.codecs import Mp3
from audio_enh.distortions.damage import COUNTS
from audio_enh.errors import UserError
from audio_enh.sources.packed import PackedAudio
from tests.distortions.sounds import SAMPLES, generator, speech


@pytest.fixture(scope="module")
def chains():
    damage = RandomDamage()
    return [damage.draw(generator((1, item))) for item in range(4000)]  # type: ignore[arg-type]


def test_numbers_of_distortions_are_the_papers(chains):
    counts = Counter(len(chain) for chain in chains)
    assert [counts[n + 1] / len(chains) for n in range(5)] == pytest.approx(COUNTS, abs=0.025)


def test_families_do_not_repeat_and_have_their_weights(chains):
    for chain in chains:
        assert len({step.kind.family for step in chain}) == len(chain)
    firsts = Counter(chain[0].kind.family for chain in chains if len(chain) == 1)
    total = sum(family.weight for family in FAMILIES)
    for family in FAMILIES:
        assert firsts[family.name] / sum(firsts.values()) == pytest.approx(family.weight / total, abs=0.03)


def test_members_have_their_weights(chains):
    seen = Counter(step.kind for chain in chains for step in chain)
    missing = RandomDamage().missing
    assert set(seen) == {kind for kind in DISTORTIONS if kind.name() not in missing}
    band = FAMILIES[0]
    total = sum(seen[kind] for kind, _ in band.members)
    for kind, weight in band.members:
        assert seen[kind] / total == pytest.approx(weight / 60, abs=0.06)


def test_severities_are_uniform_and_orders_random(chains):
    severities = np.array([step.severity for chain in chains for step in chain])
    assert np.histogram(severities, 4, (0, 1))[0] / len(severities) == pytest.approx([0.25] * 4, abs=0.03)
    # The heaviest family is as often last as first in pairs.
    noisy = [
        chain for chain in chains if len(chain) == 2 and any(s.kind.family == "recorded noise" for s in chain)
    ]
    first = np.mean([chain[0].kind.family == "recorded noise" for chain in noisy])
    assert first == pytest.approx(0.5, abs=0.06)


def test_target_is_the_input_at_its_level():
    clean = 0.3 * speech()
    item = RandomDamage()(clean, 16000, generator(4))
    assert 20 * np.log10(np.sqrt(np.mean(item.target**2))) == pytest.approx(-26, abs=1e-3)
    assert np.corrcoef(item.target[0], clean[0])[0, 1] == pytest.approx(1, abs=1e-6)
    assert item.audio.shape == item.target.shape == clean.shape
    assert item.record
    as_it_is = RandomDamage(level_db=None)(clean, 16000, generator(4))
    assert np.array_equal(as_it_is.target, clean)


def test_silence_stays_silence_in_the_target():
    item = RandomDamage()(np.zeros((2, 16000), np.float32), 16000, generator())
    assert not item.target.any()
    assert np.isfinite(item.audio).all()


def test_an_item_is_the_same_in_any_process_and_order():
    damage = RandomDamage(without=())
    copy = pickle.loads(pickle.dumps(damage))  # as data workers get it
    clean = speech(seconds=1.0)
    there = {i: copy(clean, 16000, np.random.default_rng((7, i))) for i in (5, 3, 4)}
    for i in (3, 4, 5):
        item = damage(clean, 16000, np.random.default_rng((7, i)))
        assert np.array_equal(item.audio, there[i].audio)
        assert item.record == there[i].record


def test_range_of_severity_and_exclusions():
    damage = RandomDamage(severity=(0.8, 0.9), counts=(0, 0, 1), without=[Mp3])
    steps = [step for item in range(300) for step in damage.draw(generator(item))]
    assert len(steps) == 900
    assert all(0.8 <= step.severity <= 0.9 and step.kind is not Mp3 for step in steps)
    with pytest.raises(UserError, match="severity must be"):
        RandomDamage(severity=(0.9, 0.1))
    with pytest.raises(UserError, match="probabilities"):
        RandomDamage(counts=(1.0,) * 11)


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_one_distortion_of_a_family_by_its_weight(family):
    damage = RandomDamage(severity=(0.2, 0.4))
    drawn = [damage.draw(generator(item), family) for item in range(400)]
    assert all(len(chain) == 1 and 0.2 <= chain[0].severity <= 0.4 for chain in drawn)
    seen = Counter(chain[0].kind for chain in drawn)
    members = [(kind, w) for kind, w in _members(family) if kind.name() not in damage.missing]
    for kind, weight in members:
        assert seen[kind] / 400 == pytest.approx(weight / sum(w for _, w in members), abs=0.08)
    assert sum(seen[kind] for kind, _ in members) == 400
    (applied,) = damage(speech(seconds=0.5), 16000, generator(), family).record
    assert applied.family == family


def _members(family):
    return next(each.members for each in FAMILIES if each.name == family)


def test_a_family_that_is_not_there_is_told():
    with pytest.raises(UserError, match=r"'codec'.*codecs"):
        RandomDamage().draw(generator(), "codec")
    without = RandomDamage(without=[kind for kind, _ in _members("codecs")])
    with pytest.raises(UserError, match="'codecs' here"):
        without.draw(generator(), "codecs")


def test_what_cannot_be_had_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("audio_enh.distortions._coders.find_program", lambda name: None)
    damage = RandomDamage()
    assert set(damage.missing) == {"aac", "ac3", "eac3", "mp2", "speex"}
    drawn = {step.kind.name() for item in range(2000) for step in damage.draw(generator(item))}
    assert not drawn & set(damage.missing)
    assert "mp3" in drawn


def test_channels_of_a_room_are_drawn_and_not_averaged(tmp_path):
    response = np.zeros((8000, 2), np.float32)
    response[[100, 140], [0, 1]] = 1
    soundfile.write(tmp_path / "room.wav", response, 16000, "FLOAT")
    rooms = SoundFiles.below(str(tmp_path), rooms=True)
    seen = {tuple(np.flatnonzero(rooms.whole(generator(i), 16000))) for i in range(20)}
    assert seen == {(100,), (140,)}


def test_sounds_from_folders_and_from_packed_data(tmp_path):
    files = SoundFiles.below(str(SAMPLES / "noise"))
    assert len(files.files) == 5
    assert len(files.draw(generator(), 20 * 48000, 48000)) == 20 * 48000  # longer than any: repeated
    packed = PackedSounds(PackedAudio(files.files, 16000, tmp_path))
    for sounds in (files, packed):
        for rate in (16000, 44100):
            stretch = sounds.draw(generator(), rate, rate)
            assert stretch.shape == (rate,)
            assert stretch.dtype == np.float32
            assert np.abs(stretch).max() > 1e-3
            assert sounds.whole(generator(), rate).ndim == 1
    item = RandomDamage(Recordings(noise=packed))(speech(), 16000, generator(2))
    assert np.isfinite(item.audio).all()
    with pytest.raises(UserError, match="no folder"):
        SoundFiles.below(str(tmp_path / "nowhere"))
