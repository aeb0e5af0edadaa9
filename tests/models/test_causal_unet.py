"""The real-time U-Net: properties that hold for any weights."""

import pytest
import torch

from audio_enh.models.causal_unet import CausalUNet
from audio_enh.models.dual_path import DualPathBlock
from tests.models.causality import noise, stream


def small(seed: int = 0, **arguments) -> CausalUNet:
    """A small model with lively random weights and normalisation statistics, for which wrong state would show."""
    torch.manual_seed(seed)
    defaults = {"hop_length": 40, "window_length": 128, "channels": (4, 6, 8), "rnn_hidden": 16}
    model = CausalUNet(**{**defaults, **arguments})
    with torch.no_grad():
        model.to_mask.weight.mul_(10)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def dual_path(seed: int = 0) -> CausalUNet:
    """The same with dual-path blocks on two of its levels, that do something."""
    model = small(seed, dual_path=(0, 5, 7))
    with torch.no_grad():
        for name, parameter in model.dual_path.named_parameters():
            if name.split(".")[-2] in ("expand", "project"):
                parameter.normal_(std=0.3)
    return model


def high_passed(seed: int = 0) -> CausalUNet:
    """The small one behind a high-pass filter."""
    return small(seed, high_pass=70.0)


def test_shipped_size_is_two_million_parameters():
    model = CausalUNet(dual_path=(0, 48, 64, 64))
    assert sum(p.numel() for p in model.parameters()) == 2_245_650


def test_stream_equals_offline_at_full_size():
    torch.manual_seed(0)
    model = CausalUNet().eval()
    audio = noise(16000, batch=2)
    torch.testing.assert_close(stream(model, audio, [1000, 1, 159, 480]), model(audio), atol=1e-5, rtol=0)


def test_level_tracker_forgets():
    """A loud past must not matter once it is many time constants away."""
    model = small(level_time_constant=0.05, rnn_layers=1)
    speech = noise(8000)
    quiet = model(torch.cat([torch.zeros(1, 32000), speech], dim=1))[:, -4000:]
    loud = model(torch.cat([noise(16000, seed=9) * 8, torch.zeros(1, 16000), speech], dim=1))[:, -4000:]
    assert (quiet - loud).abs().max() < 0.02 * quiet.abs().max()


def test_untrained_model_nearly_passes_its_input():
    """The mask starts at tanh(1) for every band and the filter bank reconstructs: hence a plain gain."""
    torch.manual_seed(0)
    model = CausalUNet()
    with torch.no_grad():
        model.to_mask.weight.zero_()
    audio = noise(8000)
    expected = audio * torch.tanh(torch.tensor(1.0))
    torch.testing.assert_close(model.eval()(audio), expected, atol=1e-5, rtol=0)


def test_untrained_dual_path_adds_nothing():
    """Hence a trained model may be given one."""
    model, more = small(), small(dual_path=(3, 0, 7))
    missing, unexpected = more.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {"dual_path"}
    assert torch.equal(more(noise(2000)), model(noise(2000)))


def test_dual_path_joins_all_bands_of_a_frame_but_no_times_backwards():
    torch.manual_seed(0)
    block = DualPathBlock(4, 16, 5).eval()
    torch.nn.init.normal_(block.expand.weight)
    x = torch.randn(1, 4, 9, 16)
    changed = x.clone()
    changed[:, 0, 5, 3] += 3
    difference = (
        (block(changed, block.init_state(1))[0] - block(x, block.init_state(1))[0]).abs().amax(dim=1)[0]
    )
    assert difference[:5].max() == 0
    assert difference[5].min() > 0


def test_dual_path_of_another_length_than_the_levels_is_refused():
    with pytest.raises(ValueError, match="dual_path has 2 values"):
        small(dual_path=(3, 3))


def test_window_that_does_not_halve_often_enough_is_refused():
    with pytest.raises(ValueError, match="window_length"):
        small(window_length=100)


def test_no_high_pass_by_default():
    """Checkpoints of earlier versions stay what they were."""
    assert small().high_pass is None
    assert high_passed().state_dict().keys() == small().state_dict().keys()
