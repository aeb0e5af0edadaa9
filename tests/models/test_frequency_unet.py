"""The U-Net along frequency: what the other causal U-Nets do not have. Common properties: test_masked_filterbank."""

import pytest
import torch

from audio_enh.models.frequency_unet import BottomBlock, FrequencyUNet
from audio_enh.streaming.export import fold_normalization
from tests.models.causality import noise


def small(seed: int = 0, **arguments) -> FrequencyUNet:
    """A small model with lively random weights and normalisation statistics, for which wrong state would show."""
    torch.manual_seed(seed)
    defaults = {
        "hop_length": 32, "window_length": 128, "channels": (6, 10, 8), "strides": (4, 2, 1), "bands": 5,
        "hidden": 12, "blocks": 2, "mixed": 3,
    }  # fmt: skip
    model = FrequencyUNet(**{**defaults, **arguments})
    with torch.no_grad():
        model.decoder[-1].conv.weight.mul_(10)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def gated(seed: int = 0) -> FrequencyUNet:
    """The same with GRUs, and without the high-pass filter."""
    return small(seed, recurrence="gru", high_pass=0.0)


def test_default_size():
    assert sum(p.numel() for p in FrequencyUNet().parameters()) == 118_234


@pytest.mark.parametrize("make", [small, gated])
def test_every_normalisation_folds_away(make):
    model, audio = make(), noise(2000)
    folded = fold_normalization(model)
    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
    assert any(isinstance(module, kinds) for module in model.modules())
    assert not any(isinstance(module, kinds) for module in folded.modules())
    torch.testing.assert_close(folded(audio), model(audio), atol=1e-5, rtol=0)


def test_block_joins_all_bands_of_a_frame_but_no_times_backwards():
    torch.manual_seed(0)
    block = BottomBlock(4, 16, 6, "light").eval()
    x = torch.randn(1, 9, 16, 4)
    changed = x.clone()
    changed[:, 5, 3] += 3
    outputs = [block(each, block.init_state(1))[0] for each in (x, changed)]
    difference = (outputs[0] - outputs[1]).abs().amax(dim=3)[0]
    assert difference[:5].max() == 0
    assert difference[5].min() > 0
    assert difference[6:, 3].min() > 0


def test_untrained_model_nearly_passes_its_input():
    """The mask starts at tanh(1) for every band and the filter bank reconstructs: hence a plain gain."""
    model = FrequencyUNet(high_pass=0.0).eval()
    with torch.no_grad():
        model.decoder[-1].conv.weight.zero_()
    audio = noise(8000)
    torch.testing.assert_close(model(audio), audio * torch.tanh(torch.tensor(1.0)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "arguments", [{"strides": (4, 2)}, {"strides": (4, 3, 1)}, {"recurrence": "lstm"}, {"hop_length": 40}]
)
def test_arguments_that_do_not_fit_are_refused(arguments):
    with pytest.raises(ValueError, match=r"strides|recurrence|radix"):
        small(**arguments)
