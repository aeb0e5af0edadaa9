"""Demucs offline: numbers of the public reference implementation, the paper's size, lengths, errors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from audio_enh.errors import CheckpointError
from audio_enh.models.demucs import Demucs
from audio_enh.models.demucs.causal import CausalDemucs

GOLDENS = Path(__file__).parents[1] / "data" / "goldens"


def golden(name: str) -> tuple[dict[str, Tensor], dict[str, Any], Tensor, Tensor]:
    folder = GOLDENS / name
    with np.load(folder / "io.npz") as arrays:
        mix, enhanced = (torch.from_numpy(arrays[key])[:, 0] for key in ("mix", "enhanced"))
    kwargs = json.loads((folder / "config.json").read_text())["kwargs"]
    return load_file(folder / "weights.safetensors"), kwargs, mix, enhanced


def small(**changes: Any) -> Demucs:
    torch.manual_seed(1)
    arguments = {"hidden": 4, "depth": 3, "resample": 2} | changes
    return Demucs(**arguments).eval()


@pytest.mark.parametrize("name", ["demucs_0", "demucs_1"])
def test_same_numbers_as_the_reference(name: str) -> None:
    weights, kwargs, mix, expected = golden(name)
    model = Demucs.from_reference(weights, kwargs).eval()
    with torch.no_grad():
        enhanced = model(mix)
    # The reference's output is a few hundredths: an absolute 1e-5 alone would let a wrong scale pass.
    torch.testing.assert_close(enhanced, expected, atol=1e-7, rtol=1e-5)


def test_the_papers_model_has_its_number_of_parameters() -> None:
    with torch.device("meta"):
        model = Demucs(rescale=0)
    assert sum(p.numel() for p in model.parameters()) == 18_867_937


def test_the_papers_frame() -> None:
    # "a receptive field of 37 ms and a stride of 16 ms" at 16 kHz: 597 and 256 samples.
    assert Demucs(hidden=1, growth=1).valid_length(1) == 597
    assert Demucs(hidden=1, growth=1).valid_length(598) == 597 + 256


def test_loads_what_it_saves() -> None:
    weights, kwargs, mix, _ = golden("demucs_1")
    model = Demucs.from_reference(weights, kwargs).eval()
    copy = Demucs(
        hidden=6, depth=5, resample=2, stride=2, growth=1.5, causal=False
    ).eval()  # fmt: skip
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy(mix), model(mix))


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda w: w.pop("encoder.2.0.weight"), "missing encoder.2.0.weight"),
        (lambda w: w.update({"encoder.9.0.weight": torch.zeros(1)}), "unknown encoder.9.0.weight"),
        (
            lambda w: w.update({"lstm.lstm.bias_hh_l1": torch.zeros(3)}),
            r"lstm.lstm.bias_hh_l1 has shape \(3,\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(edit: Any, named: str) -> None:
    weights, kwargs, _, _ = golden("demucs_0")
    edit(weights)
    with pytest.raises(CheckpointError, match=named) as error:
        Demucs.from_reference(weights, kwargs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kwargs", "named"), [({"chin": 2}, "chin=2"), ({"heads": 8}, "heads"), ({"floor": 0.1}, "floor=0.1")]
)
def test_arguments_that_do_not_fit_are_named(kwargs: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        Demucs.from_reference({}, kwargs)


def test_reference_without_normalisation() -> None:
    weights, kwargs, mix, expected = golden("demucs_0")
    model = Demucs.from_reference(weights, kwargs | {"normalize": False}).eval()
    level = mix.std(-1, keepdim=True)
    with torch.no_grad():
        enhanced = level * model(mix / (level + 1e-3))
    torch.testing.assert_close(enhanced, expected, atol=1e-7, rtol=1e-4)


def test_bidirectional_reference_does_not_become_causal() -> None:
    weights, kwargs, _, _ = golden("demucs_1")
    with pytest.raises(CheckpointError, match="bidirectional"):
        CausalDemucs.from_reference(weights, kwargs)


@pytest.mark.parametrize("resample", [1, 2, 4])
@pytest.mark.parametrize("samples", [0, 1, 2, 63, 64, 65, 700])
def test_output_is_as_long_as_the_input(samples: int, resample: int) -> None:
    for normalize in ("none", "utterance", "running"):
        output = small(resample=resample, normalize=normalize)(torch.randn(3, samples))
        assert output.shape == (3, samples)
        assert output.isfinite().all()


def test_odd_lengths_at_the_networks_rate() -> None:
    # Kernel 5, stride 3: the padded length at the network's rate is odd, and not a multiple of 4.
    model = small(kernel_size=5, stride=3, resample=4)
    assert all(model(torch.randn(1, n)).shape == (1, n) for n in range(100, 130))


def test_valid_length_is_the_shortest_that_divides() -> None:
    model = small(resample=1, kernel_size=6, stride=3, depth=2)

    def divides(length: int) -> bool:
        for _ in range(2):
            if length < 6 or (length - 6) % 3:
                return False
            length = (length - 6) // 3 + 1
        return True

    for samples in range(1, 200):
        assert model.valid_length(samples) == next(n for n in range(samples, 400) if divides(n))


def test_utterance_normalisation_makes_the_gain_not_matter() -> None:
    model = small()
    audio = torch.randn(1, 3000)
    # Far above the floor, output follows input; the floor of 1e-3 under a level of 1 is what is left.
    torch.testing.assert_close(model(10 * audio), 10 * model(audio), rtol=0.01, atol=0.001)
    bare = small(normalize="none")
    bare.load_state_dict(model.state_dict())
    assert not torch.allclose(bare(10 * audio), 10 * bare(audio), rtol=0.01, atol=0.001)


@pytest.mark.parametrize("normalize", ["utterance", "running"])
def test_silence_stays_silence(normalize: str) -> None:
    assert not small(normalize=normalize)(torch.zeros(2, 2000)).any()


def test_items_of_a_batch_do_not_meet() -> None:
    model = small(causal=False)
    audio = torch.randn(3, 1000) * torch.tensor([[1.0], [0.1], [0.01]])
    each = torch.cat([model(item) for item in audio.split(1)])
    torch.testing.assert_close(model(audio), each, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("normalize", ["utterance", "running"])
def test_every_parameter_and_the_input_get_a_finite_gradient(normalize: str, causal: bool) -> None:
    model = small(normalize=normalize, causal=causal).train()
    audio = torch.randn(2, 1500)
    audio[:, :700] = 0  # silence first: a level of 0 must not turn gradients into NaN
    audio.requires_grad_()
    model(audio).square().sum().backward()
    assert audio.grad is not None
    assert audio.grad.isfinite().all()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_it_learns() -> None:
    model = small(hidden=8, depth=2, resample=1, normalize="running").train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    clean = torch.sin(torch.arange(2000) * 0.05).expand(4, -1) * 0.1
    losses = []
    for _ in range(100):
        noisy = clean + 0.05 * torch.randn(4, 2000)
        loss = (model(noisy) - clean).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Doing nothing would leave the noise's own mean magnitude, 0.05 * sqrt(2 / pi) = 0.04.
    assert np.mean(losses[-5:]) < 0.02


def test_growth_rounds_down_and_stops() -> None:
    model = Demucs(hidden=6, depth=5, growth=1.5, max_hidden=20)
    widths = [module.out_channels for module in model.modules() if isinstance(module, nn.ConvTranspose1d)]
    assert widths == [19, 13, 9, 6, 1]
    assert model.lstm.hidden_size == 20


def test_rescaling_brings_the_spread_to_the_root_of_itself_times_the_reference() -> None:
    plain = small(hidden=16, rescale=0)  # the same draws, so the same weights before rescaling
    rescaled = small(hidden=16, rescale=0.1)
    for (name, before), after in zip(plain.named_parameters(), rescaled.parameters(), strict=True):
        if name.startswith("lstm"):
            assert torch.equal(before, after)
        elif name.endswith("weight"):
            assert after.std().item() == pytest.approx(math.sqrt(0.1 * before.std().item()), rel=1e-5)


def test_without_gated_units() -> None:
    gated, plain = small(), small(glu=False)
    assert plain.encoder[0].pointwise.out_channels * 2 == gated.encoder[0].pointwise.out_channels
    assert plain(torch.randn(1, 500)).shape == (1, 500)


@pytest.mark.parametrize(
    "wrong",
    [{"resample": 3}, {"stride": 9}, {"stride": 0}, {"depth": 0}, {"hidden": 0}, {"normalize": "batch"},
     {"normalize": "running", "time_constant": 0.0}],
)  # fmt: skip
def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"stride|resample|at least 1|normalize|time constant"):
        small(**wrong)
