"""The alias-free activation of UNIVERSE++ against torchaudio's resampling, and what it is for."""

import math

import torch

from audio_enh.models.universe.heads import AliasFreeSnake, DecouplingHead


def test_is_snake_between_two_resamplings():
    from torchaudio.transforms import Resample

    snake = AliasFreeSnake(3)
    snake.log_alpha.data = torch.tensor([-0.5, 0.0, 0.7])
    x = torch.randn(2, 3, 101)
    alpha = snake.log_alpha.exp()[:, None]
    doubled = Resample(1, 2)(x)
    expected = Resample(2, 1)(doubled + torch.sin(alpha * doubled) ** 2 / alpha)
    torch.testing.assert_close(snake(x), expected, atol=1e-5, rtol=0)


def test_harmonics_do_not_fold_back():
    """The square of a tone at 0.4 of the rate has its harmonic at 0.8, which would fold to 0.2."""
    tone = torch.sin(2 * math.pi * 0.4 * torch.arange(4000))[None, None]
    snake = AliasFreeSnake(1)

    def folded(signal):
        return float(torch.fft.rfft(signal[0, 0, 500:3500].double() * torch.hann_window(3000))[600].abs())

    plain = tone + tone.sin().square()
    assert folded(snake(tone).detach()) < 0.1 * folded(plain)


def test_decoupling_takes_any_length():
    head = DecouplingHead(4)
    for samples in (1, 2, 31, 400):
        assert head(torch.randn(2, 4, samples)).shape == (2, 1, samples)
