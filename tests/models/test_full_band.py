"""The full-band U-Net: what the others do not have. Common properties: test_masked_filterbank."""

import pytest
import torch

from audio_enh.models.causal_unet import CausalUNet
from audio_enh.models.full_band import FullBandUNet
from tests.models.causality import noise

LOW = {"sample_rate": 16000, "hop_length": 40, "window_length": 128, "channels": (4, 6), "rnn_hidden": 12}


def small(seed: int = 0) -> FullBandUNet:
    """A small model with lively random weights, for which wrong state would show."""
    torch.manual_seed(seed)
    model = FullBandUNet({**LOW, "high_pass": 70.0}, bands=4, hidden=12)
    with torch.no_grad():
        model.low.to_mask.weight.mul_(10)
        model.to_gains.weight.mul_(20)
        model.to_gains.bias.zero_()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def through(model: FullBandUNet) -> FullBandUNet:
    """Changes nothing: all gains are 1, and so is the mask."""
    model.to_gains.weight.data.zero_()
    model.to_gains.bias.data.fill_(30.0)
    model.low.to_mask.weight.data.zero_()
    model.low.to_mask.bias.data.copy_(torch.tensor([20.0, 0.0]))
    model.low.input_skip.weight.data.zero_()
    return model


def tone(frequency: float, seconds: float = 1.0) -> torch.Tensor:
    return 0.1 * torch.sin(2 * torch.pi * frequency * torch.arange(round(48000 * seconds)) / 48000)[None]


def level(audio: torch.Tensor) -> float:
    return float(10 * audio[:, 12000:-12000].detach().square().mean().log10())


def test_sizes_of_the_shipped_form():
    model = FullBandUNet({"high_pass": 70.0})
    assert (model.sample_rate, model.hop_length) == (48000, 480)
    assert model.latency / model.sample_rate == pytest.approx(0.032)
    assert model.delay == 480 + 96


def test_both_parts_add_up_to_the_input():
    torch.manual_seed(0)
    model = through(FullBandUNet({**LOW, "trainable_filters": False}, bands=5))
    audio = noise(30000)
    output = model.eval()(audio)
    torch.testing.assert_close(output, audio, atol=2e-4, rtol=0)


@pytest.mark.parametrize("frequency", [1000.0, 3000.0, 7000.0])
def test_the_lower_band_is_the_masks(frequency):
    """Up to 7 kHz the bands above add nothing, and the change of the rate takes nothing away."""
    model = through(small())
    model.low.to_mask.bias.data[0] = torch.atanh(torch.tensor(0.5))
    assert level(model(tone(frequency))) == pytest.approx(level(tone(frequency)) - 6.02, abs=0.2)


@pytest.mark.parametrize("frequency", [9000.0, 13000.0, 20000.0])
def test_gains_turn_down_their_band_and_nothing_else(frequency):
    model = through(small())
    audio = tone(frequency)
    assert level(model(audio)) == pytest.approx(level(audio), abs=0.1)
    model.to_gains.bias.data.fill_(-30.0)
    assert level(model(audio)) < level(audio) - 35
    assert level(model(tone(3000.0))) == pytest.approx(level(tone(3000.0)), abs=0.1)


def test_nothing_is_added_above_the_inputs_band():
    model = small()
    audio = noise(48000)
    spectrum = torch.fft.rfft(audio)
    spectrum[:, 4000:] = 0  # above 4 kHz
    narrow = torch.fft.irfft(spectrum, 48000)
    output = torch.fft.rfft(model(narrow)[:, 4800:-4800] * torch.hann_window(48000 - 9600))
    power = output.abs().square()[0]
    assert 10 * torch.log10(power[6400:].sum() / power[:3200].sum()) < -45  # above 8 kHz against below 4


def test_arguments_of_the_lower_part_are_completed():
    arguments = FullBandUNet.complete_arguments({"low": LOW})
    assert arguments["bands"] == 8
    assert arguments["low"] == CausalUNet.complete_arguments(LOW)
    FullBandUNet(**arguments)


def test_hops_too_short_for_the_filters_are_refused():
    with pytest.raises(ValueError, match="too short"):
        FullBandUNet({**LOW, "hop_length": 8, "window_length": 64})


def test_upper_bands_are_what_the_gains_multiply():
    model = through(small())
    audio = noise(4 * model.hop_length, seed=3)
    with torch.no_grad():
        _, upper, _ = model.hear_bands(audio, model.init_hearing(audio.shape[0]))
        # The very first gain rises from the state's 0.
        torch.testing.assert_close(
            upper[..., model.hop_length :],
            model.upper_bands(audio)[..., model.hop_length :],
            atol=1e-5,
            rtol=0,
        )
