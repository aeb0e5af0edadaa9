"""Paired files: same stretch on both sides, every pair once an epoch, shared out among processes."""

import numpy as np
import pytest
import soundfile
import torch

from audio_enh.data.datasets import ForwardSampler, PairedData, PairedDataset
from audio_enh.data.packed import PackedAudio, PairFolder
from audio_enh.errors import UserError

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
        soundfile.write(tmp_path / side / "x.wav", np.zeros(samples), RATE)
    with pytest.raises(UserError, match="equally long"):
        dataset(tmp_path)
    (tmp_path / "clean" / "x.wav").rename(tmp_path / "clean" / "y.wav")
    with pytest.raises(UserError, match="no file of its name"):
        PairFolder(str(tmp_path)).files()
    (tmp_path / "m.csv").write_text("path,split\na.wav,train\n")
    with pytest.raises(UserError, match="clean"):
        PairFolder(str(tmp_path / "m.csv")).files()
