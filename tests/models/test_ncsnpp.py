"""NCSN++: the references' numbers and sizes, clean under autocast and compilation."""

from __future__ import annotations

import copy

import pytest
import torch
from torch._dynamo.utils import counters

from audio_enh.models.diffusion.ncsnpp import NCSNpp, downsample, upsample
from audio_enh.models.diffusion.reference import from_reference
from tests.diffusion.goldens import arrays, weights

SMALL = {"channels": 8, "multipliers": (1, 2, 2), "blocks": 1, "attention_bins": (64,)}


FULL_BAND = {
    "bins": 768,
    "attention_bins": (),
    "progressive": False,
    "divide_by_t": True,
    "divide_last": True,
}


@pytest.mark.parametrize(
    ("name", "form"), [("ncsnpp", {"divide_by_t": True}), ("ncsnpp_v2", {}), ("ncsnpp_48k", FULL_BAND)]
)
def test_is_the_references(name: str, form: dict) -> None:
    golden = arrays(name)
    network = NCSNpp(**{**SMALL, **form}).eval()
    network.load_state_dict(from_reference(network, weights(name)))
    with torch.no_grad():
        out = network(golden["x_t"], golden["y"], golden["t"])
    # 1e-4 of the largest coefficient (37 in the first form, which divides by small times).
    assert (out - golden["out"]).abs().max() < 1e-4 * golden["out"].abs().max()


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 65_590_822),
        ({"divide_by_t": True, "negate": True}, 65_590_822),
        ({"bins": 768, "attention_bins": (), "progressive": False}, 64_739_854),
    ],
)
def test_published_sizes(arguments: dict, parameters: int) -> None:
    with torch.device("meta"):
        network = NCSNpp(**arguments)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_every_number_of_the_reference_has_one_place() -> None:
    for arguments in (SMALL, {**SMALL, "progressive": False, "attention_bins": ()}):
        network = NCSNpp(**arguments)
        modules = list(network.in_reference_order())
        assert len(set(modules)) == len(modules)
        covered = {id(p) for module in modules for p in module.parameters()}
        rest = {id(p) for p in network.parameters()} - covered
        assert rest == {id(p) for p in network.output_layer.parameters()}


def test_resampling_is_a_low_pass_filter() -> None:
    x = torch.randn(1, 3, 16, 16)
    flat = torch.ones(1, 3, 8, 8)
    torch.testing.assert_close(downsample(flat)[:, :, 1:-1, 1:-1], torch.ones(1, 3, 2, 2))
    torch.testing.assert_close(upsample(flat)[:, :, 2:-2, 2:-2], torch.ones(1, 3, 12, 12))
    checkerboard = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    assert downsample(checkerboard.expand(1, 3, 16, 16))[:, :, 1:-1, 1:-1].abs().max() < 1e-6
    # One is the other's adjoint but for the gain of 4.
    up = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close((upsample(up) * x).sum(), 4 * (up * downsample(x)).sum(), rtol=1e-4, atol=1e-4)


def test_begins_as_almost_nothing() -> None:
    """The last layer of every path begins with 1e-10 of the usual variance, so that training begins gently."""
    torch.manual_seed(0)
    network = NCSNpp(**SMALL, progressive=False)
    x = torch.randn(1, 1, 256, 8, dtype=torch.complex64)
    out = torch.view_as_real(network(x, x, torch.tensor([0.5])))
    # What is left is the bias of the last 1x1 convolution.
    assert out.std(dim=(2, 3)).max() < 1e-3


@pytest.mark.slow
def test_autocast_compiles_and_has_gradients() -> None:
    torch.manual_seed(0)
    network = NCSNpp(**SMALL).to(memory_format=torch.channels_last)
    x, y = torch.randn(2, 2, 1, 256, 8, dtype=torch.complex64)
    t = torch.tensor([0.3, 0.9])
    expected = network(x, y, t)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(x, y, t)
    assert out.dtype == torch.complex64
    assert (out - expected).abs().max() < 0.05 * expected.abs().max() + 1e-3
    out.abs().square().mean().backward()
    trained = [p for p in network.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    # One graph, without breaks.
    compiled = torch.compile(network.body, backend="eager", fullgraph=True)
    image = torch.cat([x.real, x.imag, y.real, y.imag], dim=1)
    torch.testing.assert_close(compiled(image, t), network.body(image, t), atol=1e-5, rtol=1e-4)


@pytest.mark.slow  # a minute of the processor to compile
def test_compiled_training_survives_other_lengths() -> None:
    torch.manual_seed(0)
    form = {"bins": 8, "channels": 4, "multipliers": (1, 1), "blocks": 1, "attention_bins": ()}
    plain = NCSNpp(**form).to(memory_format=torch.channels_last)
    network = copy.deepcopy(plain)
    network.compile_training()
    averaged = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in averaged.parameters():
            parameter.zero_()
    counters.clear()
    for frames in (16, 24, 16):
        x, y = torch.randn(2, 2, 1, 8, frames, dtype=torch.complex64)
        t = torch.tensor([0.3, 0.9])
        for each in (plain, network):
            each.zero_grad()
            each(x, y, t).abs().square().sum().backward()
        for expected, found in zip(plain.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(found.grad, expected.grad, atol=1e-4, rtol=1e-3)
    assert counters["stats"]["unique_graphs"] == 2  # one for each length: it was compiled
    # A copy has weights of its own, evaluation is not compiled, nor is anything of it in the state dict.
    assert averaged(x, y, t).abs().max() == 0
    network.eval()(x[..., :4], y[..., :4], t)
    assert counters["stats"]["unique_graphs"] == 2
    assert network.state_dict().keys() == plain.state_dict().keys()


def test_frames_and_bins_must_fit() -> None:
    with pytest.raises(ValueError, match="multiple of 64"):
        NCSNpp(bins=257)
    assert NCSNpp(**SMALL).time_multiple == 4


def test_a_weight_without_a_place_is_named() -> None:
    state = weights("ncsnpp") | {"all_modules.4.Conv_9.weight": torch.zeros(1)}
    with pytest.raises(KeyError, match="Conv_9"):
        from_reference(NCSNpp(**SMALL), state)
