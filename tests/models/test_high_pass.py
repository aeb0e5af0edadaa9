"""The high-pass filter by hops against SciPy's recursion."""

import numpy as np
import pytest
import torch
from scipy import signal

from audio_enh.models.frequency_unet import FrequencyUNet
from audio_enh.models.high_pass import HighPass


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("cutoff", [20.0, 70.0, 300.0])
def test_is_the_butterworth_filter_by_hops_and_all_at_once(order, cutoff):
    audio = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0)) + 3
    sections = signal.butter(order, cutoff, "highpass", fs=16000, output="sos")
    expected = torch.from_numpy(signal.sosfilt(sections, audio.double().numpy())).float()
    high_pass = HighPass(cutoff, 16000, 160, order)
    whole, last = high_pass(audio, high_pass.init_state(2))
    torch.testing.assert_close(whole, expected, atol=2e-5, rtol=0)
    state, pieces = high_pass.init_state(2), []
    for sizes in (1, 1, 30, 1, 67):
        start = sum(piece.shape[1] for piece in pieces)
        piece, state = high_pass(audio[:, start : start + 160 * sizes], state)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, dim=1), expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(state, last, atol=1e-4, rtol=1e-4)


def test_takes_an_offset_away_and_leaves_speech_frequencies():
    high_pass = HighPass(70.0, 16000, 160)
    time = torch.arange(16000) / 16000
    for frequency, low, high in ((0, 0, 1e-4), (10, 0, 0.03), (70, 0.69, 0.72), (300, 0.995, 1.001)):
        tone = torch.cos(2 * np.pi * frequency * time)[None]
        out, _ = high_pass(tone, high_pass.init_state(1))
        ratio = (out[:, 8000:].square().mean() / tone[:, 8000:].square().mean()).sqrt()
        assert low <= float(ratio) <= high, frequency


@pytest.mark.parametrize("cutoff", [-1.0, 0.0, 8000.0])
def test_cutoff_outside_of_the_band_is_refused(cutoff):
    with pytest.raises(ValueError, match="cut-off"):
        HighPass(cutoff, 16000, 160)


@pytest.mark.parametrize("frequency", [110.0, 200.0, 1000.0])
def test_the_filter_bank_takes_its_turn_of_phase_back(frequency):
    """A tone comes out of a model that passes everything as it went in, but for the filter's loss."""
    model = FrequencyUNet()
    with torch.no_grad():
        model.decoder[-1].conv.weight.zero_()
    tone = 0.1 * torch.cos(2 * np.pi * frequency * torch.arange(16000) / 16000)[None]
    with torch.no_grad():
        out = model.eval()(tone)[0, 8000:-400] / np.tanh(1)
    wanted = tone[0, 8000:-400]
    projected = (out @ wanted) / (wanted @ wanted) * wanted
    assert projected.square().sum() > 20 * (out - projected).square().sum()
