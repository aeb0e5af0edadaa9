"""What comes out of `Enhancer.enhance` is what went in, but enhanced: kind, rate, length, alignment."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch

from audio_enh import EnhanceOptions, Enhancer, UserError
from audio_enh.errors import CheckpointError
from audio_enh.inference.enhancer import wet_weight

RATES = [8000, 11025, 16000, 44100, 48000, 96000]


def tones(rate: int, seconds: float = 2.0, channels: int = 1) -> np.ndarray:
    """``(channels, samples)`` of tones below 3 kHz with a varying envelope, so that lag shows."""
    time = np.arange(round(rate * seconds)) / rate
    envelope = 0.6 + 0.4 * np.sin(2 * np.pi * 1.7 * time)
    rows = [
        sum(0.2 * np.sin(2 * np.pi * f * time + f + c) for f in (110.0, 997.0, 2900.0)) * envelope
        for c in range(channels)
    ]
    return np.stack(rows).astype(np.float32)


def lag(reference: np.ndarray, estimate: np.ndarray) -> int:
    correlation = scipy.signal.correlate(estimate, reference, method="fft")
    return int(np.argmax(correlation)) - (len(reference) - 1)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_an_identity_gives_the_signal_back_in_its_place(fir, rate: int, channels: int) -> None:
    audio = tones(rate, channels=channels)
    out = Enhancer(fir(delay=333)).enhance(audio, rate)
    inner = slice(rate // 20, -rate // 20)
    np.testing.assert_allclose(out[:, inner], audio[:, inner], atol=2e-5)
    assert [lag(a, b) for a, b in zip(audio, out, strict=True)] == [0] * channels


def test_at_the_models_rate_an_identity_is_exact(fir) -> None:
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((2, 50_001)).astype(np.float32)
    np.testing.assert_array_equal(Enhancer(fir()).enhance(audio, 16000), audio)


def test_a_filter_gives_the_filters_output(fir) -> None:
    rng = np.random.default_rng(0)
    audio = rng.standard_normal(40_000)
    taps = rng.standard_normal(64)
    out = Enhancer(fir(taps=taps.tolist()), block_seconds=0.3).enhance(audio, 16000)
    np.testing.assert_allclose(out, scipy.signal.lfilter(taps, 1, audio), atol=1e-4)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1000,), (1, 1000), (3, 1000)])
def test_numpy_comes_back_as_it_came(fir, kind: str, shape: tuple[int, ...]) -> None:
    audio = (np.random.default_rng(0).standard_normal(shape) * 0.1).astype(kind)
    out = Enhancer(fir()).enhance(audio, 16000)
    assert isinstance(out, np.ndarray)
    assert (out.dtype, out.shape) == (audio.dtype, shape)
    np.testing.assert_allclose(out, audio, rtol=1e-6)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1000,), (2, 1000)])
def test_torch_comes_back_as_it_came(fir, kind: torch.dtype, shape: tuple[int, ...]) -> None:
    audio = (0.1 * torch.randn(shape)).to(kind).requires_grad_()
    out = Enhancer(fir()).enhance(audio, 16000)
    assert isinstance(out, torch.Tensor)
    assert (out.dtype, out.shape, out.requires_grad) == (kind, audio.shape, False)
    torch.testing.assert_close(out, audio.detach())


def test_the_input_is_left_alone(fir) -> None:
    audio = tones(48000)
    before = audio.copy()
    Enhancer(fir(taps=(0.5, 0.5))).enhance(audio, 48000, strength=0.5)
    np.testing.assert_array_equal(audio, before)
    out = Enhancer(fir()).enhance(audio, 48000, strength=0.0)
    out[:] = 0
    np.testing.assert_array_equal(audio, before)


def test_a_view_with_strides_is_read_right(fir) -> None:
    interleaved = np.random.default_rng(0).standard_normal((5000, 2)).astype(np.float32)
    np.testing.assert_array_equal(Enhancer(fir()).enhance(interleaved.T, 16000), interleaved.T)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("samples", [0, 1, 2, 5, 47, 1000])
def test_short_signals_keep_their_length(fir, smoother, rate: int, samples: int) -> None:
    for model in (fir(), smoother()):
        for shape in [(samples,), (2, samples)]:
            out = Enhancer(model).enhance(np.full(shape, 0.1, np.float32), rate)
            assert out.shape == shape
            assert np.isfinite(out).all()


@pytest.mark.parametrize("rate", [11025, 16000, 48000])
@pytest.mark.parametrize("kind", ["causal", "windowed"])
def test_a_stream_gives_the_same_however_it_is_cut(fir, smoother, rate: int, kind: str) -> None:
    model = fir(taps=(0.5, 0.3, -0.2)) if kind == "causal" else smoother()
    enhancer = Enhancer(model, block_seconds=0.25, window_seconds=0.5, overlap_seconds=0.1)
    audio = tones(rate, channels=2)
    expected = enhancer.enhance(audio, rate, strength=0.7)
    stream = enhancer.stream(rate, 2, EnhanceOptions(strength=0.7))
    rng = np.random.default_rng(1)
    for block in (1_000_000, 4096, 1000, None):  # None: random; and a stream may be used again
        cuts = (
            np.sort(rng.integers(0, audio.shape[1], 60)) if block is None else range(0, audio.shape[1], block)
        )
        pieces = [stream.process(piece) for piece in np.split(audio, list(cuts), axis=1)]
        np.testing.assert_array_equal(np.concatenate([*pieces, stream.flush()], axis=1), expected)


def test_a_stream_of_single_samples(fir) -> None:
    audio = tones(16000, seconds=0.1)
    stream = Enhancer(fir(), block_seconds=0.01).stream(16000)
    pieces = [stream.process(audio[:, i : i + 1]) for i in range(audio.shape[1])]
    np.testing.assert_array_equal(np.concatenate([*pieces, stream.flush()], axis=1), audio)


def test_a_stream_holds_little_back(fir) -> None:
    stream = Enhancer(fir(), block_seconds=0.5).stream(48000, channels=1)
    given = received = 0
    for _ in range(200):
        given += 4800
        received += stream.process(np.zeros((1, 4800), np.float32)).shape[1]
        assert given - received < 48000  # half a second of step and the filters, not the whole signal
    assert given - received - stream.flush().shape[1] == 0


def test_a_callers_buffer_may_be_used_again(fir) -> None:
    audio = tones(16000)
    stream = Enhancer(fir(delay=900)).stream(16000, 1, EnhanceOptions(strength=0.5))
    buffer = np.empty((1, 1000), np.float32)
    out = []
    for start in range(0, 32000, 1000):
        buffer[:] = audio[:, start : start + 1000]
        out.append(stream.process(buffer))
    np.testing.assert_allclose(np.concatenate([*out, stream.flush()], axis=1), audio, atol=1e-7)


class TestMix:
    """Dry and wet are aligned, or a mix of the two would be a comb."""

    @pytest.mark.parametrize("rate", RATES)
    def test_strength_0_is_the_input_to_the_bit(self, fir, rate: int) -> None:
        audio = np.random.default_rng(0).standard_normal((2, 3000))
        np.testing.assert_array_equal(Enhancer(fir()).enhance(audio, rate, strength=0), audio)
        stream = Enhancer(fir()).stream(rate, 2, EnhanceOptions(strength=0))
        out = np.concatenate([stream.process(audio), stream.flush()], axis=1)
        np.testing.assert_array_equal(out, audio.astype(np.float32))

    @pytest.mark.parametrize("rate", RATES)
    def test_half_and_half_of_a_sign_flip_cancel(self, fir, rate: int) -> None:
        audio = tones(rate)
        out = Enhancer(fir(taps=(-1.0,), delay=411)).enhance(audio, rate, strength=0.5)
        assert np.abs(out[:, rate // 20 : -rate // 20]).max() < 2e-5

    @pytest.mark.parametrize("decibels", [0.0, 6.0, 12.0, 40.0])
    def test_nothing_is_attenuated_by_more(self, fir, decibels: float) -> None:
        """A model that lets nothing through leaves the input, down by exactly that much."""
        audio = np.random.default_rng(0).standard_normal((1, 48000)).astype(np.float32)
        out = Enhancer(fir(taps=(0.0,))).enhance(audio, 48000, max_attenuation=decibels)
        np.testing.assert_allclose(out, audio * 10 ** (-decibels / 20), rtol=1e-5)

    def test_attenuation_limit_keeps_what_the_model_keeps(self, fir) -> None:
        audio = tones(16000)
        out = Enhancer(fir()).enhance(audio, 16000, max_attenuation=10.0)
        np.testing.assert_allclose(out, audio, atol=1e-6)

    def test_the_stronger_limit_counts(self) -> None:
        assert wet_weight(1.0, None) == 1.0
        assert wet_weight(0.3, 20.0) == 0.3
        assert wet_weight(1.0, 20.0) == pytest.approx(0.9)
        assert wet_weight(1.0, 0.0) == 0.0
        assert wet_weight(1.0, float("inf")) == 1.0

    def test_what_the_model_cannot_hold_is_only_in_the_dry_part(self, fir) -> None:
        """A 12 kHz tone at 48 kHz: beyond a 16 kHz model's band."""
        tone = np.sin(2 * np.pi * 12000 * np.arange(48000) / 48000 + 0.5).astype(np.float32)
        inner = slice(4800, -4800)
        assert np.abs(Enhancer(fir()).enhance(tone, 48000)[inner]).max() < 1e-4
        mixed = Enhancer(fir()).enhance(tone, 48000, max_attenuation=20.0)
        np.testing.assert_allclose(mixed[inner], 0.1 * tone[inner], atol=1e-4)


class TestSilence:
    @pytest.mark.parametrize("rate", [8000, 16000, 44100])
    def test_digital_silence_stays_digital(self, fir, smoother, rate: int) -> None:
        silence = np.zeros((2, 2 * rate), np.float32)
        np.testing.assert_array_equal(Enhancer(fir(hum=1e-3)).enhance(silence, rate), 0)
        np.testing.assert_array_equal(Enhancer(smoother()).enhance(silence, rate), 0)

    def test_before_and_long_after_sound(self, fir) -> None:
        audio = np.zeros(48000, np.float32)
        audio[16000:24000] = tones(16000, 0.5)[0]
        audio[16000] = audio[23999] = 0.1  # neither end falls on a zero of the tones
        out = Enhancer(fir(hum=1e-3)).enhance(audio, 16000)
        np.testing.assert_array_equal(out[:16000], 0)
        np.testing.assert_allclose(out[16000:24000], audio[16000:24000] + 1e-3, atol=1e-6)
        np.testing.assert_allclose(out[24000:31000], 1e-3, rtol=1e-3)  # the model's own, for a while
        assert np.diff(out[24000:]).min() >= -1e-3 / 700  # then faded, not cut
        np.testing.assert_array_equal(out[32000:], 0)

    def test_a_short_gap_is_the_models(self, fir) -> None:
        audio = tones(16000)[0]
        audio[10000:16000] = 0
        out = Enhancer(fir(hum=0.5)).enhance(audio, 16000)
        np.testing.assert_allclose(out, audio + 0.5, atol=1e-6)

    def test_one_silent_channel_of_two(self, fir) -> None:
        audio = np.concatenate([tones(16000), np.zeros((1, 32000), np.float32)])
        out = Enhancer(fir(hum=1e-3)).enhance(audio, 16000)
        np.testing.assert_array_equal(out[1], 0)
        np.testing.assert_allclose(out[0], audio[0] + 1e-3, atol=1e-6)


def test_offset_and_overload_pass_through_unharmed(fir) -> None:
    clipped = np.clip(3 * tones(44100)[0], -1, 1) + 0.25
    out = Enhancer(fir()).enhance(clipped, 44100)
    assert np.isfinite(out).all()
    assert abs(out[4410:-4410].mean() - clipped[4410:-4410].mean()) < 1e-4


class TestMistakes:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_not_a_number_is_found(self, fir, value: float) -> None:
        audio = tones(16000, channels=2)
        audio[1, 20000:20005] = value
        message = rf"5 samples NaN or infinite, first {value} at 1\.250 s \(sample 20000, channel 2\)"
        with pytest.raises(UserError, match=message):
            Enhancer(fir()).enhance(audio, 16000)

    def test_not_a_number_in_a_stream_is_placed_absolutely(self, fir) -> None:
        stream = Enhancer(fir()).stream(16000)
        stream.process(np.zeros((1, 16000), np.float32))
        block = np.zeros((1, 100), np.float32)
        block[0, 7] = np.nan
        with pytest.raises(UserError, match=r"1 sample NaN or infinite, .* \(sample 16007, channel 1\)"):
            stream.process(block)

    def test_integers_are_refused_with_the_way_out(self, fir) -> None:
        for audio in (np.zeros(100, np.int16), torch.zeros(100, dtype=torch.int16)):
            with pytest.raises(UserError, match=r"int16.*audio / 32768"):
                Enhancer(fir()).enhance(audio, 16000)

    def test_samples_by_channels_is_called_transposed(self, fir) -> None:
        with pytest.raises(UserError, match="transposed"):
            Enhancer(fir()).enhance(np.zeros((16000, 2)), 16000)

    @pytest.mark.parametrize("audio", [[0.0, 1.0], np.zeros((1, 2, 3)), np.zeros(()), np.zeros((0, 100))])
    def test_what_is_no_audio(self, fir, audio) -> None:
        with pytest.raises(UserError):
            Enhancer(fir()).enhance(audio, 16000)

    @pytest.mark.parametrize("rate", [0, -16000, 44.1, 44, "48000", None])
    def test_what_is_no_rate(self, fir, rate) -> None:
        with pytest.raises(UserError, match="sample_rate"):
            Enhancer(fir()).enhance(np.zeros(100), rate)

    @pytest.mark.parametrize("option", [{"strength": -0.1}, {"strength": 1.1}, {"strength": np.nan}])
    def test_strength_out_of_range(self, fir, option) -> None:
        with pytest.raises(UserError, match="strength"):
            Enhancer(fir()).enhance(np.zeros(100), 16000, **option)

    @pytest.mark.parametrize("decibels", [-1.0, float("nan")])
    def test_attenuation_out_of_range(self, fir, decibels: float) -> None:
        with pytest.raises(UserError, match="max_attenuation"):
            Enhancer(fir()).enhance(np.zeros(100), 16000, max_attenuation=decibels)

    def test_a_diverged_model_is_not_written_out(self, fir) -> None:
        with pytest.raises(CheckpointError, match="NaN"):
            Enhancer(fir(taps=(float("nan"),))).enhance(tones(16000), 16000)

    def test_an_unknown_option_is_an_error(self, fir) -> None:
        with pytest.raises(TypeError):
            Enhancer(fir()).enhance(np.zeros(100), 16000, strenght=0.5)


def test_windows_bound_what_a_looking_ahead_model_sees(smoother) -> None:
    model = smoother()
    audio = tones(16000, seconds=30.0)
    Enhancer(model, window_seconds=4.0, overlap_seconds=0.5).enhance(audio, 16000)
    assert max(model.windows) == 64000


def test_more_channels_take_shorter_steps(fir) -> None:
    """So that eight channels need no more memory than one."""
    longest = []
    for channels in (1, 8):
        model = fir()
        Enhancer(model, block_seconds=1.0).enhance(
            np.full((channels, 48000), 0.1), 16000, channel_mode="independent"
        )
        longest.append(channels * max(model.steps))
    assert longest[1] <= longest[0] * 1.05


def test_threads_share_an_enhancer() -> None:
    """Four threads at once get what each would get alone, also from a model that draws noise."""
    from concurrent.futures import ThreadPoolExecutor

    import audio_enh

    rng = np.random.default_rng(0)
    signals = [0.1 * rng.standard_normal(rng.integers(8000, 24000)) for _ in range(8)]
    for name, options in (
        ("causal-unet-16k", {}),
        ("sgmse-lite-16k", {"steps": 2, "sampler": "sde", "seed": 3}),
    ):
        enhancer = audio_enh.Enhancer.from_pretrained(name, "cpu").to("cpu")

        def enhance(audio: np.ndarray, enhancer=enhancer, options=options) -> np.ndarray:
            return enhancer.enhance(audio, 16000, **options)

        alone = [enhance(signal) for signal in signals]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(enhance, signals))
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
