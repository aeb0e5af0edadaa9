"""What is packed is what the files hold: levels, channels, rooms; what cannot be used is named."""

import pickle

import numpy as np
import pytest
import soundfile
import soxr

from audio_enh.cli import run
from audio_enh.data.datasets import MixtureData
from audio_enh.data.mixing import MixConfig
from audio_enh.errors import AudioFileError, UserError
from audio_enh.sources.packed import AudioFolder, PackedAudio, PairFolder, pack_pairs
from audio_enh.sources.packing import stored_packs

RATE = 16000


def speech(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """Noise whose level comes and goes, its peak at full scale."""
    rng = np.random.default_rng(seed)
    audio = rng.standard_normal(round(seconds * RATE)) * np.sin(np.arange(round(seconds * RATE)) / 2000) ** 4
    return audio / np.abs(audio).max()


def write(path, audio, rate=RATE, subtype="FLOAT"):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype)
    return path


def pack(*files, cache, **options):
    return PackedAudio(list(files), RATE, cache, **options)


def error_db(found: np.ndarray, expected: np.ndarray) -> float:
    return 10 * np.log10(np.sum((found - expected) ** 2) / np.sum(expected**2))


@pytest.mark.parametrize("gain", [4.0, 1.0, 1e-4], ids=["above full scale", "full scale", "-80 dB"])
def test_level_is_kept(gain, tmp_path):
    file = write(tmp_path / "a.wav", gain * speech(), subtype="FLOAT")
    expected, _ = soundfile.read(file)
    packed = pack(file, write(tmp_path / "b.wav", speech()), cache=tmp_path / "cache")
    assert error_db(packed.read(0), expected) < -80


def test_16_bit_files_are_kept_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    whole = rng.integers(-32768, 32768, 9999).astype(np.int16)
    quiet = rng.integers(-20, 20, 5000).astype(np.int16)
    whole[:2] = -32768, 32767
    files = [write(tmp_path / f"{i}.flac", audio, subtype="PCM_16") for i, audio in enumerate((whole, quiet))]
    packed = pack(*files, cache=tmp_path / "cache")
    for i, audio in enumerate((whole, quiet)):
        assert np.array_equal(packed.read(i), audio / 32768)
        assert np.array_equal(packed.read(i, 4090, 20), audio[4090:4110] / 32768)


@pytest.mark.parametrize("samples", [44100, 44101, 44102, 100003])
def test_other_rates_are_resampled_as_in_one_piece(samples, tmp_path):
    file = write(tmp_path / "a.wav", 0.5 * np.random.default_rng(0).standard_normal(samples), 44100)
    expected = soxr.resample(soundfile.read(file)[0], 44100, RATE)
    packed = pack(file, cache=tmp_path)
    assert packed.lengths[0] == len(expected)
    assert error_db(packed.read(0), expected) < -80


def test_channels_that_cancel_out_are_not_mixed(tmp_path, caplog):
    audio = speech()
    opposite = write(tmp_path / "opposite.wav", np.stack([0.5 * audio, -0.4 * audio], 1))
    silence = write(tmp_path / "one_side.wav", np.stack([audio, 0 * audio], 1))
    packed = pack(opposite, silence, cache=tmp_path / "cache", what="speech")
    assert error_db(packed.read(0), 0.5 * audio) < -80
    assert error_db(packed.read(1), 0.5 * audio) < -80
    assert "cancel out" in caplog.text
    assert "opposite.wav" in caplog.text
    assert "one_side.wav" not in caplog.text


def test_hidden_files_are_skipped_as_in_other_commands(tmp_path):
    for name in ("a.wav", "._a.wav", ".ipynb_checkpoints/a-checkpoint.wav", "b/c.FLAC"):
        write(tmp_path / name, speech(), subtype="PCM_16")
    found = AudioFolder(str(tmp_path)).files()
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.wav", "b/c.FLAC"]


def test_manifest_with_a_byte_order_mark(tmp_path):
    (tmp_path / "m.csv").write_text("path,kind\na.wav,speech\n", encoding="utf-8-sig")
    assert AudioFolder(str(tmp_path / "m.csv"), {"kind": "speech"}).files() == [tmp_path / "a.wav"]


@pytest.fixture
def mixed(tmp_path):
    """A good file and one of every bad kind."""
    write(tmp_path / "in" / "good.wav", speech())
    (tmp_path / "in" / "broken.wav").write_bytes(b"RIFF")
    write(tmp_path / "in" / "empty.wav", np.zeros(0))
    write(tmp_path / "in" / "nan.wav", np.full(100, np.nan))
    return sorted((tmp_path / "in").iterdir())


def test_unusable_files_are_named_at_once(mixed, tmp_path, caplog):
    with pytest.raises(AudioFileError, match="3 of 4 speech files cannot be used"):
        pack(*mixed, cache=tmp_path / "cache", what="speech")
    assert all(name in caplog.text for name in ("broken.wav", "empty.wav", "nan.wav"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_unusable_files_can_be_left_out(mixed, tmp_path, caplog):
    gone = tmp_path / "in" / "gone.wav"
    for _ in range(2):  # from the files, then from the cache
        packed = pack(*mixed, gone, cache=tmp_path / "cache", skip_broken=True)
        assert [file.name for file in packed.files] == ["good.wav"]
        assert packed.seconds == 1
        assert "4 of 5 audio files cannot be used and are left out" in caplog.text
        caplog.clear()
    with pytest.raises(AudioFileError, match="1 of 5 audio files are missing"):
        pack(*mixed, gone, cache=tmp_path / "cache")


def test_pairs_lose_both_sides(tmp_path):
    for i in range(4):
        for side in ("noisy", "clean"):
            write(tmp_path / side / f"{i}.wav", speech(seed=i))
    (tmp_path / "noisy" / "0.wav").write_bytes(b"RIFF")
    (tmp_path / "clean" / "2.wav").write_bytes(b"RIFF")
    write(tmp_path / "clean" / "3.wav", speech(0.5))
    sides = pack_pairs(*PairFolder(str(tmp_path)).files(), RATE, tmp_path / "cache", skip_broken=True)
    assert [[file.name for file in side.files] for side in sides] == [["1.wav"], ["1.wav"]]
    assert np.array_equal(*(side.read(0) for side in sides))


def test_silence_is_no_corpus(tmp_path, caplog):
    silent = [write(tmp_path / f"{i}.wav", np.zeros(100)) for i in range(2)]
    with pytest.raises(UserError, match="all 2 noise files are silent"):
        pack(*silent, cache=tmp_path / "cache", what="noise")
    pack(*silent, write(tmp_path / "c.wav", speech()), cache=tmp_path / "cache")
    assert "2 of 3 audio files are silent" in caplog.text


def test_lower_rates_are_said(tmp_path, caplog):
    file = write(tmp_path / "a.wav", speech(), 8000)
    pack(file, cache=tmp_path / "cache")
    assert "1 of 1 audio files have less than 16000 Hz and nothing above 4 kHz" in caplog.text


def test_a_pickle_holds_no_audio(tmp_path):
    """What a data worker gets that is not forked."""
    for kind in ("speech", "noise"):
        write(tmp_path / kind / "a.wav", speech(20))
    folders = [AudioFolder(str(tmp_path / kind)) for kind in ("speech", "noise") * 2]
    data = MixtureData(*folders, cache=str(tmp_path / "cache"), mix=MixConfig(), workers=0)
    data.setup()
    content = pickle.dumps(data.train_set)
    assert len(content) < 5000
    assert np.array_equal(pickle.loads(content)[3].noisy, data.train_set[3].noisy)


def test_packs_are_listed_with_what_is_wrong(tmp_path, mixed):
    cache = tmp_path / "cache"
    file = write(tmp_path / "a.wav", speech(36))
    pack(file, cache=cache)
    old = pack(write(tmp_path / "b.wav", speech()), cache=cache)
    old.files[0].unlink()
    for name in ("0123456789abcdef.npy", "0123456789abcdef.json", "README"):
        (cache / name).write_text("")
    (cache / ".fedcba9876543210-killed").mkdir()
    problems = {each.problem: each for each in stored_packs(cache)}
    assert len(problems) == 4
    assert problems[None].hours == pytest.approx(0.01)
    assert problems[None].example == str(file)
    assert "1 of its files are gone or changed" in problems
    for each in problems.values():
        if each.problem:
            each.remove()
    assert {path.suffix for path in cache.iterdir()} == {".i16", ".npz", ""}
    assert (cache / "README").exists()


def room(channels: int = 1, rt60: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(channels)
    decay = 10 ** (-3 * np.arange(RATE // 2) / RATE / rt60)
    response = 0.05 * rng.standard_normal((channels, RATE // 2)) * decay
    response[np.arange(channels), 40 + 5 * np.arange(channels)] = 1
    return response.T


def test_channels_of_a_room_are_never_averaged(tmp_path):
    response = room(3)
    files = [write(tmp_path / "a.wav", response), write(tmp_path / "b.wav", room(1))]
    packed = pack(*files, cache=tmp_path / "cache", rooms=True)
    rng = np.random.default_rng(0)
    drawn = [packed.draw_whole(rng) for _ in range(300)]
    seen = {(index, int(np.argmax(audio))) for index, audio in drawn}
    assert seen == {(0, 40), (0, 45), (0, 50), (1, 40)}
    # A room of many channels is no likelier than one of a single channel.
    assert 0.4 < np.mean([index for index, _ in drawn]) < 0.6
    for index, audio in drawn[:20]:
        if index == 0:
            channel = (int(np.argmax(audio)) - 40) // 5
            assert error_db(audio, response[:, channel]) < -65  # of the peak's -100


@pytest.mark.parametrize(
    "noise",
    [
        lambda rng: rng.standard_normal(2 * RATE),
        lambda rng: np.sin(np.arange(2 * RATE) / 20),
        lambda rng: np.repeat(rng.standard_normal(RATE // 50), 100),
        lambda rng: room(rt60=0.8)[::-1, 0],
        lambda rng: np.concatenate([room()[:, 0]] * 4),
        lambda rng: np.zeros(RATE),
    ],
    ids=["white", "tone", "crackling", "backwards", "four claps", "silence"],
)
def test_what_is_no_room_is_refused_by_name(noise, tmp_path):
    good = write(tmp_path / "a.wav", room())
    bad = write(tmp_path / "isotropic.wav", noise(np.random.default_rng(0)))
    with pytest.raises(AudioFileError, match=r"isotropic\.wav.*no room response"):
        pack(good, bad, cache=tmp_path / "cache", rooms=True)
    assert len(pack(good, bad, cache=tmp_path / "cache", rooms=True, skip_broken=True)) == 1


def test_the_cache_is_listed_and_cleaned_by_a_command(tmp_path, capsys):
    cache = tmp_path / "cache"
    pack(write(tmp_path / "keep.wav", speech()), cache=cache)
    changed = write(tmp_path / "changed.wav", speech())
    pack(changed, cache=cache)
    write(changed, speech(0.5))
    for suffix in ("npy", "json"):
        (cache / f"0123456789abcdef.{suffix}").write_text("")

    def command(*options):
        code = run(["data", "cache", "--cache", str(cache), *options])
        return code, capsys.readouterr().out.splitlines()

    code, lines = command()
    assert code == 0
    assert len(lines) == 3
    assert sum("in order; 1 files, 0.00 h at 16000 Hz" in line and "keep.wav" in line for line in lines) == 1
    assert sum("of an earlier version" in line for line in lines) == 1
    assert len(list(cache.iterdir())) == 6
    code, lines = command("--remove", "unused")
    assert (code, sum(line.startswith("removed") for line in lines)) == (0, 2)
    assert len(list(cache.iterdir())) == 2
    assert command("--remove", "all")[0] == 0
    assert list(cache.iterdir()) == []
    assert run(["data", "cache", "--cache", str(tmp_path / "nowhere")]) == 2
