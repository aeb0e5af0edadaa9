"""The live engine: as many samples out as in, exactly as late as it says, equal to enhancement offline."""

import time
import tracemalloc

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

import audio_enh
from audio_enh.errors import UserError
from audio_enh.inference.enhancer import Enhancer
from audio_enh.io import read_audio
from audio_enh.streaming import LiveStream
from audio_enh.streaming.torch_backend import TorchBackend
from tests.inference.conftest import FirModel
from tests.streaming.models import small_demucs, small_unet

SAMPLE = "audio_enh/samples/noisy/rain.flac"


def noise(channels: int, samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, samples))).astype(np.float32)


def run(stream: LiveStream, audio: np.ndarray, sizes: list[int]) -> np.ndarray:
    """The aligned output for ``audio`` cut into blocks of the given sizes, round and round."""
    pieces, start, turn = [], 0, 0
    while start < audio.shape[1]:
        block = audio[:, start : start + sizes[turn % len(sizes)]]
        pieces.append(stream.process(block))
        assert pieces[-1].shape == block.shape
        start, turn = start + block.shape[1], turn + 1
    pieces.append(stream.flush())
    assert pieces[-1].shape[1] == stream.latency_samples
    return np.concatenate(pieces, axis=1)[:, stream.latency_samples :]


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=6),
    channels=st.integers(1, 3),
    samples=st.integers(0, 1500),
    strength=st.sampled_from([1.0, 0.6]),
)
def test_equals_offline_for_every_cut(sizes, channels, samples, strength):
    model = small_unet()
    audio = noise(channels, samples, seed=samples)
    stream = LiveStream(model, channels=channels, strength=strength)
    expected = Enhancer(model).enhance(audio, 16000, strength=strength)
    for _ in range(2):  # on reuse too
        np.testing.assert_allclose(run(stream, audio, sizes), expected, atol=1e-6)


@pytest.mark.parametrize("make", [small_unet, small_demucs])
def test_equals_offline_enhancement_of_the_signal_followed_by_silence(make):
    model = make()
    audio = noise(1, 4001)
    stream = LiveStream(model)
    expected = Enhancer(model).enhance(np.pad(audio, ((0, 0), (0, stream.latency_samples + 300))), 16000)
    np.testing.assert_allclose(run(stream, audio, [77]), expected[:, :4001], atol=2e-6)


@settings(max_examples=30, deadline=None)
@given(
    rate=st.sampled_from([8000, 22050, 44100, 48000, 96000, 11025]),
    sizes=st.lists(st.integers(1, 900), min_size=1, max_size=6),
    hop=st.sampled_from([1, 48, 160]),
    delay=st.sampled_from([0, 37, 200]),
)
def test_a_model_that_only_delays_gives_the_input_back_exactly_as_late_as_stated(rate, sizes, hop, delay):
    stream = LiveStream(FirModel(delay=delay, hop_length=hop), rate, strength=1.0)
    assert stream.latency_samples == pytest.approx(sum(stream.latency), abs=1e-6)
    # Below what the filters let through: what comes back is what went in, or the delay is not what it says.
    low = np.sin(2 * np.pi * 0.02 * min(rate, 16000) / rate * np.arange(3000, dtype=np.float64)) * np.hanning(
        3000
    )
    audio = low[None].astype(np.float32)
    np.testing.assert_allclose(run(stream, audio, sizes), audio, atol=2e-3)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([16000, 44100, 48000, 8000]),
    block=st.integers(1, 700),
    hop=st.sampled_from([48, 160]),
)
def test_a_promised_block_length_needs_less_stock_and_never_runs_dry(rate, block, hop):
    model = FirModel(hop_length=hop)
    free, promised = LiveStream(model, rate), LiveStream(model, rate, block_length=block)
    assert promised.latency_samples <= free.latency_samples + 1
    audio = noise(1, 10 * block)
    np.testing.assert_allclose(run(promised, audio, [block, 3 * block]), run(free, audio, [block]), atol=1e-5)


def test_whole_hops_need_no_stock():
    model = FirModel(hop_length=160, delay=160)
    assert LiveStream(model, 48000, block_length=480).latency == (72, 480, 0, 72)
    assert LiveStream(model, 48000).latency == (72, 480, 477, 72)
    with pytest.raises(UserError, match="block_length 480"):
        LiveStream(model, 48000, block_length=480).process(np.zeros((1, 100), np.float32))


@pytest.mark.parametrize("rate", [44100, 48000])
def test_at_other_rates_speech_agrees_with_files_to_50_db(rate):
    audio, sample_rate = read_audio(SAMPLE)
    audio = soxr.resample(audio[0, : 3 * sample_rate], sample_rate, rate)[None].astype(np.float32)
    enhancer = audio_enh.load(device="cpu")
    stream = LiveStream(enhancer.model, rate)
    # The same places for the model's hops: see the class.
    late = round(stream.latency.resampler_in)
    expected = enhancer.enhance(np.pad(audio, ((0, 0), (late, 0))), rate)[:, late:]
    error = run(stream, audio, [441]) - expected
    assert 10 * np.log10(np.sum(expected**2) / np.sum(error**2)) > 50


@pytest.mark.parametrize("rate", [16000, 48000])
def test_strength_0_is_the_input_to_the_bit(rate):
    audio = noise(2, 5000)
    stream = LiveStream(small_unet(), rate, 2, strength=0)
    np.testing.assert_array_equal(run(stream, audio, [480]), audio)


def test_dry_and_wet_do_not_comb():
    # Half dry, half wet through a model that changes nothing: any misalignment would dig notches.
    stream = LiveStream(FirModel(), 48000, strength=0.5)
    audio = np.full((1, 4000), 1e-9, np.float32)  # no digital silence, which stays silent
    audio[0, 1000] = 1
    out = run(stream, audio, [480])[0]
    response = np.abs(np.fft.rfft(out))
    frequency = np.fft.rfftfreq(len(out), 1 / 48000)
    np.testing.assert_allclose(response[frequency < 7000], 1, atol=0.02)


def test_a_change_of_strength_is_faded():
    stream = LiveStream(FirModel(taps=(0.0,)), 16000)
    block = np.ones((1, 160), np.float32)
    for _ in range(4):
        stream.process(block)
    stream.strength = 0.25
    out = np.concatenate([stream.process(block) for _ in range(6)], axis=1)[0]
    assert np.abs(np.diff(out)).max() < 1.1 / 320
    np.testing.assert_allclose(out[-160:], 0.75, atol=1e-6)
    stream.max_attenuation = 6.0
    stream.strength = 1.0
    out = np.concatenate([stream.process(block) for _ in range(6)], axis=1)[0]
    np.testing.assert_allclose(out[-160:], 10 ** (-6 / 20), atol=1e-6)
    with pytest.raises(UserError, match="strength"):
        stream.strength = 1.5
    with pytest.raises(UserError, match="max_attenuation"):
        stream.max_attenuation = -1


def test_without_the_model_the_input_comes_through_aligned_and_without_clicks():
    # The model turns the sign, so that no weight of the two but 0 and 1 looks right.
    model = FirModel(taps=(-1.0,), delay=160, hop_length=160)
    stream = LiveStream(model, 16000)
    seconds = np.arange(16000) / 16000
    audio = np.sin(2 * np.pi * 100 * seconds, dtype=np.float64)[None].astype(np.float32)
    blocks = np.split(audio, 100, axis=1)
    calls, step = [], stream.backend.step
    stream.backend.step = lambda hop: calls.append(1) or step(hop)
    out = [stream.process(block, run_model=not 30 <= i < 60) for i, block in enumerate(blocks)]
    assert len(calls) == 100 - 29  # one more, to fade out of
    out = np.concatenate([*out, stream.flush()], axis=1)[:, stream.latency_samples :]
    np.testing.assert_allclose(out[:, :4480], -audio[:, :4480], atol=1e-5)
    np.testing.assert_allclose(out[:, 5120:9280], audio[:, 5120:9280], atol=1e-5)
    np.testing.assert_allclose(out[:, 10240:], -audio[:, 10240:], atol=1e-5)
    assert np.abs(np.diff(out[0])).max() < 2 * np.abs(np.diff(audio[0])).max()


def test_after_a_pause_the_model_starts_anew():
    model = small_unet()
    audio = noise(1, 6400)
    stream = LiveStream(model)
    for i in range(0, 3200, 32):
        stream.process(audio[:, i : i + 32], run_model=i < 1600)
    resumed = np.concatenate([stream.process(audio[:, i : i + 32]) for i in range(3200, 6400, 32)], axis=1)
    fresh = LiveStream(model)
    expected = np.concatenate([fresh.process(audio[:, i : i + 32]) for i in range(3200, 6400, 32)], axis=1)
    np.testing.assert_allclose(resumed[:, 320:], expected[:, 320:], atol=1e-6)


def test_nan_is_counted_and_not_spread():
    audio = noise(2, 4000)
    broken = audio.copy()
    broken[0, 1000], broken[0, 1001] = np.nan, np.inf
    audio[0, 1000:1002] = 0
    stream = LiveStream(small_unet(), 44100, 2)
    out = run(stream, broken, [333])
    assert stream.invalid_samples == 2
    np.testing.assert_array_equal(out, run(stream, audio, [333]))


def test_a_model_that_fails_is_started_anew():
    stream = LiveStream(small_unet(), channels=2)
    block = noise(2, 32)
    stream.process(block)
    huge = block.copy()
    huge[0] = 3e38  # finite, but not its square
    for _ in range(3):
        stream.process(huge)
    assert stream.model_failures > 0
    out = np.concatenate([stream.process(noise(2, 32, seed=i)) for i in range(40)], axis=1)
    assert np.isfinite(out).all()
    assert np.abs(out[0, -640:]).max() > 0


def test_shared_channels_hear_their_mean():
    model = small_unet()
    audio = noise(2, 2000)
    out = run(LiveStream(model, channels=2, channel_mode="shared"), audio, [100])
    expected = Enhancer(model).enhance(audio.mean(axis=0), 16000)
    np.testing.assert_allclose(out, np.stack([expected, expected]), atol=1e-6)


def test_silence_stays_silence():
    stream = LiveStream(FirModel(hum=0.01))
    assert not run(stream, np.zeros((1, 16000), np.float32), [160]).any()


def test_long_blocks_do_not_make_the_buffers_grow():
    stream = LiveStream(FirModel(), 48000)
    buffers = [stream._dry, stream._pending, stream._enhanced]
    before = [buffer._buffer.nbytes for buffer in buffers]
    audio = noise(1, 200_000)
    out = run(stream, audio, [200_000])
    assert [buffer._buffer.nbytes for buffer in buffers] == before
    np.testing.assert_allclose(out, run(stream, audio, [480]), atol=1e-5)


def test_blocks_longer_than_a_piece_keep_the_promise():
    audio = noise(1, 48000)
    expected = run(LiveStream(FirModel(hop_length=160), 48000), audio, [480])
    for block in (480, 4800, 16000):
        stream = LiveStream(FirModel(hop_length=160), 48000, block_length=block)
        np.testing.assert_allclose(run(stream, audio, [48000]), expected, atol=1e-5)


def test_a_long_run_keeps_nothing():
    stream = LiveStream(FirModel(hop_length=160), 48000, block_length=480)
    block = noise(1, 480)

    def held_after(blocks: int) -> int:
        for _ in range(blocks):
            stream.process(block)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = held_after(100)
        tracemalloc.reset_peak()
        after = held_after(1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert after - before < 4_000
    assert peak - before < 100_000  # of one call: a few arrays the size of a block


def test_wrong_arguments_are_named():
    model = FirModel()
    with pytest.raises(UserError, match="channel_mode"):
        LiveStream(model, channel_mode="mid-side")
    for rate in (48, 44100.5):
        with pytest.raises(UserError, match=f"sample_rate must be a whole number.*not {rate}"):
            LiveStream(model, rate)
    assert LiveStream(model, 48000.0).latency_samples == LiveStream(model, 48000).latency_samples
    with pytest.raises(UserError, match="channels"):
        LiveStream(model, channels=0)
    with pytest.raises(UserError, match="streams"):
        LiveStream(TorchBackend(model, 1), channels=2)
    stream = LiveStream(model, channels=2)
    for wrong in (np.zeros((1, 10), np.float32), np.zeros(10, np.float32), np.zeros((2, 10), np.int16)):
        with pytest.raises(UserError, match="floats of shape"):
            stream.process(wrong)


def test_one_channel_may_come_without_its_axis():
    block = np.random.default_rng(0).standard_normal(4800).astype(np.float32)
    row = LiveStream(FirModel(hop_length=160, delay=160), 48000).process(block[None])
    plain = LiveStream(FirModel(hop_length=160, delay=160), 48000).process(block)
    assert plain.shape == (4800,)
    np.testing.assert_array_equal(plain, row[0])
    assert LiveStream(FirModel(hop_length=160, delay=160)).process([0.0] * 160).shape == (160,)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_decaying_tail_costs_no_more_than_sound(backend):
    """Numbers below 1e-38 take the slow path of the processor, in the input and in the model's states."""
    rng = np.random.default_rng(0)
    sound = (0.1 * rng.standard_normal((1, 160))).astype(np.float32)
    tail = rng.integers(1, 1 << 22, (1, 160), dtype=np.uint32).view(
        np.float32
    )  # by their bits: 1e-45 to 6e-39
    stream = LiveStream("causal-unet-16k", backend=backend, block_length=160)

    def cost(block: np.ndarray) -> float:
        for _ in range(200):  # the states die away
            stream.process(block)
        times = []
        for _ in range(200):
            began = time.perf_counter()
            stream.process(block)
            times.append(time.perf_counter() - began)
        return float(np.quantile(times, 0.1))  # what other programs do shows in the slow ones

    assert cost(tail) < 1.4 * cost(sound)
