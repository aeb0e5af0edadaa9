"""The filter bank against theory: perfect reconstruction, orthogonality, frequency response."""

import math

import pytest
import torch

from audio_enh.dsp.filterbank import asymmetric_windows, fourier_filters


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
