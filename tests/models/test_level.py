"""The running level against its definition, one hop after the other."""

from __future__ import annotations

import math

import pytest
import torch

from audio_enh.models.level import RunningLevel, hold


def by_definition(audio: torch.Tensor, hop: int, sample_rate: int, time_constant: float) -> list[float]:
    decay = math.exp(-hop / (sample_rate * time_constant))
    powers = audio.double().reshape(-1, hop).square().mean(-1).tolist()
    levels = []
    for k in range(len(powers)):
        weights = [decay ** (k - j) for j in range(k + 1)]
        levels.append(math.sqrt(sum(w * p for w, p in zip(weights, powers, strict=False)) / sum(weights)))
    return levels


def test_weighted_mean_of_the_past() -> None:
    # 700 hops: more than the tracker takes in one product.
    audio = torch.randn(1, 700 * 16) * torch.linspace(0, 1, 700 * 16).square()
    levels = RunningLevel(16, 1000, 0.8)(audio)[0, ::16]
    expected = by_definition(audio, 16, 1000, 0.8)
    torch.testing.assert_close(
        levels.double(), torch.tensor(expected, dtype=torch.float64), rtol=2e-5, atol=0
    )


@pytest.mark.parametrize("hops", [1, 2, 37, 300])
def test_stream_equals_whole(hops: int) -> None:
    tracker = RunningLevel(16, 1000, 0.8)
    audio = torch.randn(3, 700 * 16)
    state, levels = torch.zeros(3, 2), []
    for block in audio.split(hops * 16, dim=-1):
        level, state = tracker.step(block, state)
        levels.append(hold(level, 16))
    torch.testing.assert_close(torch.cat(levels, -1), tracker(audio), rtol=2e-5, atol=0)


def test_a_constant_level_is_found_from_the_first_hop_on() -> None:
    level = RunningLevel(16, 1000, 0.5)(torch.full((1, 160), 0.25))
    torch.testing.assert_close(level, torch.full((1, 160), 0.25))


def test_it_forgets_with_the_time_constant() -> None:
    # Level 1 for long, then silence: the power falls to 1 / e in each time constant.
    audio = torch.cat([torch.ones(1, 20000), torch.zeros(1, 2000)], dim=-1)
    level = RunningLevel(10, 1000, 0.5)(audio)[0]
    assert level[19999].item() == pytest.approx(1, rel=1e-4)
    for constants in (1, 2, 4):
        assert level[19999 + 500 * constants].item() ** 2 == pytest.approx(math.exp(-constants), rel=1e-3)


def test_an_onset_is_bounded() -> None:
    audio = torch.cat([torch.zeros(1, 10000), torch.ones(1, 16)], dim=-1)
    normalised = audio / RunningLevel(16, 1000, 0.8)(audio).clamp(min=1e-9)
    assert normalised.max().item() <= math.sqrt(1 / (1 - math.exp(-16 / 800))) * 1.001


def test_only_the_past_counts() -> None:
    tracker = RunningLevel(16, 1000, 0.8)
    audio, other = torch.randn(1, 320), torch.randn(1, 320)
    changed = torch.cat([audio[:, :160], other[:, 160:]], dim=-1)
    torch.testing.assert_close(tracker(audio)[:, :160], tracker(changed)[:, :160], rtol=1e-6, atol=0)
    assert not torch.equal(tracker(audio)[:, 160:], tracker(changed)[:, 160:])


def test_silence_is_zero_and_sends_no_nan_back() -> None:
    audio = torch.zeros(1, 64, requires_grad=True)
    level = RunningLevel(16, 1000, 0.8)(audio)
    level.sum().backward()
    assert not level.any()
    assert audio.grad is not None
    assert audio.grad.isfinite().all()


def test_quiet_signals_under_half_precision() -> None:
    audio = torch.full((1, 64), 1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        level = RunningLevel(16, 1000, 0.8)(audio)
    torch.testing.assert_close(level, audio)


@pytest.mark.parametrize("time_constant", [0.0, -1.0, math.inf, math.nan])
def test_wrong_time_constants(time_constant: float) -> None:
    with pytest.raises(ValueError, match="time constant"):
        RunningLevel(16, 1000, time_constant)


def test_last_hop_is_filled_up() -> None:
    tracker = RunningLevel(16, 1000, 0.8)
    assert tracker(torch.randn(2, 21)).shape == (2, 21)
    torch.testing.assert_close(tracker(torch.ones(1, 4)), torch.full((1, 4), 0.5))
