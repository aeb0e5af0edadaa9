"""Resampling by two against theory: pure tones, the half-band response, linear phase, the adjoint."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from audio_enh.models.demucs.sinc import Downsample2, Upsample2, half_sample_kernel

LENGTH = 4000
EDGE = 200  # samples of the higher rate near the ends, where the tone begins and stops


def tone(frequency: float, length: int) -> Tensor:
    """A sine of ``frequency`` cycles per sample, from a double-precision phase."""
    n = torch.arange(length, dtype=torch.float64)
    return torch.sin(2 * math.pi * frequency * n + 0.3).float().unsqueeze(0)


def decibel(x: Tensor) -> float:
    return 20 * math.log10(x.abs().max().item() + 1e-12)


@pytest.mark.parametrize("frequency", [0.003, 0.05, 0.2, 0.35, 0.45])
def test_upsampled_tone_is_the_tone_at_twice_the_rate(frequency: float) -> None:
    up = Upsample2()(tone(frequency, LENGTH))
    error = up - tone(frequency / 2, 2 * LENGTH)
    assert decibel(error[:, EDGE:-EDGE]) < -55


@pytest.mark.parametrize("frequency", [0.003, 0.05, 0.2, 0.225])
def test_downsampled_tone_is_the_tone_at_half_the_rate(frequency: float) -> None:
    down = Downsample2()(tone(frequency, LENGTH))
    error = down - tone(2 * frequency, LENGTH // 2)
    assert decibel(error[:, EDGE:-EDGE]) < -55


@pytest.mark.parametrize("frequency", [0.275, 0.3, 0.4, 0.49])
def test_what_would_alias_is_rejected(frequency: float) -> None:
    down = Downsample2()(tone(frequency, LENGTH))
    assert decibel(down[:, EDGE:-EDGE]) < -60


def frequency_response(taps: Tensor, frequency: Tensor) -> Tensor:
    """Of taps centred on 0, at frequencies in cycles per sample."""
    n = torch.arange(len(taps), dtype=torch.float64) - (len(taps) - 1) / 2
    return (taps.double() * torch.exp(-2j * math.pi * frequency[:, None] * n)).sum(-1)


def test_downsampling_filter_is_half_band_with_linear_phase() -> None:
    # The response to an impulse at each of the two phases holds all taps, centred on the impulse.
    length = 600
    impulses = torch.zeros(2, length)
    impulses[0, 300] = impulses[1, 301] = 1
    even, odd = Downsample2()(impulses)
    taps = torch.stack([even, odd.roll(-1)], -1).flatten()[:-1]  # h[n] = h[-n] at n - 300
    centre = 300
    taps = taps[centre - 113 : centre + 114]
    torch.testing.assert_close(taps, taps.flip(0))  # symmetric about 0: linear phase, no delay
    assert taps.sum().item() == pytest.approx(1, abs=1e-3)

    frequency = torch.linspace(0, 0.5, 201, dtype=torch.float64)
    response = frequency_response(taps, frequency)
    assert response.imag.abs().max() < 1e-6
    # Half-band: the response and its mirror image about a quarter of the rate add up to 1, so 1/2 in between.
    torch.testing.assert_close(response.real + response.real.flip(0), torch.ones_like(frequency))
    assert response.real[100].item() == pytest.approx(0.5, abs=1e-6)
    assert response.real[frequency < 0.225].sub(1).abs().max() < 2e-3


def test_kernel_is_the_windowed_sinc() -> None:
    kernel = half_sample_kernel(56)
    assert kernel.shape == (112,)
    torch.testing.assert_close(kernel, kernel.flip(0))
    # At -1/2, the sinc is 2 / pi and the window nearly 1.
    assert kernel[55].item() == pytest.approx(2 / math.pi * math.cos(math.pi / 4 / 56) ** 2, rel=1e-6)
    assert half_sample_kernel(1).tolist() == pytest.approx([1 / math.pi] * 2)
    with pytest.raises(ValueError, match="at least 1"):
        half_sample_kernel(0)


def test_upsampling_keeps_the_samples_it_has() -> None:
    audio = torch.randn(2, 301)
    assert torch.equal(Upsample2()(audio)[:, ::2], audio)


def test_going_down_is_half_the_adjoint_of_going_up() -> None:
    x, y = torch.randn(1, 500), torch.randn(1, 1000)
    left = (Upsample2()(x) * y).sum()
    right = 2 * (x * Downsample2()(y)).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-4, abs=1e-3)


def test_up_and_down_again_is_the_same_tone() -> None:
    audio = tone(0.2, LENGTH)
    error = Downsample2()(Upsample2()(audio)) - audio
    assert decibel(error[:, EDGE:-EDGE]) < -55


@pytest.mark.parametrize("samples", [1, 2, 55, 56, 57, 111, 112, 301])
def test_lengths(samples: int) -> None:
    audio = torch.randn(2, samples)
    assert Upsample2()(audio).shape == (2, 2 * samples)
    assert Downsample2()(audio).shape == (2, (samples + 1) // 2)


@pytest.mark.parametrize("module", [Upsample2(), Downsample2()])
@pytest.mark.parametrize("block", [2, 6, 64, 250, 1000])
def test_stream_equals_whole(module: Upsample2 | Downsample2, block: int) -> None:
    audio = torch.randn(2, 600)
    lag = module.zeros * (2 if isinstance(module, Downsample2) else 1)
    state, out = module.init_state(batch=2), []
    for piece in [*audio.split(block, -1), torch.zeros(2, lag)]:
        output, state = module.step(piece, state)
        out.append(output)
    streamed, offline = torch.cat(out, -1), module(audio)
    torch.testing.assert_close(streamed[:, -offline.shape[-1] :], offline, atol=1e-6, rtol=0)


def test_a_step_leaves_its_state_alone_and_takes_nothing_too() -> None:
    for module in (Upsample2(), Downsample2()):
        state = torch.randn_like(module.init_state(1))
        before = state.clone()
        output, after = module.step(torch.zeros(1, 0), state)
        assert output.shape == (1, 0)
        assert torch.equal(after, before)
        module.step(torch.randn(1, 4), state)
        assert torch.equal(state, before)


def test_odd_blocks_cannot_be_halved() -> None:
    module = Downsample2()
    with pytest.raises(ValueError, match="even"):
        module.step(torch.zeros(1, 3), module.init_state())


def test_full_precision_under_autocast() -> None:
    audio = torch.randn(1, 400)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        up = Upsample2()(audio)
        down = Downsample2()(up.bfloat16())
    torch.testing.assert_close(up, Upsample2()(audio))
    assert down.dtype == torch.float32
