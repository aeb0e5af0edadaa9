"""Every causal block: chunked equals whole, the future does not touch the past, and what it computes."""

import math

import pytest
import torch

from audio_enh.dsp.filterbank import fourier_filters
from audio_enh.models.blocks import CausalConv2d, FrameAnalysis, LevelTracker, OverlapAdd

HOP = 20


def cases():
    """(name, block, initial state, input, time dimension, input units per frame)."""
    torch.manual_seed(0)
    analysis, synthesis = fourier_filters(64, 2 * HOP)
    frame, overlap = FrameAnalysis(analysis, HOP), OverlapAdd(synthesis)
    level = LevelTracker(HOP, 16000, 0.01)
    conv = CausalConv2d(3, 4, (3, 5), stride=2)
    audio = torch.randn(2, 40 * HOP)
    return [
        ("analysis", frame, frame.init_state(2), audio, 1, HOP),
        ("overlap-add", overlap, overlap.init_state(2), torch.randn(2, 40, 64), 1, 1),
        ("level", level, level.init_state(audio, 2), audio, 1, HOP),
        ("convolution", conv, conv.init_state(2, 16), torch.randn(2, 3, 40, 16), 2, 1),
    ]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case[0])
@pytest.mark.parametrize("frames", [1, 3, 17])
def test_chunked_equals_whole(case, frames):
    _, block, state, x, dim, unit = case
    whole, last = block(x, state)
    parts = []
    for piece in x.split(frames * unit, dim):
        out, state = block(piece, state)
        parts.append(out)
    time = 2 if dim == 2 else 1
    torch.testing.assert_close(torch.cat(parts, time), whole, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(state, last, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case[0])
def test_new_input_never_changes_past_output(case):
    _, block, state, x, dim, unit = case
    frames = x.shape[dim] // unit
    kept = 23
    changed = x.clone()
    changed.narrow(dim, kept * unit, (frames - kept) * unit).normal_()
    first, second = block(x, state)[0], block(changed, state)[0]
    out = first.shape[dim] // frames
    torch.testing.assert_close(
        first.narrow(dim, 0, kept * out), second.narrow(dim, 0, kept * out), atol=1e-6, rtol=0
    )
    rest = (frames - kept) * out
    assert (first.narrow(dim, kept * out, rest) - second.narrow(dim, kept * out, rest)).abs().max() > 1e-3


def test_level_is_the_exponential_mean_of_the_power():
    tracker = LevelTracker(HOP, 16000, 0.02)
    audio = torch.randn(1, 700 * HOP, dtype=torch.float64)  # more frames than a block has
    tracked, _ = tracker(audio, audio.new_zeros(1, 1))
    keep = math.exp(-HOP / (16000 * 0.02))
    value, expected = 0.0, []
    for frame in audio.view(-1, HOP):
        value = keep * value + (1 - keep) * float(frame.square().mean())
        expected.append(value)
    torch.testing.assert_close(tracked[0], torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=1e-7)


def test_level_forgets_with_its_time_constant():
    tracker = LevelTracker(HOP, 16000, 0.5)
    _, state = tracker(torch.ones(1, 100 * 800), torch.zeros(1, 1))
    assert float(state) == pytest.approx(1.0, abs=1e-3)
    silence, _ = tracker(torch.zeros(1, 8000), state)  # half a second, one time constant
    assert float(silence[0, -1]) == pytest.approx(1 / math.e, rel=1e-3)


def test_analysis_then_overlap_add_is_a_delay():
    analysis, synthesis = fourier_filters(64, 2 * HOP)
    frame, overlap = FrameAnalysis(analysis, HOP), OverlapAdd(synthesis)
    audio = torch.randn(1, 50 * HOP)
    coefficients, _ = frame(audio, frame.init_state(1))
    out, _ = overlap(coefficients, overlap.init_state(1))
    torch.testing.assert_close(out[:, HOP:], audio[:, :-HOP], atol=1e-5, rtol=0)
