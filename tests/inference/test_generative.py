"""Generative models on recordings: no seams, equal channels, levels, draws, progress."""

from __future__ import annotations

import copy
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from audio_enh.diffusion.noise import mix
from audio_enh.errors import UserError
from audio_enh.inference.draws import GenerativeRunner
from audio_enh.inference.enhancer import Enhancer
from audio_enh.inference.leveller import Leveller
from audio_enh.models.diffusion import DiffusionEnhancer
from audio_enh.options import EnhanceOptions, SamplingOptions

RATE = 16000


@pytest.fixture(scope="module")
def model() -> DiffusionEnhancer:
    """A random network that sees no further than its convolutions, and a process with noise at every step."""
    torch.manual_seed(0)
    built = DiffusionEnhancer(
        hop_length=256,
        level="rms",
        process={"name": "ouve"},
        network={"name": "lite", "channels": (8, 8, 8), "rnn_hidden": 4, "rnn_layers": 1},
        prediction="data",
        sampler={"name": "pc", "steps": 2, "corrector": "none"},
    )
    with torch.no_grad():
        built.network.bottleneck.up.weight.zero_()
        built.network.bottleneck.up.bias.zero_()
    return built.eval()


def recording(seconds: float, channels: int = 1, seed: int = 0) -> Tensor:
    """Noise whose level wanders over 40 dB."""
    generator = torch.Generator().manual_seed(seed)
    samples = round(seconds * RATE)
    swell = 10 ** (-1 + torch.sin(torch.arange(samples) / RATE * 0.2))
    return 0.1 * swell * torch.randn(channels, samples, generator=generator)


@pytest.mark.parametrize(("seconds", "window"), [(40, 3), pytest.param(180, 7, marks=pytest.mark.slow)])
def test_a_long_recording_has_no_seams(model: DiffusionEnhancer, seconds: float, window: float) -> None:
    """Windows give what one window over all of it gives: same noise, same level, same frames."""
    audio = recording(seconds)
    whole = Enhancer(model, window_seconds=seconds + 20).enhance(audio, RATE)
    cut = Enhancer(model, window_seconds=window, overlap_seconds=0.5).enhance(audio, RATE)
    assert whole.std() > 1e-3
    # At the end of the recording the two are filled up with silence of different lengths.
    assert (cut - whole)[:, : -RATE // 2].abs().max() < 1e-4 * whole.abs().max()
    # And it is the noise: by another seed the output is another one.
    other = Enhancer(model).enhance(audio[:, : 10 * RATE], RATE, seed=1)
    assert (other - whole[:, : 10 * RATE]).std() > 0.1 * whole.std()


def test_several_windows_at_a_time_are_the_same(model: DiffusionEnhancer) -> None:
    audio = recording(9, channels=2)
    one = Enhancer(model, window_seconds=2).enhance(audio, RATE)
    several = Enhancer(model, window_seconds=2, windows_per_call=3).enhance(audio, RATE)
    torch.testing.assert_close(several, one, atol=1e-6, rtol=1e-4)


def test_blocks_do_not_matter(model: DiffusionEnhancer) -> None:
    audio = recording(9).numpy()
    expected = Enhancer(model, window_seconds=3).enhance(audio, RATE)
    stream = Enhancer(model, window_seconds=3).stream(RATE)
    cuts = np.sort(np.random.default_rng(0).integers(0, audio.shape[1], 20))
    pieces = [stream.process(piece) for piece in np.split(audio, cuts, axis=1)]
    assert np.array_equal(np.concatenate([*pieces, stream.flush()], axis=1), expected)


def test_equal_channels_stay_equal(model: DiffusionEnhancer) -> None:
    mono = recording(2)
    out = Enhancer(model).enhance(mono.expand(2, -1), RATE)
    assert torch.equal(out[0], out[1])


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("samples", [1, 100, 20000])
def test_any_rate_and_length(model: DiffusionEnhancer, rate: int, samples: int) -> None:
    out = Enhancer(model).enhance(recording(2)[:, :samples], rate)
    assert out.shape == (1, samples)
    assert out.isfinite().all()


def test_silence(model: DiffusionEnhancer) -> None:
    assert Enhancer(model).enhance(torch.zeros(3 * RATE), RATE).abs().max() == 0


def test_one_level_for_a_short_signal_and_a_slow_one_for_a_long_one() -> None:
    def levels(audio: Tensor, kind: str) -> Tensor:
        leveller = Leveller(kind, 1, RATE)  # type: ignore[arg-type]
        pieces = [leveller.process(block) for block in audio.split(1234, dim=1)] + [leveller.flush()]
        assert torch.equal(torch.cat([a for a, _ in pieces], dim=1), audio)
        return torch.cat([level for _, level in pieces], dim=1)

    short = recording(5.7)
    assert levels(short, "rms").unique().numel() == 1
    torch.testing.assert_close(
        levels(short, "rms")[0, 0], 10 * short.square().mean().sqrt(), atol=0, rtol=1e-5
    )
    torch.testing.assert_close(levels(short, "peak")[0, 0], short.abs().max(), atol=0, rtol=1e-5)
    long = recording(60)
    for kind in ("rms", "peak"):
        curve = levels(long, kind)
        change = 20 * (curve[0, RATE:] / curve[0, :-RATE]).log10()
        assert change.abs().max() < 15  # dB in a second
        assert (curve >= 1e-4).all()
    # Divided by its peak curve, a signal stays within full scale but for the bend of a decibel.
    assert (long / levels(long, "peak")).abs().max() < 1.2


def test_draws_and_their_spread(model: DiffusionEnhancer) -> None:
    audio = recording(3)
    enhancer = Enhancer(model)
    mean, curve = enhancer.enhance_with_uncertainty(audio, RATE, draws=4)
    level = model.measure_level(audio)
    # Mirrored at its end: 14 units of 31 frames are lacking to a whole window of 623.
    window = torch.nn.functional.pad(audio / level, (0, (623 - 14 * 31) * 256 - 3 * RATE), "reflect")
    drawn = torch.stack(
        [
            model.draw(window, [0], SamplingOptions(seed=mix(0, number)))[:, : 3 * RATE] * level
            for number in range(4)
        ]
    )
    torch.testing.assert_close(mean, drawn.mean(dim=0), atol=1e-5, rtol=1e-3)
    median = enhancer.enhance(audio, RATE, draws=4, combine="median")
    torch.testing.assert_close(median, drawn.quantile(0.5, dim=0), atol=1e-5, rtol=1e-3)
    variance = drawn.var(dim=0)[0].unflatten(0, (-1, 320)).mean(dim=1).double().numpy()
    np.testing.assert_allclose(curve.spread, variance, rtol=1e-3)
    assert curve.times[0] == pytest.approx(0.01)
    assert ((curve.uncertainty >= 0) & (curve.uncertainty <= 1)).all()


def test_curve_files(model: DiffusionEnhancer, tmp_path: Path) -> None:
    _, curve = Enhancer(model).enhance_with_uncertainty(recording(2), RATE, draws=2)
    curve.write_csv(tmp_path / "a.csv")
    curve.write_png(tmp_path / "a.png", "a")
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    assert float(rows[-1]["time"]) == pytest.approx(1.99)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_progress_by_step(model: DiffusionEnhancer) -> None:
    told: list[float] = []
    stream = Enhancer(model, window_seconds=3).stream(
        RATE, 1, EnhanceOptions().changed(steps=5, draws=2), progress=told.append
    )
    stream.process(recording(10).numpy())
    stream.flush()
    assert told == sorted(told)
    assert len(told) % 10 == 0
    assert told[-1] == pytest.approx(10, abs=2.5)


def test_progress_is_told_in_seconds_by_all_kinds_of_models(model: DiffusionEnhancer, fir, smoother) -> None:
    audio = recording(7).expand(2, -1).numpy()
    for options in (EnhanceOptions(), EnhanceOptions(channel_mode="independent"), EnhanceOptions(strength=0)):
        for each in (model, fir(), smoother()):
            told: list[float] = []
            stream = Enhancer(each, window_seconds=3).stream(RATE, 2, options, progress=told.append)
            stream.process(audio)
            stream.flush()
            assert told == sorted(told)
            assert told[-1] == pytest.approx(7)


def test_corrector_can_be_chosen(model: DiffusionEnhancer) -> None:
    """A run of the model's own sampler with other options is that of a model that has them."""
    audio = recording(1)
    options = {"corrector": "annealed_langevin", "corrector_steps": 2, "snr": 0.2}
    chosen = Enhancer(model).enhance(audio, RATE, sampler_options=options)
    own = DiffusionEnhancer(
        hop_length=256,
        level="rms",
        process={"name": "ouve"},
        network={"name": "lite", "channels": (8, 8, 8), "rnn_hidden": 4, "rnn_layers": 1},
        prediction="data",
        sampler={"name": "pc", "steps": 2, **options},
    )
    own.load_state_dict(model.state_dict())
    torch.testing.assert_close(chosen, Enhancer(own).enhance(audio, RATE))
    assert (chosen - Enhancer(model).enhance(audio, RATE)).std() > 0.01 * chosen.std()


def test_options_that_do_not_fit_are_told(model: DiffusionEnhancer, smoother) -> None:
    audio = recording(1)
    with pytest.raises(UserError, match="no sampler 'sde': choose pc"):
        Enhancer(model).enhance(audio, RATE, sampler="sde")
    with pytest.raises(UserError, match="steps"):
        Enhancer(model).enhance(audio, RATE, steps=0)
    with pytest.raises(UserError, match="at least 2"):
        Enhancer(model).enhance_with_uncertainty(audio, RATE, draws=1)
    with pytest.raises(UserError, match="corrector must be one of annealed_langevin, langevin, none"):
        Enhancer(model).enhance(audio, RATE, sampler_options={"corrector": "ald"})
    with pytest.raises(UserError, match="snr must be a number, not 'high'"):
        Enhancer(model).enhance(audio, RATE, sampler_options={"snr": "high"})
    with pytest.raises(UserError, match="steps and draws: only for models that draw"):
        Enhancer(smoother()).enhance(audio, RATE, steps=3, draws=2)


def test_rumble_is_taken_away_before_the_level_is_measured(model: DiffusionEnhancer) -> None:
    """20 dB above the sound, in a file and in a batch; without the filter the output is another one."""
    filtering = copy.deepcopy(model)
    filtering.high_pass = 70.0
    audio = recording(12)
    time = torch.arange(audio.shape[1]) / RATE
    rumble = 10 * audio.std() * (0.7 + torch.sin(2 * np.pi * 15 * time))
    inner = slice(RATE // 2, -RATE // 2)

    def difference(enhance: Callable[[Tensor], Tensor]) -> float:
        expected, out = enhance(audio)[:, inner], enhance(audio + rumble)[:, inner]
        return float((out - expected).std() / expected.std())

    assert difference(lambda signal: Enhancer(filtering, window_seconds=3).enhance(signal, RATE)) < 0.05
    assert difference(filtering) < 0.05
    assert difference(lambda signal: Enhancer(model, window_seconds=3).enhance(signal, RATE)) > 0.5


def test_filtered_recordings_do_not_depend_on_their_cut(model: DiffusionEnhancer) -> None:
    filtering = copy.deepcopy(model)
    filtering.high_pass = 70.0
    audio = recording(7)
    outputs = []
    for size in (audio.shape[1], 4321):
        runner = GenerativeRunner(filtering, 1, SamplingOptions(), window_seconds=2, overlap_seconds=0.5)
        pieces = [runner.process(piece) for piece in audio.split(size, dim=1)]
        outputs.append(torch.cat([*pieces, runner.flush()], dim=1))
    assert outputs[0].shape == audio.shape
    assert torch.equal(*outputs)
