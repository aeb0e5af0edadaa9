"""Many streams in one call: each as if it were alone."""

import numpy as np
import pytest

from audio_enh.errors import UserError
from audio_enh.streaming import BatchedStream, LiveStream
from audio_enh.streaming.export import export_onnx
from tests.streaming.models import small_unet


def noise(rows: int, samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((rows, samples))).astype(np.float32)


def alone(model, audio: np.ndarray, rate: int, block: int, **options) -> np.ndarray:
    stream = LiveStream(model, rate, block_length=block, **options)
    blocks = [audio[None, start : start + block] for start in range(0, len(audio), block)]
    return np.concatenate([stream.process(each)[0] for each in blocks])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("batched") / "model.onnx"
    export_onnx(small_unet(), path, name="small", weights_sha256="", check_seconds=1)
    return path


@pytest.mark.parametrize("kind", ["torch", "onnx"])
@pytest.mark.parametrize("rate", [16000, 48000])
def test_streams_that_come_and_go_sound_as_if_alone(kind, rate, exported):
    model = exported if kind == "onnx" else small_unet()
    block = 32 * rate // 16000 * 5
    calls = BatchedStream(4, model, rate, block_length=block)
    audio = noise(6, 60 * block)
    # Who is there from block to block; the fourth takes the second's place.
    plan = [(0, 0, 60), (1, 0, 25), (2, 10, 50), (3, 30, 60), (4, 35, 60)]
    rows, heard = {}, {each[0]: [] for each in plan}
    for turn in range(60):
        for who, begin, end in plan:
            if turn == end:
                calls.leave(rows.pop(who))
            if turn == begin:
                rows[who] = calls.join()
        assert calls.joined == len(rows)
        blocks = noise(4, block, seed=turn)  # rows that are free may hold anything
        for who, row in rows.items():
            blocks[row] = audio[who, turn * block : (turn + 1) * block]
        out = calls.process(blocks)
        for who, row in rows.items():
            heard[who].append(out[row])
    for who, begin, end in plan:
        expected = alone(model, audio[who, begin * block : end * block], rate, block)
        np.testing.assert_allclose(np.concatenate(heard[who]), expected, atol=2e-6)


def test_rows_are_handed_out_once():
    calls = BatchedStream(2, small_unet())
    first, second = calls.join(), calls.join()
    assert {first, second} == {0, 1}
    with pytest.raises(UserError, match="all 2 streams are taken"):
        calls.join()
    calls.leave(first)
    with pytest.raises(ValueError, match="not taken"):
        calls.leave(first)
    with pytest.raises(ValueError, match="not taken"):
        calls.leave(7)
    assert calls.join() == first
    with pytest.raises(UserError, match="0 streams"):
        BatchedStream(0, small_unet())


def test_one_bad_stream_leaves_the_others_alone():
    model, block = small_unet(), 160
    calls = BatchedStream(2, model, block_length=block)
    calls.join(), calls.join()
    audio = noise(2, 40 * block)
    broken = audio.copy()
    broken[1, 3000:3200] = 3e38
    broken[1, 4000] = np.nan
    out = np.concatenate(
        [calls.process(broken[:, i : i + block]) for i in range(0, audio.shape[1], block)], axis=1
    )
    np.testing.assert_allclose(out[0], alone(model, audio[0], 16000, block), atol=2e-6)
    assert np.isfinite(out).all()
    assert calls.stream.invalid_samples == 1
    assert calls.stream.model_failures > 0
