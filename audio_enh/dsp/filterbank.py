"""A low-latency filter bank: odd-frequency Fourier basis under an asymmetric pair of windows.

The analysis window is long (fine frequency resolution) and looks only backwards; the synthesis window covers
just its newest part, so the delay is set by the short window alone (Mauler and Martin, "A low delay, variable
resolution, perfect reconstruction spectral analysis-synthesis system", EUSIPCO 2007). The odd-frequency
transform has its bands at ``(k + 1/2) / n`` cycles per sample: a real frame of ``n`` samples has exactly
``n / 2`` complex coefficients, without the two real ones that an ordinary Fourier transform has at its ends.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def asymmetric_windows(window_length: int, synthesis_length: int) -> tuple[Tensor, Tensor]:
    """Analysis and synthesis windows that reconstruct perfectly at a hop of half the synthesis window.

    Over the newest ``synthesis_length`` samples their product is a Hann window, which adds up to one at that
    hop.

    Args:
        window_length: samples of the analysis window.
        synthesis_length: samples of the synthesis window, even, at most ``window_length``.

    Returns:
        Two float64 tensors, ``(window_length,)`` and ``(synthesis_length,)``.

    Raises:
        ValueError: if the lengths do not fit each other.
    """
    if synthesis_length % 2 or not 0 < synthesis_length <= window_length:
        raise ValueError(
            f"synthesis_length must be even and at most window_length, got {synthesis_length}, {window_length}"
        )
    hop = synthesis_length // 2
    fall = torch.cos((torch.arange(hop, dtype=torch.float64) + 0.5) * (math.pi / 2 / hop))
    rise_length = window_length - hop
    rise = torch.sin((torch.arange(rise_length, dtype=torch.float64) + 0.5) * (math.pi / 2 / rise_length))
    analysis = torch.cat([rise, fall])
    hann = torch.sin(
        (torch.arange(synthesis_length, dtype=torch.float64) + 0.5) * (math.pi / synthesis_length)
    )
    synthesis = hann**2 / analysis[-synthesis_length:]
    return analysis, synthesis


def fourier_filters(window_length: int, synthesis_length: int) -> tuple[Tensor, Tensor]:
    """Analysis and synthesis filters of the windowed odd-frequency Fourier transform.

    Rows ``k`` and ``n_bands + k`` hold the real and the imaginary part of band ``k``, with
    ``n_bands = window_length // 2``. The analysis is scaled so that white noise of unit variance has
    coefficients of about unit variance.

    Args:
        window_length: samples of the analysis window, even.
        synthesis_length: samples of the synthesis window, even.

    Returns:
        Float32 tensors ``(window_length, window_length)`` and ``(window_length, synthesis_length)``: with
        ``c = analysis @ frame``, ``synthesis.T @ c`` overlap-added at half of ``synthesis_length`` is the signal.
    """
    if window_length % 2:
        raise ValueError(f"window_length must be even, got {window_length}")
    analysis_window, synthesis_window = asymmetric_windows(window_length, synthesis_length)
    n_bands = window_length // 2
    band = torch.arange(n_bands, dtype=torch.float64)[:, None] + 0.5
    sample = torch.arange(window_length, dtype=torch.float64)[None, :]
    phase = 2 * math.pi / window_length * band * sample
    basis = torch.cat([torch.cos(phase), -torch.sin(phase)])
    scale = 1 / analysis_window.square().sum().sqrt()
    analysis = basis * analysis_window * scale
    synthesis = basis[:, -synthesis_length:] * synthesis_window * (2 / window_length / scale)
    return analysis.float(), synthesis.float()


def fourier_factors(
    window_length: int, synthesis_length: int, radix: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """:func:`fourier_filters` as products of block-diagonal matrices: an eighth of the multiplications.

    One step of the fast Fourier transform (Cooley and Tukey 1965): with ``Q = window_length / radix``, sample
    ``radix * a + b`` and band ``q + Q * p``, a short transform over ``a`` for each ``b`` and then one over ``b`` for
    each ``q``. Of the short transforms of a real frame half the bands ``q`` suffice, the others are their conjugates.

    Args:
        window_length: samples of the analysis window.
        synthesis_length: samples of the synthesis window, a multiple of ``2 * radix``.
        radix: number of interleaved sub-sequences, even, a divisor of half of ``window_length``.

    Returns:
        Float32 tensors. Analysis: ``(radix, Q, Q)`` takes the samples ``a`` of each sub-sequence to the real and then
        the imaginary parts of its bands ``q < Q / 2``; ``(Q / 2, 2 * radix, 2 * radix)`` takes, for each of them, the
        real and the imaginary parts of all sub-sequences to those of the bands ``q + Q * p`` and then of
        ``Q - 1 - q + Q * p``, both with ``p < radix / 2`` (in the order real, imaginary, real, imaginary). Synthesis,
        the way back: ``(Q / 2, 2 * radix, 2 * radix)`` and ``(radix, Q, synthesis_length / radix)``.

    Raises:
        ValueError: the lengths do not fit each other.
    """
    if radix % 2 or window_length % (2 * radix) or synthesis_length % (2 * radix):
        raise ValueError(
            f"radix {radix} must be even and twice of it divide both windows, {window_length} and {synthesis_length}"
        )
    analysis_window, synthesis_window = asymmetric_windows(window_length, synthesis_length)
    scale = 1 / analysis_window.square().sum().sqrt()
    n, points = window_length, window_length // radix
    count = torch.arange(radix, dtype=torch.float64)
    low = torch.arange(points // 2, dtype=torch.float64)

    # First: sample a (row) to band q (column), with the window of sample radix * a + b.
    phase = -2 * math.pi / points * torch.arange(points, dtype=torch.float64)[:, None] * (low + 0.5)
    short = torch.cat([torch.cos(phase), torch.sin(phase)], dim=1)
    windows = analysis_window.view(points, radix).T * scale
    first = windows[:, :, None] * short

    # Second: for each q, sub-sequence b (row) to p (column), as real matrices.
    upper = count[: radix // 2]
    lower_band = low[:, None] + points * upper
    # The bands from Q / 2 on are computed as conjugates of those at the mirrored place.
    mirrored = n - 1 - (points - 1 - low[:, None] + points * upper)
    blocks = []
    for band, sign in ((lower_band, 1.0), (mirrored, -1.0)):
        phase = -2 * math.pi / n * count[None, :, None] * (band[:, None, :] + 0.5)
        real, imag = torch.cos(phase), torch.sin(phase)
        blocks += [torch.cat([real, -imag], dim=1), sign * torch.cat([imag, real], dim=1)]
    second = torch.cat(blocks, dim=2)

    # The transforms are orthogonal up to a factor; only the windows differ.
    newest = synthesis_length // radix
    back_windows = synthesis_window.view(newest, radix).T * (2 / n / scale)
    back_short = short[-newest:].T[None] * back_windows[:, None, :]
    return first.float(), second.float(), second.transpose(1, 2).contiguous().float(), back_short.float()
