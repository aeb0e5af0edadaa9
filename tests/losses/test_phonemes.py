"""The recogniser's opinion as a loss, by a recogniser whose phonemes are tones."""

import math

import torch
from torch import nn

from audio_enh.losses.phonemes import PhonemeCTCLoss


class ToneRecogniser(nn.Module):
    """Symbol 0 is silence, symbol k a tone at k times 500 Hz, in frames of 20 ms at 16 kHz."""

    def __init__(self):
        super().__init__()
        time = torch.arange(320) / 16000
        tones = [torch.polar(torch.ones(320), 2 * math.pi * 500 * k * time) for k in (1, 2, 3)]
        self.tones = nn.Parameter(torch.view_as_real(torch.stack(tones)))

    def forward(self, audio):
        tones = torch.view_as_complex(self.tones)
        power = (audio.unfold(1, 320, 320).to(tones.dtype) @ tones.T).abs()
        return torch.cat([torch.full_like(power[..., :1], 20.0), power], dim=2)


def spoken(*symbols):
    time = torch.arange(1600) / 16000
    pieces = [torch.sin(2 * math.pi * 500 * k * time) if k else torch.zeros(1600) for k in symbols]
    return torch.cat(pieces)[None]


def test_least_when_the_same_is_said():
    loss = PhonemeCTCLoss(ToneRecogniser())
    clean = spoken(1, 0, 2, 3)
    same = float(loss(clean, clean))
    assert same < 0.1
    assert same < float(loss(0.5 * spoken(1, 0, 2, 3), clean)) + 0.01
    assert float(loss(spoken(1, 0, 3, 3), clean)) > same + 1
    assert float(loss(spoken(3, 2, 0, 1), clean)) > same + 1


def test_gradient_reaches_the_estimate_and_not_the_recogniser():
    loss = PhonemeCTCLoss(ToneRecogniser()).train()
    estimate = (spoken(1, 0, 3, 3) + 0.01 * torch.randn(1, 6400)).requires_grad_()
    loss(torch.cat([estimate, estimate]), torch.cat([spoken(1, 0, 2, 3), spoken(0, 0, 0, 0)])).backward()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()
    assert estimate.grad.abs().max() > 0
    assert not any(p.requires_grad for p in loss.parameters())
    assert not loss.recogniser.training
