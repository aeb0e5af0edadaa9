"""Convolutions by pieces: the same as on the whole, and nothing from the future."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from audio_enh.models.demucs.streaming_conv import conv_step, conv_transpose_step, conv_transpose_tail

SHAPES = [(8, 4), (4, 4), (5, 2), (3, 1), (1, 1)]


def pieces(x: Tensor, block: int) -> list[Tensor]:
    return list(x.split(block, dim=-1))


@pytest.mark.parametrize(("kernel", "stride"), SHAPES)
@pytest.mark.parametrize("block", [1, 2, 3, 7, 50, 100])
def test_convolution(kernel: int, stride: int, block: int) -> None:
    conv = nn.Conv1d(3, 5, kernel, stride)
    x = torch.randn(2, 3, 100)
    buffer, frames = x[..., :0], []
    for piece in pieces(x, block):
        frame, buffer = conv_step(conv, piece, buffer)
        frames.append(frame)
        assert buffer.shape[-1] < kernel  # no more is kept than the next frame needs
    torch.testing.assert_close(torch.cat(frames, -1), conv(x))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "stride"), SHAPES)
@pytest.mark.parametrize("block", [1, 2, 7, 30])
def test_transposed_convolution(kernel: int, stride: int, block: int, bias: bool) -> None:
    conv = nn.ConvTranspose1d(3, 5, kernel, stride, bias=bias)
    x = torch.randn(2, 3, 30)
    overlap, samples = x.new_zeros(2, 5, kernel - stride), []
    for piece in pieces(x, block):
        sample, overlap = conv_transpose_step(conv, piece, overlap)
        assert sample.shape[-1] == piece.shape[-1] * stride
        samples.append(sample)
    samples.append(conv_transpose_tail(conv, overlap))
    torch.testing.assert_close(torch.cat(samples, -1), conv(x))


def test_a_frame_needs_its_whole_input() -> None:
    conv = nn.Conv1d(1, 1, 8, 4)
    frames, buffer = conv_step(conv, torch.randn(1, 1, 7), torch.zeros(1, 1, 0))
    assert frames.shape == (1, 1, 0)
    frames, buffer = conv_step(conv, torch.randn(1, 1, 1), buffer)
    assert frames.shape == (1, 1, 1)
    assert buffer.shape == (1, 1, 4)


def test_final_samples_do_not_change() -> None:
    conv = nn.ConvTranspose1d(1, 1, 8, 4)
    x = torch.randn(1, 1, 10)
    final, _ = conv_transpose_step(conv, x[..., :6], torch.zeros(1, 1, 4))
    other = torch.cat([x[..., :6], torch.randn(1, 1, 4)], dim=-1)
    torch.testing.assert_close(final, conv(x)[..., :24])
    torch.testing.assert_close(final, conv(other)[..., :24])


def test_nothing_in_nothing_out() -> None:
    conv = nn.ConvTranspose1d(2, 3, 8, 4)
    overlap = torch.randn(1, 3, 4)
    samples, after = conv_transpose_step(conv, torch.zeros(1, 2, 0), overlap)
    assert samples.shape == (1, 3, 0)
    assert torch.equal(after, overlap)
