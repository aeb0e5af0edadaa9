"""UNIVERSE as a model: samplers, seeds, positions, levels."""

import math

import pytest
import torch

from audio_enh.models.universe import Universe
from audio_enh.models.universe.mel import MelSpectrogram
from audio_enh.options import SamplingOptions

SMALL = {"channels": 2, "mel_bands": 16, "embedding_features": 4, "embedding_dimensions": 16}
PLUS_PLUS = {
    "embedding": "sinusoid",
    "weight_normalised": True,
    "antialiasing": True,
    "head": "decoupling",
    "preconditioning": "edm",
}
LITE = {
    "mel_exponent": 0.15,
    "head": "masking",
    "preconditioning": "edm",
    "residual_db": -32.0,
    "local_level": True,
    "sigma_max": 0.2,
    "sampler": "warm",
}


def small(**arguments):
    torch.manual_seed(0)
    return Universe(**{**SMALL, **arguments}).eval()


def noise(*shape, scale=0.1):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


class Counting:
    """Stands for a model's score: nothing but counting."""

    def __init__(self, model):
        self.calls = 0
        model.score = self

    def __call__(self, x, sigma, conditions):
        self.calls += 1
        return torch.zeros_like(x)


@pytest.mark.parametrize("form", [{}, PLUS_PLUS, LITE], ids=["universe", "universe++", "lite"])
@pytest.mark.parametrize("samples", [1, 159, 160, 3001])
def test_any_length_comes_back_finite(form, samples):
    out = small(**form).enhance(noise(2, samples), steps=2)
    assert out.shape == (2, samples)
    assert out.isfinite().all()


@pytest.mark.parametrize(("steps", "calls"), [(0, 0), (1, 1), (2, 2), (5, 5), (None, 8)])
def test_steps_are_evaluations_of_the_score_network(steps, calls):
    model = small()
    counting = Counting(model)
    told = []
    model.enhance(noise(1, 800), steps=steps, on_step=lambda *step: told.append(step))
    assert counting.calls == calls
    assert model.draws_differ(steps=steps) == (calls > 0)
    assert told == ([(i + 1, calls) for i in range(calls)] or [(1, 1)])


def test_no_steps_are_the_estimate_of_the_condition_network():
    model = small()
    audio = noise(2, 1600)
    y = model.normalise(audio)
    with torch.no_grad():
        expected = model.estimate(*model.condition(y[:, None])[1:], y[:, None])[:, 0]
    gain = (y.norm(dim=1) / (audio - audio.mean(1, keepdim=True)).norm(dim=1))[:, None]
    # The level at inference is that of the signal with its mean, here hardly another.
    torch.testing.assert_close(model.enhance(audio, steps=0), expected / gain, rtol=1e-2, atol=1e-5)


def test_warm_start_begins_with_the_estimate_at_its_own_noise_level():
    model = small()
    seen = []

    def score(x, sigma, conditions):
        seen.append((x, float(sigma[0])))
        return torch.zeros_like(x)

    model.score = score
    audio = noise(1, 1600)
    model.enhance(audio, sampler="warm", steps=3)
    levels = [level for _, level in seen]
    assert levels == pytest.approx([0.1, math.sqrt(0.1 * 5e-4), 5e-4], rel=1e-4)
    estimate = model.enhance(audio, steps=0) / model.measure_level(audio) * model.sigma_data * 10
    assert float((seen[0][0][:, 0] - estimate).std()) == pytest.approx(0.1, rel=0.1)
    seen.clear()
    model.enhance(audio, sampler="warm")
    assert len(seen) == 5  # as far apart as the eight from sigma_max


def test_an_item_gets_in_a_batch_what_it_gets_alone():
    model = small()
    audio = noise(3, 1600)
    together = model.enhance(audio, seed=[4, 5, 4], steps=2)
    alone = model.enhance(audio[1:2], seed=5, steps=2)
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[0], model.enhance(audio[:1], seed=5, steps=2)[0], atol=1e-3)


def test_noise_belongs_to_places_of_the_recording():
    model = small()
    Counting(model)
    rate = model.grid
    # The blocks of noise are 64 frames: windows begin in the middle of them and at their ends.
    starts = [0, 3 * rate, 64 * rate, 100 * rate]
    windows = model.draw(noise(4, 80 * rate), starts, SamplingOptions(seed=7, steps=2))
    whole = model.draw(noise(1, 200 * rate), [0], SamplingOptions(seed=7, steps=2))[0]
    for start, window in zip(starts, windows, strict=True):
        torch.testing.assert_close(window, whole[start : start + len(window)])
    assert not torch.allclose(
        whole, model.draw(noise(1, 200 * rate), [0], SamplingOptions(seed=8, steps=2))[0]
    )
    assert abs(float(torch.corrcoef(whole.unflatten(0, (-1, rate))[:2])[0, 1])) < 0.4  # frames differ


@pytest.mark.parametrize("form", [{}, PLUS_PLUS, LITE], ids=["universe", "universe++", "lite"])
def test_output_follows_the_level_of_the_input(form):
    model = small(**form)
    audio = noise(1, 3200)
    loud, quiet = model.enhance(audio, steps=2), model.enhance(audio / 100, steps=2)
    torch.testing.assert_close(quiet * 100, loud, rtol=1e-3, atol=1e-5)
    assert model.enhance(torch.zeros(1, 3200), steps=2).isfinite().all()


def test_normalise_gives_the_level_and_no_mean():
    model = small()
    audio = noise(2, 4000) * torch.tensor([[1.0], [0.01]]) + 0.3
    y = model.normalise(audio)
    assert y.mean(1).abs().max() < 1e-6
    torch.testing.assert_close(20 * y.std(1).log10(), torch.full((2,), -26.0), rtol=0, atol=0.01)
    torch.testing.assert_close(model.normalise(0.5 * audio, like=audio), 0.5 * y, rtol=1e-4, atol=1e-6)
    assert (model.normalise(torch.zeros(1, 100)) == 0).all()


def test_edm_score_is_that_of_the_denoiser():
    model = small(**PLUS_PLUS)
    x, sigma = noise(2, 1, 320), torch.tensor([0.01, 2.0])
    with torch.no_grad():
        conditions, _, _ = model.condition(noise(2, 1, 320))
        s = model.score(x, sigma, conditions)
        level, data = sigma[:, None, None], 10 ** (-26 / 20)
        total = (level**2 + data**2).sqrt()
        out = model.score_network(x / total, 0.25 * sigma, conditions)
        denoised = data**2 / total**2 * x + level * data / total * out
    torch.testing.assert_close(s, (denoised - x) / level**2, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"head": "none"},
        {"preconditioning": "karras"},
        {"embedding": "none"},
        {"sampler": "pc"},
        {"steps": -1},
        {"sigma_min": 1.0},
        {"local_level": True},
        {"temperature": -0.1},
    ],
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="must"):
        small(**arguments)


def test_epsilon_can_be_chosen():
    model, audio = small(), noise(1, 1600)
    chosen = model.enhance(audio, sampler_options={"epsilon": 2.0})
    torch.testing.assert_close(chosen, small(epsilon=2.0).enhance(audio))
    assert not torch.allclose(chosen, model.enhance(audio))
    for options in ({"epsilon": 0.5}, {"epsilon": "high"}, {"snr": 0.5}):
        with pytest.raises(ValueError, match="epsilon"):
            model.enhance(audio, sampler_options=options)


def test_masking_head_without_a_mask_gives_the_signal_back():
    model = small(**LITE)
    with torch.no_grad():
        for conv in (model.head.mask.conv, model.head.rest.conv):
            conv.weight.zero_()
            conv.bias.zero_()
    audio = noise(2, 1605) - noise(2, 1605).mean(1, keepdim=True)
    torch.testing.assert_close(model.enhance(audio, steps=0), audio, rtol=0, atol=1e-5)


def test_masking_head_turns_bands_down_where_the_mask_says():
    model = small(**LITE)
    with torch.no_grad():
        for conv in (model.head.mask.conv, model.head.rest.conv):
            conv.weight.zero_()
            conv.bias.zero_()
        model.head.mask.conv.bias[:160] = -1.0  # real parts below 4 kHz: a gain of 0
    low, high = (torch.sin(2 * math.pi * f * torch.arange(16000) / 16000)[None] for f in (1000, 6000))
    out = model.enhance(0.1 * (low + high), steps=0)
    torch.testing.assert_close(out[:, 640:-640], 0.1 * high[:, 640:-640], rtol=0, atol=2e-3)


def test_residual_diffusion_adds_to_the_estimate():
    model = small(**LITE)
    audio = noise(1, 1600)
    states = []

    def score(x, sigma, conditions):
        states.append(float(x.std()))
        return -x / sigma[:, None, None] ** 2  # sure that nothing is missing

    model.score = score
    estimate = model.enhance(audio, steps=0)
    torch.testing.assert_close(model.enhance(audio, steps=3), estimate, rtol=0, atol=1e-6)
    assert states[0] == pytest.approx(model.warm_sigma, rel=0.1)


def test_temperature_is_that_of_the_draws():
    audio = noise(1, 1600)
    spread = {}
    for temperature in (0.0, 0.5, 1.0):
        model = small(temperature=temperature)
        Counting(model)
        first, second = (model.enhance(audio, seed=seed, steps=2) for seed in (1, 2))
        spread[temperature] = float((first - second).std())
        assert model.draws_differ(steps=2) == (temperature > 0)
    assert spread[0.0] == 0
    assert spread[0.5] == pytest.approx(spread[1.0] / 2, rel=1e-4)


@pytest.mark.parametrize("form", [{}, {"residual_db": -32.0}, LITE], ids=["whole", "residual", "local"])
def test_completing_undoes_lacking(form):
    model = small(**form)
    clean, estimate = noise(2, 1600), noise(2, 1600, scale=0.05)
    torch.testing.assert_close(model.complete(estimate, model.lacking(clean, estimate)), clean)


def test_what_is_drawn_goes_by_the_local_level_of_the_estimate():
    model = small(**LITE)
    pause = torch.cat([torch.full((160 * 20,), 1.0), torch.full((160 * 20,), 1e-3)])
    estimate = pause * model.normalise(noise(1, 160 * 40))
    added = model.complete(estimate, noise(1, 160 * 40, scale=1.0)) - estimate
    loud, quiet = added[0, : 160 * 17].std(), added[0, 160 * 23 :].std()
    assert loud == pytest.approx(1.0, abs=0.1)
    assert 20 * (quiet / loud).log10() == pytest.approx(-30, abs=1)
    frame = 160 * 30
    torch.testing.assert_close(
        model.complete(estimate[:, frame - 1600 :], torch.ones(1, 160 * 20))[0, 1600:3200],
        model.complete(estimate, torch.ones(1, 160 * 40))[0, frame : frame + 1600],
    )  # a window says the same as the whole


def test_compressed_mel_spectrogram_does_not_know_the_level():
    audio = noise(1, 3200)
    mel = MelSpectrogram(16000, 160, 16, exponent=0.15)
    torch.testing.assert_close(mel(100 * audio), mel(audio), rtol=1e-3, atol=1e-4)
    plain = MelSpectrogram(16000, 160, 16)
    assert plain(audio).max() > 2 * mel(audio).max()
