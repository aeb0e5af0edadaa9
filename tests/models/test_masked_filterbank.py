"""The causal U-Nets: properties that hold for any of them and for any weights."""

import itertools
import random

import pytest
import torch

from audio_enh.models.masked_filterbank import apply_bounded_mask
from audio_enh.models.stream_runner import StreamRunner
from tests.models import test_causal_unet, test_frequency_unet, test_full_band
from tests.models.causality import assert_causal, feed, noise, stream

MAKERS = {
    "causal": test_causal_unet.small,
    "dual-path": test_causal_unet.dual_path,
    "high-pass": test_causal_unet.high_passed,
    "frequency": test_frequency_unet.small,
    "frequency, GRU": test_frequency_unet.gated,
    "full band": test_full_band.small,
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
SKIPPING = {name: make for name, make in MAKERS.items() if name != "full band"}
skipping = pytest.mark.parametrize("make", SKIPPING.values(), ids=SKIPPING.keys())


@every
@pytest.mark.parametrize("changed_from", [400, 777, 1000])
def test_new_input_never_changes_past_output(make, changed_from):
    assert_causal(make(), 2000, changed_from)


@every
@pytest.mark.parametrize("size", [1, 7, 40, 41, 333, 16000])
def test_stream_equals_offline_for_any_block_size(make, size):
    model, audio = make(), noise(700 if size == 1 else 4321, batch=2)
    torch.testing.assert_close(stream(model, audio, [size]), model(audio), atol=1e-5, rtol=0)


@every
def test_stream_equals_offline_for_random_block_sizes(make):
    chance = random.Random(0)
    model = make()
    for trial in range(5):
        audio = noise(chance.randrange(1, 20000), seed=trial)
        sizes = [
            chance.randrange(1, 16000) if chance.random() < 0.3 else chance.randrange(1, 300)
            for _ in range(50)
        ]
        torch.testing.assert_close(stream(model, audio, sizes), model(audio), atol=1e-5, rtol=0)


@every
def test_runner_is_reusable_after_flush(make):
    model = make()
    runner = StreamRunner(model)
    for seed in (1, 2):
        audio = noise(1500, seed=seed)
        torch.testing.assert_close(feed(runner, audio, [64]), model(audio), atol=1e-5, rtol=0)


@every
def test_speech_after_two_seconds_of_silence_equals_offline(make):
    model = make()
    audio = torch.cat([torch.zeros(1, 32000), noise(8000)], dim=1)
    torch.testing.assert_close(stream(model, audio, [480]), model(audio), atol=1e-5, rtol=0)


@every
def test_items_of_a_stream_fall_silent_at_different_times(make):
    """To the hop, and within one; short silences and long ones, whatever the block."""
    model = make()
    hop = model.hop_length
    audio = noise(150 * hop, batch=4)
    for item, spans in enumerate(([(0, 40), (90, 130)], [(20, 33), (35, 100)], [(60, 150)], [(0, 150)])):
        for begin, end in spans:
            audio[item, begin * hop + 3 * item : end * hop - 5 * item] = 0
    expected = model(audio)
    torch.testing.assert_close(stream(model, audio, [hop, 9 * hop, hop // 2]), expected, atol=1e-5, rtol=0)
    alone = torch.cat([model(audio[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(expected, alone, atol=1e-5, rtol=0)


@skipping
@pytest.mark.parametrize("left_over", [0.0, 1e-7])
def test_what_comes_after_digital_silence_is_as_without_it(make, left_over):
    """Also where a resampler's arithmetic has left something."""
    model = make()
    hop = model.hop_length
    first, second = noise(50 * hop), noise(50 * hop, seed=2)

    def after(hops, *before):
        silence = left_over * torch.ones(1, hops * hop)
        return model(torch.cat([*before, silence, second], dim=1))[:, -50 * hop :]

    torch.testing.assert_close(after(300), after(0), atol=1e-6, rtol=0)
    heard = model.heard_hops
    torch.testing.assert_close(after(heard + 300, first), after(heard, first), atol=1e-6, rtol=0)
    silent = model(torch.cat([first, torch.zeros(1, (heard + 20) * hop)], dim=1))[:, (50 + heard + 1) * hop :]
    assert silent.abs().max() == 0


@every
@pytest.mark.parametrize("gain", [0.05, 0.3, 8.0])
def test_gain_of_the_input_is_the_gain_of_the_output(make, gain):
    """The tracker divides the level out (down to its floor), so the mask does not depend on it."""
    model, audio = make(), noise(16000)
    # Compared once the tracker is far above its floor, also for the quiet one.
    reference = model(audio)[:, 8000:]
    scaled = model(audio * gain)[:, 8000:] / gain
    assert (scaled - reference).abs().max() < 0.02 * reference.abs().max()


@every
@pytest.mark.parametrize("samples", [0, 1, 39, 40, 41, 4000])
def test_output_is_as_long_as_the_input(make, samples):
    audio = noise(samples, batch=3)
    assert make()(audio).shape == audio.shape


@every
def test_silence_stays_silence(make):
    assert make()(torch.zeros(1, 4000)).abs().max() == 0


def test_mask_never_amplifies():
    spectrum, mask = torch.randn(2, 5, 2, 9), 100 * torch.randn(2, 5, 2, 9)
    masked = apply_bounded_mask(spectrum, mask)
    assert (masked.norm(dim=2) <= spectrum.norm(dim=2) * (1 + 1e-5)).all()


@every
def test_items_of_a_batch_do_not_touch(make):
    model, audio = make(), noise(3000, batch=3)
    alone = torch.cat([model(audio[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(audio), alone, atol=1e-6, rtol=0)


@every
def test_step_leaves_the_old_state_as_it_was(make):
    model = make()
    audio = noise(10 * model.hop_length)
    _, state = model.step(audio, model.init_state(1))
    before = [tensor.clone() for tensor in state]
    first, _ = model.step(audio, state)
    assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))
    second, _ = model.step(audio, state)
    assert torch.equal(first, second)


@every
def test_every_parameter_gets_a_gradient(make):
    model = make().train()
    (model(noise(2000, batch=2)) - noise(2000, batch=2, seed=5)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@every
def test_silent_input_gives_finite_gradients(make):
    model = make().train()
    model(torch.zeros(2, 2000)).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@every
def test_block_structure_covers_every_combination_of_two_sizes(make):
    model, audio = make(), noise(1000)
    expected = model(audio)
    for pair in itertools.product([1, 40, 55], [39, 80]):
        torch.testing.assert_close(stream(model, audio, list(pair)), expected, atol=1e-5, rtol=0)


@every
def test_delay_and_latency_are_what_they_say(make):
    """An impulse comes out of the stream ``delay`` samples late when the mask is a constant."""
    model = make()
    let_pass(model)
    for position in (0, 17, model.hop_length - 1):
        audio = torch.zeros(1, 10 * model.hop_length)
        audio[0, position] = 1
        out, _ = model.step(audio, model.init_state(1))
        assert int(out.abs().argmax()) == position + model.delay
    # Frame (the synthesis window) plus stride; and the filters that change the rate.
    filters = 2 * getattr(model, "half_length", 0)
    assert model.latency == 2 * model.hop_length + model.hop_length + filters


@pytest.mark.parametrize("make", [test_causal_unet.high_passed, test_frequency_unet.small])
def test_offset_and_rumble_change_neither_level_nor_output(make):
    """20 dB above the sound: removed, and what is heard with it is what is heard without."""
    model = make()
    let_pass(model, 0.3)
    audio = noise(64000)
    time = torch.arange(64000) / model.sample_rate
    rumble = 1 + torch.sin(2 * torch.pi * 3 * time)
    after = slice(48000, -800)  # the thump at its beginning is forgotten by then
    quiet, loud = model(audio)[:, after], model(audio + rumble)[:, after]
    assert (loud - quiet).square().mean() < 1e-3 * quiet.square().mean()


def let_pass(model, weight=0.0):
    """Makes the mask nearly a constant of magnitude tanh(9), or leaves ``weight`` of its liveliness."""
    if hasattr(model, "to_gains"):
        model.to_gains.bias.data.fill_(9.0)
        model.to_gains.weight.data.mul_(weight)
    model = getattr(model, "low", model)
    last = model.to_mask if hasattr(model, "to_mask") else model.decoder[-1].conv
    with torch.no_grad():
        last.weight.mul_(weight)
        last.bias.copy_(torch.tensor([9.0, 0.0] if not weight else [1.0, 0.0]))
