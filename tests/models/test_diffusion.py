"""The diffusion model: front end, conversions between what networks predict, lite backbone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from audio_enh.diffusion.noise import position_noise
from audio_enh.dsp.spectrogram import CompressedSpectrogram
from audio_enh.models.diffusion import DiffusionEnhancer
from audio_enh.models.diffusion.lite import LiteUNet
from tests.diffusion.goldens import arrays

LITE: dict[str, Any] = {"name": "lite", "channels": (8, 8, 8, 8), "rnn_hidden": 8, "rnn_layers": 1}
BRIDGE: dict[str, Any] = {
    "hop_length": 192,
    "level": "rms",
    "process": {"name": "sbve"},
    "network": LITE,
    "prediction": "data",
    "sampler": {"name": "ode", "steps": 2},
}


def test_spectrogram_is_the_references() -> None:
    golden, spectrogram = arrays("spec_transform"), CompressedSpectrogram()
    ours = spectrogram(golden["wav"])[:, 0]
    torch.testing.assert_close(ours[..., :63], golden["transformed"], atol=1e-6, rtol=0)
    # One more frame than the reference's, whose last samples are in one frame alone.
    assert ours.shape[2] == 64


@pytest.mark.parametrize("samples", [1, 100, 255, 256, 300, 8000, 8001, 8191])
@pytest.mark.parametrize(
    ("n_fft", "hop_length", "exponent"), [(510, 128, 0.5), (510, 256, 0.5), (1534, 384, 0.667)]
)
def test_spectrogram_is_inverted(samples: int, n_fft: int, hop_length: int, exponent: float) -> None:
    spectrogram = CompressedSpectrogram(n_fft, hop_length, exponent)
    audio = torch.randn(2, samples)
    coefficients = spectrogram(audio)
    assert coefficients.shape == (2, 1, n_fft // 2 + 1, -(-samples // hop_length) + 1)
    torch.testing.assert_close(spectrogram.inverse(coefficients, samples), audio, atol=2e-4, rtol=0)


def test_spectrogram_of_silence_has_finite_gradients() -> None:
    spectrogram = CompressedSpectrogram()
    audio = torch.zeros(1, 2000, requires_grad=True)
    spectrogram.inverse(spectrogram(audio), 2000).sum().backward()
    assert audio.grad is not None
    assert audio.grad.isfinite().all()


class Oracle(torch.nn.Module):
    """Answers in the form asked for, knowing the clean coefficients."""

    def __init__(self, model: DiffusionEnhancer, x0: Tensor, z: Tensor):
        super().__init__()
        self.model_prediction, self.process, self.x0, self.z = model.prediction, model.process, x0, z

    def forward(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        std = self.process.std(t)[:, None, None, None]
        return {
            "score": -self.z / std,
            "denoiser": self.process.mean(self.x0, y, t),
            "data": self.x0,
            "velocity": (x_t - self.x0) / t[:, None, None, None],
        }[self.model_prediction]


@pytest.mark.parametrize("prediction", ["score", "denoiser", "data", "velocity"])
@pytest.mark.parametrize("process", ["ouve", "bbed", "sbve"])
def test_every_prediction_is_turned_into_every_other(prediction: str, process: str) -> None:
    sampler = {"name": "ode", "steps": 2}
    model = DiffusionEnhancer(process={"name": process}, network=LITE, prediction=prediction, sampler=sampler)
    x0, y, z = torch.randn(3, 2, 1, 256, 4, dtype=torch.complex64)
    t = torch.tensor([0.2, 0.7])
    std = model.process.std(t)[:, None, None, None]
    x_t = model.process.mean(x0, y, t) + std * z
    model.network = Oracle(model, x0, z)
    torch.testing.assert_close(model.denoise(x_t, y, t), x0, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(model.score(x_t, y, t), -z / std, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(
        model.velocity(x_t, y, t), (x_t - x0) / t[:, None, None, None], atol=1e-3, rtol=1e-3
    )


def test_edm_preconditioning() -> None:
    """Karras et al. 2022, table 1: unit input, unit target, and the input itself where noise is low."""
    model = DiffusionEnhancer(network=LITE, prediction="denoiser", preconditioning="edm", sigma_data=0.1)
    seen = []
    model.network.forward = lambda x, y, t: (seen.append((x, y)), torch.ones_like(x))[1]
    x = torch.full((1, 1, 256, 2), 0.3 + 0.1j)
    t = torch.tensor([0.5])
    out, sigma = model.predict(x, 2 * x, t), model.process.std(t)
    scale = (sigma**2 + 0.01).rsqrt()
    torch.testing.assert_close(seen[0][0], x * scale)
    torch.testing.assert_close(seen[0][1], 2 * x * scale)
    torch.testing.assert_close(out, 0.01 * scale**2 * x + 0.1 * sigma * scale)


@pytest.mark.parametrize("samples", [0, 1, 191, 5000])
def test_enhances_any_length(samples: int) -> None:
    model = DiffusionEnhancer(**BRIDGE).eval()
    audio = torch.randn(2, samples)
    out = model(audio)
    assert out.shape == audio.shape
    assert out.isfinite().all()


def test_silence_stays_silent_and_gain_does_not_matter() -> None:
    model = DiffusionEnhancer(**BRIDGE).eval()
    with torch.no_grad():
        model.network.head.bias[4:].zero_()
        audio = 0.1 * torch.randn(1, 4000)
        torch.testing.assert_close(model(0.01 * audio), 0.01 * model(audio), atol=1e-6, rtol=1e-4)
    assert model(torch.zeros(1, 4000)).abs().max() < 1e-4


def test_training_pairs_have_one_level() -> None:
    model = DiffusionEnhancer(**BRIDGE)
    noisy, clean = torch.randn(3, 3000), 0.1 * torch.randn(3, 3000)
    y, x0, level = model.analyse(noisy, clean)
    torch.testing.assert_close(level, 10 * noisy.square().mean(1, keepdim=True).sqrt())
    torch.testing.assert_close(model.synthesise(y, 3000, level), noisy, atol=1e-3, rtol=0)
    torch.testing.assert_close(model.synthesise(x0, 3000, level), clean, atol=1e-3, rtol=0)


def test_lite_begins_by_passing_its_input_and_is_small() -> None:
    torch.manual_seed(0)
    network = LiteUNet().eval()
    assert 2e6 < sum(p.numel() for p in network.parameters()) < 6e6
    x_t, y = 0.2 * torch.randn(2, 1, 1, 256, 13, dtype=torch.complex64)
    with torch.no_grad():
        out = network(x_t, y, torch.tensor([0.5]))
    assert (out - y).abs().mean() < 0.3 * y.abs().mean()


def test_noise_belongs_to_places() -> None:
    like = torch.zeros(3, 1, 5, 100, dtype=torch.complex64)
    noise = position_noise(like, seed=3, first_frames=[0, 37, 1000])
    first, second = noise(), noise()
    torch.testing.assert_close(first[0, :, :, 37:], first[1, :, :, :63])
    assert not torch.equal(first, second)
    alone = position_noise(like[:1], seed=3, first_frames=[37])
    assert torch.equal(alone()[0], first[1])
    assert not torch.equal(position_noise(like, 4, [0, 37, 1000])(), first)
    # Unit variance over both parts, and no trace of the blocks.
    many = position_noise(torch.zeros(1, 1, 256, 4096, dtype=torch.complex64), 0, [0])()
    assert many.abs().square().mean().item() == pytest.approx(1, abs=0.01)
    lagged = (many[..., 64:] * many[..., :-64].conj()).mean().abs()
    assert lagged < 5e-3


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"process": {"name": "vp"}}, "process"),
        ({"process": {"name": "ouve", "k": 1.0}}, "no argument k"),
        ({"network": {"name": "lite", "width": 3}}, "no argument width"),
        ({"sampler": {"name": "ode", "snr": 0.5}}, "no option snr"),
        ({"sampler": {"name": "ode", "grid": "log"}}, "grid must be one of uniform"),
        (
            {"sampler": {"name": "pc", "corrector_steps": 1.5}, "process": {"name": "ouve"}},
            "whole number, not 1.5",
        ),
        ({"sampler": {"name": "sde"}}, "sampler"),
        ({"prediction": "noise"}, "prediction"),
        ({"level": "lufs"}, "level"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        DiffusionEnhancer(**{"network": LITE, **arguments})


def test_checkpoint_arguments_are_complete() -> None:
    complete = DiffusionEnhancer.complete_arguments(BRIDGE)
    assert complete["process"] == {"name": "sbve", "k": 2.6, "c": 0.4, "t_eps": 1e-4}
    assert complete["sampler"] == {"name": "ode", "steps": 2, "grid": "uniform"}
    assert complete["network"]["bins"] == 256
    again = DiffusionEnhancer(**complete)
    assert again.state_dict().keys() == DiffusionEnhancer(**BRIDGE).state_dict().keys()


@pytest.mark.parametrize(
    ("process", "sampler", "steps", "differ"),
    [
        ("ouve", "pf_heun", 1, True),
        ("bbed", "ode", 2, True),
        ("flow", "ode_heun", 2, False),
        ("sbve", "ode", 3, False),
        ("sbve", "sde", 1, False),
        ("sbve", "sde", 2, True),
        ("sbve", "sde", None, True),
    ],
)
def test_tells_whether_draws_differ(process: str, sampler: str, steps: int | None, differ: bool) -> None:
    torch.manual_seed(0)
    model = DiffusionEnhancer(**{**BRIDGE, "process": {"name": process}, "sampler": {"name": sampler}}).eval()
    assert model.draws_differ(steps=steps) is model.draws_differ(sampler, steps) is differ
    audio = 0.1 * torch.randn(1, 4000)
    one, other = (model.enhance(audio, seed=seed, steps=steps) for seed in (0, 1))
    assert torch.equal(one, other) is not differ
