"""The real-time U-Net: properties that hold for any weights."""

import itertools
import random

import pytest
import torch

from audio_enh.models.causal_unet import CausalUNet, apply_bounded_mask
from audio_enh.models.dual_path import DualPathBlock
from audio_enh.models.stream_runner import StreamRunner
from tests.models.causality import assert_causal, feed, stream


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


both = pytest.mark.parametrize("make", [small, dual_path])


def noise(samples: int, batch: int = 1, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def test_shipped_size_is_two_million_parameters():
    model = CausalUNet(dual_path=(0, 48, 64, 64))
    assert sum(p.numel() for p in model.parameters()) == 2_245_650


@both
@pytest.mark.parametrize("changed_from", [400, 777, 1000])
def test_new_input_never_changes_past_output(make, changed_from):
    assert_causal(make(), 2000, changed_from)


@both
@pytest.mark.parametrize("size", [1, 7, 40, 41, 333, 16000])
def test_stream_equals_offline_for_any_block_size(make, size):
    model, audio = make(), noise(700 if size == 1 else 4321, batch=2)
    torch.testing.assert_close(stream(model, audio, [size]), model(audio), atol=1e-5, rtol=0)


def test_stream_equals_offline_for_random_block_sizes():
    chance = random.Random(0)
    model = small()
    for trial in range(5):
        audio = noise(chance.randrange(1, 20000), seed=trial)
        sizes = [
            chance.randrange(1, 16000) if chance.random() < 0.3 else chance.randrange(1, 300)
            for _ in range(50)
        ]
        torch.testing.assert_close(stream(model, audio, sizes), model(audio), atol=1e-5, rtol=0)


def test_stream_equals_offline_at_full_size():
    torch.manual_seed(0)
    model = CausalUNet().eval()
    audio = noise(16000, batch=2)
    torch.testing.assert_close(stream(model, audio, [1000, 1, 159, 480]), model(audio), atol=1e-5, rtol=0)


def test_runner_is_reusable_after_flush():
    model = small()
    runner = StreamRunner(model)
    for seed in (1, 2):
        audio = noise(1500, seed=seed)
        torch.testing.assert_close(feed(runner, audio, [64]), model(audio), atol=1e-5, rtol=0)


def test_speech_after_two_seconds_of_silence_equals_offline():
    model = small()
    audio = torch.cat([torch.zeros(1, 32000), noise(8000)], dim=1)
    torch.testing.assert_close(stream(model, audio, [480]), model(audio), atol=1e-5, rtol=0)


def test_level_tracker_forgets():
    """A loud past must not matter once it is many time constants away."""
    model = small(level_time_constant=0.05, rnn_layers=1)
    speech = noise(8000)
    quiet = model(torch.cat([torch.zeros(1, 32000), speech], dim=1))[:, -4000:]
    loud = model(torch.cat([noise(16000, seed=9) * 8, torch.zeros(1, 16000), speech], dim=1))[:, -4000:]
    assert (quiet - loud).abs().max() < 0.02 * quiet.abs().max()


@pytest.mark.parametrize("gain", [0.05, 0.3, 8.0])
def test_gain_of_the_input_is_the_gain_of_the_output(gain):
    """The tracker divides the level out (down to its floor), so the mask does not depend on it."""
    model, audio = small(), noise(16000)
    # Compared once the tracker is far above its floor, also for the quiet one.
    reference = model(audio)[:, 8000:]
    scaled = model(audio * gain)[:, 8000:] / gain
    assert (scaled - reference).abs().max() < 0.02 * reference.abs().max()


@pytest.mark.parametrize("samples", [0, 1, 39, 40, 41, 4000])
def test_output_is_as_long_as_the_input(samples):
    audio = noise(samples, batch=3)
    assert small()(audio).shape == audio.shape


@both
def test_silence_stays_silence(make):
    assert make()(torch.zeros(1, 4000)).abs().max() == 0


def test_untrained_model_nearly_passes_its_input():
    """The mask starts at tanh(1) for every band and the filter bank reconstructs: hence a plain gain."""
    torch.manual_seed(0)
    model = CausalUNet()
    with torch.no_grad():
        model.to_mask.weight.zero_()
    audio = noise(8000)
    expected = audio * torch.tanh(torch.tensor(1.0))
    torch.testing.assert_close(model.eval()(audio), expected, atol=1e-5, rtol=0)


def test_mask_never_amplifies():
    spectrum, mask = torch.randn(2, 5, 2, 9), 100 * torch.randn(2, 5, 2, 9)
    masked = apply_bounded_mask(spectrum, mask)
    assert (masked.norm(dim=2) <= spectrum.norm(dim=2) * (1 + 1e-5)).all()


@both
def test_items_of_a_batch_do_not_touch(make):
    model, audio = make(), noise(3000, batch=3)
    alone = torch.cat([model(audio[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(audio), alone, atol=1e-6, rtol=0)


@both
def test_step_leaves_the_old_state_as_it_was(make):
    model, audio = make(), noise(400)
    _, state = model.step(audio, model.init_state(1))
    before = [tensor.clone() for tensor in state]
    first, _ = model.step(audio, state)
    assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))
    second, _ = model.step(audio, state)
    assert torch.equal(first, second)


@both
def test_every_parameter_gets_a_gradient(make):
    model = make().train()
    (model(noise(2000, batch=2)) - noise(2000, batch=2, seed=5)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@both
def test_silent_input_gives_finite_gradients(make):
    model = make().train()
    model(torch.zeros(2, 2000)).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_delay_and_latency_are_what_they_say():
    """An impulse through a pass-through model comes out of the stream ``delay`` samples late."""
    model = small()
    with torch.no_grad():
        model.to_mask.weight.zero_()
        model.to_mask.bias.copy_(torch.tensor([9.0, 0.0]))
    for position in (0, 17, 39):
        audio = torch.zeros(1, 400)
        audio[0, position] = 1
        out, _ = model.step(audio, model.init_state(1))
        assert int(out.abs().argmax()) == position + model.delay
    # Frame (the synthesis window) plus stride.
    assert model.latency == 2 * model.hop_length + model.hop_length


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


def test_block_structure_covers_every_combination_of_two_sizes():
    model, audio = small(), noise(1000)
    expected = model(audio)
    for pair in itertools.product([1, 40, 55], [39, 80]):
        torch.testing.assert_close(stream(model, audio, list(pair)), expected, atol=1e-5, rtol=0)
