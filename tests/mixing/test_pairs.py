"""Paired files: same stretch on both sides, every pair once an epoch, shared out among processes."""

import numpy as np
import pytest
import soundfile
import torch

from audio_enh.data.augment import random_band_stop
from audio_enh.data.datasets import ForwardSampler, PairedData, PairedDataset
from audio_enh.errors import UserError
from audio_enh.sources.packed import PackedAudio, PairFolder

RATE = 16000


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Seven pairs; the noisy side is the clean one plus a constant, so that a stretch tells where it is from."""
    root = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for i in range(7):
        clean = 0.1 * rng.standard_normal(RATE // 2 if i == 0 else RATE * 2)
        for side, audio in (("clean", clean), ("noisy", clean + 0.25)):
            (root / side / "a").mkdir(parents=True, exist_ok=True)
            suffix = "wav" if side == "noisy" else "flac"
            soundfile.write(root / side / "a" / f"{i}.{suffix}", audio, RATE)
    return root


def dataset(root, **arguments):
    noisy, clean = PairFolder(str(root)).files()
    cache = root / "cache"
    return PairedDataset(
        PackedAudio(noisy, RATE, cache), PackedAudio(clean, RATE, cache), 1.0, seed=3, **arguments
    )


def test_both_sides_are_the_same_stretch(pairs):
    data = dataset(pairs)
    for i in range(14):
        item = data[i]
        length = RATE // 2 if not item.clean[-1] and not item.noisy[-1] else RATE
        torch.testing.assert_close(
            item.noisy[:length] - item.clean[:length], torch.full((length,), 0.25), atol=1e-4, rtol=0
        )
        assert int(item.item) == i


def test_every_pair_comes_once_an_epoch_in_a_new_order(pairs):
    data = dataset(pairs, crop=False)
    firsts = [[float(data[7 * epoch + i].clean[0]) for i in range(7)] for epoch in range(3)]
    assert sorted(firsts[0]) == sorted(firsts[1]) == sorted(firsts[2])
    assert len(set(firsts[0])) == 7
    assert not firsts[0] == firsts[1] == firsts[2]
    assert [float(data[i].clean[0]) for i in range(7)] == firsts[0]


def test_stretches_differ_between_epochs_and_repeat_by_number(pairs):
    data = dataset(pairs)
    starts = {float(data[i].clean[0]) for i in range(28)}
    assert len(starts) > 20
    assert torch.equal(data[9].noisy, data[9].noisy)


def test_short_files_are_repeated(pairs):
    """The first file is half as long as an item."""
    data = dataset(pairs, repeat=True, shuffle=False)
    short = data[0].clean
    assert short[: RATE // 2].std() > 0.05
    torch.testing.assert_close(short[RATE // 2 :], short[: RATE // 2])
    assert not dataset(pairs, shuffle=False)[0].clean[RATE // 2 :].any()
    torch.testing.assert_close(data[1].noisy, dataset(pairs, shuffle=False)[1].noisy)


def test_noise_comes_from_another_pair(tmp_path):
    """Noises are constants here, by which it can be told whose they are."""
    rng = np.random.default_rng(0)
    for i in range(5):
        clean = 0.1 * rng.standard_normal(2 * RATE)
        for side, audio in (("clean", clean), ("noisy", clean + 0.05 * (i + 1))):
            (tmp_path / side).mkdir(exist_ok=True)
            soundfile.write(tmp_path / side / f"{i}.wav", audio, RATE, "FLOAT")
    plain, mixed = dataset(tmp_path, shuffle=False), dataset(tmp_path, shuffle=False, remix=True)
    whose = []
    for i in range(40):
        torch.testing.assert_close(mixed[i].clean, plain[i].clean)
        noise = mixed[i].noisy - mixed[i].clean
        assert noise.std() < 1e-3
        assert torch.equal(mixed[i].noisy, mixed[i].noisy)
        whose.append(round(float(noise.mean()) / 0.05) - 1)
    assert set(whose) == set(range(5))
    assert sum(number == i % 5 for i, number in enumerate(whose)) < 20


def test_a_band_is_taken_out_of_both_sides():
    white = np.stack([np.random.default_rng(i).standard_normal(4 * RATE).astype(np.float32) for i in (0, 1)])
    shares = []
    for seed in range(40):
        left = random_band_stop(white, np.random.default_rng(seed), RATE, 0.2)
        ratio = np.abs(np.fft.rfft(left)) / np.abs(np.fft.rfft(white))
        gone = (ratio < 0.05).all(axis=0)
        assert (ratio < 0.05).any(axis=0).sum() - gone.sum() < 5
        frequency = np.fft.rfftfreq(4 * RATE, 1 / RATE)[gone]
        if len(frequency):
            assert np.ptp(np.flatnonzero(gone)) + 1 - gone.sum() < 5  # one band
            mel = np.log1p(frequency / 700) / np.log1p(RATE / 2 / 700)
            shares.append(np.ptp(mel))
        assert ratio.max() < 1.01
    assert max(shares) < 0.2
    assert max(shares) > 0.12


def test_processes_together_take_what_one_would():
    whole = list(ForwardSampler(12, lambda: 24))
    shares = [list(ForwardSampler(6, lambda: 24, rank, 2)) for rank in (0, 1)]
    batches = [shares[0][i : i + 3] + shares[1][i : i + 3] for i in (0, 3)]
    assert [sorted(batch) for batch in batches] == [whole[:6], whole[6:]]


def test_data_module_spreads_validation_over_the_files(pairs):
    folder = PairFolder(str(pairs))
    data = PairedData(
        folder, folder, seconds=0.5, valid_seconds=0.5, valid_items=3, workers=0, cache=str(pairs / "cache")
    )
    data.setup()
    batch = next(iter(data.val_dataloader()))
    assert batch.noisy.shape == (3, RATE // 2)
    assert [p.stem for p in data.valid_set.noisy.files] == ["0", "3", "6"]
    assert next(iter(data.train_dataloader())).clean.shape == (16, RATE // 2)


def test_pairs_need_their_partner_and_its_length(pairs, tmp_path):
    for side, samples in (("noisy", 100), ("clean", 90)):
        (tmp_path / side).mkdir()
        soundfile.write(tmp_path / side / "x.wav", np.full(samples, 0.1), RATE)
    with pytest.raises(UserError, match="equally long"):
        dataset(tmp_path)
    (tmp_path / "clean" / "x.wav").rename(tmp_path / "clean" / "y.wav")
    with pytest.raises(UserError, match="no file of its name"):
        PairFolder(str(tmp_path)).files()
    (tmp_path / "m.csv").write_text("path,split\na.wav,train\n")
    with pytest.raises(UserError, match="clean"):
        PairFolder(str(tmp_path / "m.csv")).files()
