"""What every causal thing must satisfy; used by the tests of blocks and of models."""

import torch

from audio_enh.models.base import CausalModel
from audio_enh.models.stream_runner import StreamRunner


def noise(samples: int, batch: int = 1, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def assert_causal(model: CausalModel, samples: int, changed_from: int) -> None:
    """New input does not change past output: only what follows ``changed_from``, less the look-ahead, may."""
    generator = torch.Generator().manual_seed(3)
    audio = torch.randn(2, samples, generator=generator)
    other = audio.clone()
    other[:, changed_from:] = torch.randn(2, samples - changed_from, generator=generator)
    with torch.no_grad():
        first, second = model(audio), model(other)
    # A hop is computed as a whole, and what it gives lags by the delay.
    safe = changed_from // model.hop_length * model.hop_length - model.delay
    torch.testing.assert_close(first[:, :safe], second[:, :safe], atol=1e-6, rtol=0)
    assert (first[:, safe:] - second[:, safe:]).abs().max() > 1e-4


def stream(model: CausalModel, audio: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """Run ``audio`` through in blocks of the given sizes, round and round."""
    return feed(StreamRunner(model, audio.shape[0]), audio, sizes)


def feed(runner: StreamRunner, audio: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    out, start, turn = [], 0, 0
    while start < audio.shape[1]:
        size = sizes[turn % len(sizes)]
        out.append(runner.process(audio[:, start : start + size]))
        start, turn = start + size, turn + 1
    out.append(runner.flush())
    return torch.cat(out, dim=1)
