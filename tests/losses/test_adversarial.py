"""Least-squares adversarial losses and the discriminators of UNIVERSE++."""

import pytest
import torch

from audio_enh.losses.adversarial import discriminator_loss, feature_matching_loss, generator_loss
from audio_enh.models.universe.discriminators import Discriminators


def test_losses_are_least_at_their_aims():
    ones, zeros = [torch.ones(2, 5), torch.ones(2, 7)], [torch.zeros(2, 5), torch.zeros(2, 7)]
    assert discriminator_loss(ones, zeros) == 0
    assert discriminator_loss(zeros, ones) == 4
    assert generator_loss(ones) == 0
    assert generator_loss(zeros) == 2
    features = [[torch.randn(2, 3), torch.randn(2, 4)], [torch.randn(2, 5)]]
    assert feature_matching_loss(features, features) == 0
    moved = [[f + 0.5 for f in row] for row in features]
    assert float(feature_matching_loss(features, moved)) == pytest.approx(1.5)


@pytest.mark.parametrize("samples", [2000, 4001])
def test_eight_judgements_of_any_length(samples):
    judged = Discriminators(width=0.05)(torch.randn(2, samples))
    assert len(judged) == 8
    for answers, features in judged:
        assert answers.shape[0] == 2
        assert answers.ndim == 2
        assert len(features) == 6


def test_learn_to_tell_noise_from_tones():
    torch.manual_seed(0)
    discriminators = Discriminators(width=0.05)
    optimizer = torch.optim.Adam(discriminators.parameters(), 3e-3)
    tone = torch.sin(0.3 * torch.arange(2400))[None]
    noise = 0.7 * torch.randn(1, 2400)
    losses = []
    for _ in range(8):
        real, made = discriminators(tone), discriminators(noise)
        loss = discriminator_loss([j.answers for j in real], [j.answers for j in made])
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in discriminators.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
