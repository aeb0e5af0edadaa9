"""Runners: every sample in its place, pieces of bounded length, however the signal is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from audio_enh.inference.pool import WindowPool
from audio_enh.inference.runners import CausalRunner, ModelRunner, WindowRunner

Tell = Callable[[float], None]


def run(runner: ModelRunner, audio: Tensor, cuts: list[int]) -> Tensor:
    blocks = torch.tensor_split(audio, cuts, dim=1)
    return torch.cat([*(runner.process(block) for block in blocks), runner.flush()], dim=1)


def random_cuts(samples: int, seed: int) -> list[int]:
    return sorted(np.random.default_rng(seed).integers(0, samples + 1, 12).tolist())


@pytest.mark.parametrize("samples", [0, 1, 47, 48, 479, 480, 481, 3000])
def test_causal_equals_forward(fir, samples: int) -> None:
    model = fir(taps=(0.5, -0.25, 0.125))
    audio = torch.randn(2, samples)
    expected = model(audio) if samples else audio
    runner = CausalRunner(model, batch=2, block_length=480)
    for seed in range(4):  # the runner is ready for the next signal after each flush
        streamed = run(runner, audio, random_cuts(samples, seed))
        torch.testing.assert_close(streamed, expected, atol=1e-6, rtol=0)


def test_causal_steps_are_of_one_length_whatever_comes_in(fir) -> None:
    model = fir()
    run(CausalRunner(model, batch=1, block_length=470), torch.randn(1, 5000), random_cuts(5000, 1))
    assert set(model.steps[:-1]) == {480}  # 470 rounded to whole hops of 48
    assert model.steps[-1] < 480


def test_one_step_is_at_least_a_hop(fir) -> None:
    assert CausalRunner(fir(), batch=1, block_length=1).block_length == 48


class Ramp:
    """A window function that ignores the sound and gives every sample's absolute position."""

    def __init__(self) -> None:
        self.windows: list[tuple[int, int]] = []

    def __call__(self, audio: Tensor, starts: Sequence[int], tell: Tell) -> Tensor:
        self.windows += [(start, audio.shape[1]) for start in starts[::2]]
        return (torch.tensor(starts)[:, None] + torch.arange(audio.shape[1])).float()[None]


@pytest.mark.parametrize("samples", [0, 1, 10, 99, 100, 101, 179, 180, 181, 1000])
def test_windows_know_where_they_are(samples: int) -> None:
    for seed in range(4):
        ramp = Ramp()
        runner = WindowRunner(ramp, batch=2, window_length=100, overlap=20)
        out = run(runner, torch.zeros(2, samples), random_cuts(samples, seed))
        torch.testing.assert_close(out, torch.arange(samples).float().expand(2, -1), atol=1e-3, rtol=0)
        # All as long as a window, the only one of a short signal excepted; each begins one hop further on.
        assert all(length == min(100, samples) for _, length in ramp.windows)
        assert [start for start, _ in ramp.windows[:-1]] == [80 * k for k in range(len(ramp.windows) - 1)]


def test_windows_that_agree_leave_no_trace() -> None:
    audio = torch.randn(3, 2345)
    runner = WindowRunner(lambda windows, starts, tell: windows[None], batch=3, window_length=300, overlap=50)
    for seed in range(3):
        assert torch.equal(run(runner, audio, random_cuts(2345, seed)), audio)


def test_windows_that_differ_are_cross_faded() -> None:
    levels = iter(range(100))
    runner = WindowRunner(
        lambda windows, starts, tell: torch.full_like(windows, next(levels))[None],
        batch=1,
        window_length=300,
        overlap=100,
    )
    out = run(runner, torch.zeros(1, 2000), [])[0]
    steps = out.diff()
    assert out[0] == 0
    assert out[-1] >= 8
    assert steps.min() >= 0
    assert steps.max() < 0.02  # a raised cosine over 100 samples: pi / 2 / 100 at its steepest


def test_a_model_that_looks_ahead(smoother) -> None:
    model = smoother(reach=8)
    audio = torch.randn(2, 4000)
    runner = WindowRunner(
        lambda windows, starts, tell: model(windows)[None], batch=2, window_length=1000, overlap=200
    )
    out = run(runner, audio, [])
    # Windows cut off the neighbours near their ends, where cross-fades weigh them least.
    whole = model(audio)
    assert (out - whole).abs().max() < 0.01
    assert model.windows[:-1] == [1000] * 5


@pytest.mark.parametrize("windows_per_call", [1, 3])
@pytest.mark.parametrize("samples", [1, 100, 101, 431, 1000, 1007])
def test_on_a_grid_with_margins(samples: int, windows_per_call: int) -> None:
    """Windows begin on the grid, and what they make of their inner ends is not heard."""

    def spoilt_ends(windows: Tensor, starts: Sequence[int], tell: Tell) -> Tensor:
        assert windows.shape[1] in (4, 36, 68, 100)
        windows = windows.clone()
        for window, start in zip(windows, starts, strict=True):
            assert start % 16 == 0
            if start > 0:
                window[:9] = 1e3
            if start + len(window) < samples:
                window[-9:] = 1e3
        return windows[None]

    audio = torch.randn(2, samples)
    runner = WindowRunner(
        spoilt_ends,
        2,
        window_length=100,
        overlap=36,
        margin=9,
        grid=16,
        unit=32,
        pool=WindowPool(2 * windows_per_call),
    )
    for seed in range(4):
        out = run(runner, audio, random_cuts(samples, seed))
        torch.testing.assert_close(out, audio, atol=1e-6, rtol=1e-6)


def test_several_windows_at_a_time() -> None:
    sizes = []

    def note(windows: Tensor, starts: Sequence[int], tell: Tell) -> Tensor:
        sizes.append(len(starts))
        return -windows[None]

    audio = torch.randn(2, 1000)
    runner = WindowRunner(note, 2, window_length=100, overlap=20, pool=WindowPool(8))
    assert torch.equal(run(runner, audio, random_cuts(1000, 0)), -audio)
    assert sizes == [8, 8, 8, 2]  # 12 windows of two channels and hop 80, and the last


def test_a_window_of_another_length_is_refused() -> None:
    runner = WindowRunner(
        lambda windows, starts, tell: windows[None, :, 1:], batch=1, window_length=100, overlap=20
    )
    with pytest.raises(RuntimeError, match=r"\(1, 1, 99\) of \(1, 100\)"):
        runner.process(torch.zeros(1, 200))


@pytest.mark.parametrize("overlap", [0, 100, 200])
def test_overlap_is_less_than_a_window(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        WindowRunner(lambda windows, starts, tell: windows[None], batch=1, window_length=100, overlap=overlap)
