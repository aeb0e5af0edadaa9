"""Adam in one operator for a step."""

import lightning
import pytest
import torch
from torch.optim import SGD, Adam, AdamW

from audio_enh.training.optimisers import fuse


def steps(optimizer, weight):
    for step in range(5):
        weight.grad = torch.linspace(-1, 1 + step, 50)
        optimizer.step()
    return weight.detach().clone()


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_fused_steps_are_the_usual_ones(kind):
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 50)) for _ in range(2)]
    usual, fused = (kind([weight], lr=0.1, weight_decay=0.01) for weight in weights)
    fuse(fused)
    assert fused.param_groups[0]["fused"]
    torch.testing.assert_close(steps(fused, weights[1]), steps(usual, weights[0]), atol=1e-6, rtol=1e-5)


def test_what_a_recipe_says_stays():
    weight = torch.nn.Parameter(torch.zeros(3))
    for optimizer in (Adam([weight], foreach=True), Adam([weight], fused=False), SGD([weight], lr=0.1)):
        before = dict(optimizer.param_groups[0])
        fuse(optimizer)
        assert optimizer.param_groups[0] == before


def test_lightning_clips_gradients_of_fused_steps_at_any_precision():
    """It asks the optimiser whether that unscales gradients by itself, as one does that was made fused."""
    optimizer = Adam([torch.nn.Parameter(torch.zeros(3))])
    fuse(optimizer)
    lightning.pytorch.plugins.MixedPrecision(
        "16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu")
    ).clip_gradients(optimizer, 1.0)
