"""Training noise: normal, an item's own, and assigned at least cost."""

from itertools import permutations

import pytest
import torch
from scipy.stats import kstest

from audio_enh.diffusion.training_noise import assign_noise, item_noise, item_uniform


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_noise_is_standard_normal_and_independent(dtype):
    noise = item_noise(torch.empty(64, 1000, dtype=dtype), torch.arange(64), seed=0)
    parts = torch.view_as_real(noise) * 2**0.5 if noise.is_complex() else noise
    assert kstest(parts.flatten().numpy(), "norm").pvalue > 1e-3
    assert float(noise.abs().square().mean()) == pytest.approx(1, abs=0.02)
    gram = (noise @ noise.conj().T).abs() / 1000
    assert float((gram - torch.eye(64)).abs().max()) < 0.2


def test_noise_belongs_to_the_item_not_to_the_batch():
    like = torch.empty(4, 10)
    together = item_noise(like, torch.tensor([5, 6, 7, 2**40]), seed=1)
    assert torch.equal(item_noise(like[:2], torch.tensor([7, 5]), seed=1), together[[2, 0]])
    for other in (
        item_noise(like, torch.arange(5, 9), seed=2),
        item_noise(like, torch.arange(5, 9), 1, stream=1),
    ):
        assert not torch.isclose(other[:3], together[:3]).any()


def test_uniform_variates_are_uniform_and_repeat():
    u = item_uniform(torch.arange(20000), seed=0, stream=3)
    assert kstest(u.numpy(), "uniform").pvalue > 1e-3
    assert torch.equal(item_uniform(torch.tensor([17]), 0, 3), u[17:18])


def test_assignment_is_a_permutation_of_least_distance():
    """Li et al. 2024: over all permutations of a small batch none is nearer."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(5, 2, 3, dtype=torch.complex64, generator=generator)
    noise = torch.randn(5, 2, 3, dtype=torch.complex64, generator=generator)
    assigned = assign_noise(noise, data)

    def distance(z):
        return float((z - data).abs().square().sum())

    best = min(distance(noise[list(order)]) for order in permutations(range(5)))
    assert distance(assigned) == pytest.approx(best, rel=1e-5)
    assert distance(assigned) < distance(noise)
    assert {float(z.real.sum()) for z in assigned} == {float(z.real.sum()) for z in noise}
