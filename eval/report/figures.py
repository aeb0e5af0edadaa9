"""Plots as inline SVG: sharp at any size, and each point says which file it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from ..metrics import Metric
from ..statistics import Summary
from .tables import number

# Grey for the unprocessed input, then colours that differ in lightness too.
NOISY_COLOUR = "#98a2b3"
COLOURS = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#0891b2", "#be123c")

_WIDTH = 440
_MARGIN = 14
_ROW_HEIGHT = 54
_SCATTER = 300
# More systems than colours are told apart by their names.
_MAX_UNNAMED = len(COLOURS)


def distribution(
    metric: Metric,
    scores: Mapping[str, Sequence[float]],
    stats: Mapping[str, Summary],
    colours: Mapping[str, str],
) -> str:
    """Density of the scores of each system, above it nothing, below it quartiles and the mean's interval.

    Args:
        scores: by system.
        stats: by system.
        colours: by system.
    """
    present = {system: np.asarray(values) for system, values in scores.items() if len(values)}
    if not present:
        return ""
    low, high = _limits(np.concatenate(list(present.values())))
    ticks = nice_ticks(low, high)

    def x(value: float) -> float:
        return _MARGIN + (value - low) / (high - low) * (_WIDTH - 2 * _MARGIN)

    bottom = _ROW_HEIGHT * len(present) + 6
    parts = [
        f'<line class="grid" x1="{x(t):.1f}" x2="{x(t):.1f}" y1="4" y2="{bottom}"/>'
        f'<text class="tick" x="{x(t):.1f}" y="{bottom + 15}" text-anchor="middle">{_tick(t)}</text>'
        for t in ticks
    ]
    for index, (system, values) in enumerate(present.items()):
        parts.append(
            _density_row(
                system, values, stats[system], colours[system], x, _ROW_HEIGHT * index, metric, low, high
            )
        )
        if len(present) > _MAX_UNNAMED:
            y = _ROW_HEIGHT * index + 14
            parts.append(f'<text class="tick" x="{_MARGIN}" y="{y}">{escape(system)}</text>')
    return _svg(_WIDTH, bottom + 22, f"Distribution of {metric.label}", parts)


def scatter(
    metric: Metric,
    before: Mapping[str, float],
    after: Mapping[str, Mapping[str, float]],
    colours: Mapping[str, str],
) -> str:
    """Score of the noisy input against the score of each system, one point per file; the diagonal is no
    change.

    Args:
        before: file to score of the noisy input.
        after: system, file: score.
    """
    pairs = [
        (system, file, before[file], value)
        for system, files in after.items()
        for file, value in files.items()
        if file in before
    ]
    if not pairs:
        return ""
    low, high = _limits(np.array([pair[2:] for pair in pairs]).reshape(-1))
    left, bottom, size = 40, _SCATTER - 34, _SCATTER - 34 - 10
    scale = size / (high - low)

    def x(value: float) -> float:
        return left + (value - low) * scale

    def y(value: float) -> float:
        return bottom - (value - low) * scale

    parts = []
    for t in nice_ticks(low, high, 5):
        parts.append(
            f'<line class="grid" x1="{x(t):.1f}" x2="{x(t):.1f}" y1="10" y2="{bottom}"/>'
            f'<line class="grid" x1="{left}" x2="{left + size}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
            f'<text class="tick" x="{x(t):.1f}" y="{bottom + 14}" text-anchor="middle">{_tick(t)}</text>'
            f'<text class="tick" x="{left - 6}" y="{y(t) + 4:.1f}" text-anchor="end">{_tick(t)}</text>'
        )
    parts.append(f'<line class="diagonal" x1="{x(low)}" y1="{y(low)}" x2="{x(high)}" y2="{y(high)}"/>')
    for system, file, old, new in pairs:
        title = f"{file}: {number(old, metric)} → {number(new, metric)} ({system})"
        parts.append(
            f'<circle cx="{x(old):.1f}" cy="{y(new):.1f}" r="3.2" fill="{colours[system]}"'
            f' fill-opacity="0.55"><title>{escape(title)}</title></circle>'
        )
    middle = left + size / 2
    parts.append(f'<text class="axis" x="{middle}" y="{_SCATTER - 4}" text-anchor="middle">noisy</text>')
    parts.append(
        f'<text class="axis" transform="translate(11 {10 + size / 2}) rotate(-90)"'
        ' text-anchor="middle">enhanced</text>'
    )
    return _svg(_SCATTER, _SCATTER, f"{metric.label}: noisy against enhanced", parts)


def nice_ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers between two limits, about so many."""
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _density_row(
    system: str,
    values: NDArray[np.float64],
    stat: Summary,
    colour: str,
    x: Callable[[float], float],
    top: float,
    metric: Metric,
    low: float,
    high: float,
) -> str:
    base = top + 36.0
    grid = np.linspace(low, high, 121)
    density = _density(values, grid)
    outline = " ".join(f"{x(g):.1f},{base - 28 * d:.1f}" for g, d in zip(grid, density, strict=True))
    first, third = np.percentile(values, [25, 75])
    interval = ""
    if stat.low is not None and stat.high is not None:
        interval = (
            f'<line x1="{x(stat.low):.1f}" x2="{x(stat.high):.1f}" y1="{base + 9}" y2="{base + 9}"'
            f' stroke="{colour}" stroke-width="7" stroke-opacity="0.35"/>'
        )
    title = (
        f"{system}: mean {number(stat.mean, metric)}, median {number(stat.median, metric)},"
        f" {number(stat.minimum, metric)} to {number(stat.maximum, metric)}, n = {stat.count}"
    )
    return (
        f"<g><title>{escape(title)}</title>"
        f'<polygon points="{x(low):.1f},{base:.1f} {outline} {x(high):.1f},{base:.1f}" fill="{colour}"'
        f' fill-opacity="0.22" stroke="{colour}" stroke-width="1.2"/>'
        f'<line x1="{x(first):.1f}" x2="{x(third):.1f}" y1="{base + 9}" y2="{base + 9}" stroke="{colour}"'
        f' stroke-width="1.6"/>{interval}'
        f'<circle cx="{x(stat.mean):.1f}" cy="{base + 9}" r="3.6" fill="{colour}"/></g>'
    )


def _density(values: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kernel density, highest point 1; Silverman's bandwidth, not under one step of the grid."""
    spread = min(values.std(), (np.percentile(values, 75) - np.percentile(values, 25)) / 1.34) or values.std()
    width = max(0.9 * spread * values.size**-0.2, 1.5 * (grid[1] - grid[0]))
    density = np.exp(-0.5 * np.square((grid[:, None] - values[None, :]) / width)).sum(1)
    return density / density.max()


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low) or max(abs(low), 1.0) * 0.05
    return low - room, high + room


def _tick(value: float) -> str:
    return f"{value:.4g}".replace("-", "\u2212")


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
