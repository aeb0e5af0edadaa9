"""Float to integer and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from audio_enh.io.samples import count_nonfinite, quantize, replace_nonfinite
from audio_enh.io.wavpipe import decode_pcm, encode_pcm


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_every_integer_comes_back(bits):
    if bits < 24:
        values = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))
    else:
        values = np.random.default_rng(0).integers(-(2**23), 2**23, 200_000)
        values[:4] = [-(2**23), 2**23 - 1, 0, -1]
    integers, clipped = quantize((values / 2 ** (bits - 1)).astype(np.float32), bits)
    width = 8 * integers.dtype.itemsize
    np.testing.assert_array_equal(integers >> (width - bits), values)
    assert clipped == 0


@given(
    arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-4, 4, width=32, allow_subnormal=False)),
    st.sampled_from([8, 16, 24, 32]),
)
def test_error_is_half_a_step_and_beyond_full_scale_is_clipped_not_wrapped(audio, bits):
    integers, clipped = quantize(audio, bits)
    back = integers.astype(np.float64) / 2.0 ** (8 * integers.dtype.itemsize - 1)
    step = 2.0 ** (1 - bits)
    expected = np.clip(audio.astype(np.float64), -1, 1 - step)
    assert np.abs(back - expected).max() <= step / 2
    assert clipped == np.count_nonzero(np.abs(audio) > 1)


def test_rounding_has_no_bias():
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, 1_000_000).astype(np.float32)
    integers, _ = quantize(audio, 16)
    error = integers / 32768 - audio
    # Uniform error of a step's width: the mean of a million has a standard deviation of 0.0003 steps.
    assert abs(error.mean()) * 32768 < 0.0015
    assert error.std() * 32768 == pytest.approx(1 / np.sqrt(12), rel=0.01)


def test_full_scale_float_is_the_largest_integer_and_no_clipping():
    integers, clipped = quantize(np.array([1.0, -1.0], np.float32), 16)
    assert list(integers) == [32767, -32768]
    assert clipped == 0


def test_nonfinite_samples_are_counted_and_replaced():
    audio = np.array([[0.5, np.nan, np.inf, -np.inf]], np.float32)
    assert count_nonfinite(audio) == 3
    np.testing.assert_array_equal(replace_nonfinite(audio), [[0.5, 0, 1, -1]])
    finite = np.ones(3, np.float32)
    assert replace_nonfinite(finite) is finite


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_pipe_codec_agrees_with_libsndfile(subtype, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    audio = np.random.default_rng(1).uniform(-1, 1, 5000).astype(np.float32)
    path = tmp_path / "a.wav"
    data, _ = encode_pcm(audio, subtype)
    with soundfile.SoundFile(path, "w", 8000, 1, subtype=subtype) as file:
        file.buffer_write(audio.astype(np.float64).tobytes(), dtype="float64")
    theirs, _ = soundfile.read(path, dtype="float32")
    ours = decode_pcm(data, subtype)
    bits = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24}.get(subtype, 24)
    # libsndfile truncates where we round: a step and its own scale of 2**31 - 1 apart.
    assert np.abs(ours - theirs).max() <= 2.0 ** (1 - bits) * 1.01
    raw = path.read_bytes()[-len(data) :]
    np.testing.assert_array_equal(decode_pcm(raw, subtype), theirs)
