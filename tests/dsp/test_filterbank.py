"""The filter bank against theory: perfect reconstruction, orthogonality, frequency response."""

import math

import pytest
import torch

from audio_enh.dsp.filterbank import asymmetric_windows, fourier_factors, fourier_filters
from audio_enh.models.fast_filterbank import FastFilterBank


@pytest.mark.parametrize(("window", "synthesis"), [(512, 320), (512, 256), (320, 320), (1536, 960)])
def test_product_of_windows_adds_up_to_one(window, synthesis):
    analysis_window, synthesis_window = asymmetric_windows(window, synthesis)
    product = analysis_window[-synthesis:] * synthesis_window
    hop = synthesis // 2
    torch.testing.assert_close(product[:hop] + product[hop:], torch.ones(hop, dtype=torch.float64))


@pytest.mark.parametrize(("window", "synthesis"), [(512, 320), (256, 128)])
def test_frames_reconstruct_the_signal(window, synthesis):
    analysis, inverse = (f.double() for f in fourier_filters(window, synthesis))
    hop = synthesis // 2
    signal = torch.randn(4000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    frames = signal.unfold(0, window, hop)
    parts = frames @ analysis.T @ inverse
    out = torch.zeros(len(signal), dtype=torch.float64)
    for t, part in enumerate(parts):
        end = t * hop + window
        out[end - synthesis : end] += part
    covered = slice(window, (len(parts) - 1) * hop)
    torch.testing.assert_close(out[covered], signal[covered], atol=2e-6, rtol=0)


def test_band_responds_to_its_frequency_most():
    window = 512
    analysis, _ = fourier_filters(window, 320)
    time = torch.arange(window)
    for band in (3, 60, 250):
        tone = torch.cos(2 * math.pi * (band + 0.5) / window * time)
        coefficients = (analysis @ tone).view(2, -1)
        assert int(coefficients.square().sum(0).argmax()) == band


def test_white_noise_has_coefficients_of_unit_variance():
    analysis, _ = fourier_filters(512, 320)
    noise = torch.randn(4000, 512, generator=torch.Generator().manual_seed(1))
    power = (noise @ analysis.T).unflatten(1, (2, -1)).square().sum(1).mean()
    assert float(power) == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(("window", "synthesis"), [(512, 321), (256, 512), (512, 0)])
def test_lengths_that_do_not_fit_are_refused(window, synthesis):
    with pytest.raises(ValueError, match="synthesis_length"):
        asymmetric_windows(window, synthesis)


@pytest.mark.parametrize(
    ("window", "synthesis", "radix"), [(512, 320, 16), (512, 256, 8), (128, 64, 4), (64, 64, 2)]
)
def test_factors_are_the_filters(window, synthesis, radix):
    bank = FastFilterBank(window, synthesis // 2, radix)
    analysis, inverse = fourier_filters(window, synthesis)
    audio = torch.randn(2, 10 * bank.hop_length, generator=torch.Generator().manual_seed(0))
    past, overlap = bank.init_state(2)
    spectrum, _ = bank.analyse(audio, past)
    frames = torch.cat([past, audio], dim=1).unfold(1, window, bank.hop_length)
    torch.testing.assert_close(spectrum.flatten(2), frames @ analysis.T, atol=1e-5, rtol=0)
    out, _ = bank.synthesise(spectrum, overlap)
    parts = spectrum.flatten(2) @ inverse
    older, newer = parts[..., : bank.hop_length], parts[..., bank.hop_length :]
    expected = older + torch.cat([overlap[:, None], newer[:, :-1]], dim=1)
    torch.testing.assert_close(out, expected.flatten(1), atol=1e-5, rtol=0)


def test_factors_have_an_eighth_of_the_multiplications():
    dense = sum(filters.numel() for filters in fourier_filters(512, 320))
    assert sum(factor.numel() for factor in fourier_factors(512, 320, 16)) < dense / 7


@pytest.mark.parametrize(("window", "synthesis", "radix"), [(512, 320, 3), (512, 320, 64), (500, 320, 16)])
def test_radix_that_does_not_fit_is_refused(window, synthesis, radix):
    with pytest.raises(ValueError, match="radix"):
        fourier_factors(window, synthesis, radix)
