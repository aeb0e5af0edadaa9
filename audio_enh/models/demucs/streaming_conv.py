"""Convolutions run piece by piece: the same numbers as on the whole signal, with the state passed explicitly.

Two rules make a strided convolution streamable. A convolution keeps the input that a later frame still needs;
a transposed convolution keeps the part of its output that a later frame still adds to (overlap-add). Neither
pads: a model that wants zeros before the first sample starts from a buffer of zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv_step(conv: nn.Conv1d, x: Tensor, buffer: Tensor) -> tuple[Tensor, Tensor]:
    """Advance an unpadded, undilated convolution.

    Args:
        conv: the layer, with ``kernel_size >= stride``.
        x: ``(batch, channels, n)``, the next samples.
        buffer: ``(batch, channels, b)``, the samples left over from before.

    Returns:
        The frames that ``buffer`` and ``x`` complete, ``(batch, out_channels, frames)``, maybe none, and the
        new buffer.
    """
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    signal = torch.cat([buffer, x], dim=-1)
    if signal.shape[-1] < kernel:
        return signal.new_zeros(signal.shape[0], conv.out_channels, 0), signal
    frames = conv(signal)
    return frames, signal[..., frames.shape[-1] * stride :]


def conv_transpose_step(conv: nn.ConvTranspose1d, x: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor]:
    """Advance an unpadded transposed convolution by overlap-add.

    Args:
        conv: the layer, with ``kernel_size >= stride``.
        x: ``(batch, channels, frames)``, the next frames.
        overlap: ``(batch, out_channels, kernel_size - stride)``, what earlier frames add to the samples to
            come, without bias; zeros at the start.

    Returns:
        The samples that no later frame adds to, ``(batch, out_channels, frames * stride)``, and the new
        overlap. At the end of a stream, `conv_transpose_tail` of the overlap is the rest.
    """
    if x.shape[-1] == 0:
        return overlap[..., :0], overlap
    summed = F.conv_transpose1d(x, conv.weight, stride=conv.stride)
    tail = summed.shape[-1] - overlap.shape[-1]
    summed = summed + F.pad(overlap, (0, tail))
    final = x.shape[-1] * conv.stride[0]
    return conv_transpose_tail(conv, summed[..., :final]), summed[..., final:]


def conv_transpose_tail(conv: nn.ConvTranspose1d, overlap: Tensor) -> Tensor:
    """The samples that ``overlap`` becomes when no frame follows."""
    return overlap if conv.bias is None else overlap + conv.bias[:, None]
