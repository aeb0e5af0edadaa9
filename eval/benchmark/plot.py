"""Quality against cost, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..report.tables import BY_NAME
from ..summary import EvaluationSummary
from .results import Participant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"model": "#2563eb", "peer": "#667085"}
_LABEL_POINTS = 8.0


def draw(
    entries: Sequence[Participant], summary: EvaluationSummary, metrics: Sequence[str], path: Path
) -> bool:
    """Gain over the noisy input against real-time factor, one panel per metric, written as PNG.

    Args:
        metrics: those without a gain are left out.

    Returns:
        Whether there was anything to draw.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    panels = [
        (metric, points)
        for metric in metrics
        if (points := [e for e in entries if _gain(e, summary, metric)])
    ]
    if not panels:
        return False
    figure = Figure(figsize=(6.2 * len(panels), 5.2), dpi=110, layout="constrained")
    for axes, (metric, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(figure, axes, points, summary, metric)
    legend = [
        Line2D([], [], color=_COLOURS["model"], marker="o", ls="", label="this project, causal"),
        Line2D(
            [], [], color=_COLOURS["model"], marker="o", mfc="white", ls="", label="this project, whole files"
        ),
        Line2D([], [], color=_COLOURS["peer"], marker="s", ls="", label="others, causal"),
        Line2D([], [], color=_COLOURS["peer"], marker="s", mfc="white", ls="", label="others, whole files"),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path)
    return True


def _gain(entry: Participant, summary: EvaluationSummary, metric: str) -> bool:
    return entry.cost is not None and metric in summary.against_noisy.get(entry.system.name, {})


def _panel(
    figure: Figure, axes: Axes, entries: Sequence[Participant], summary: EvaluationSummary, metric: str
) -> None:
    axes.set_xscale("log")
    axes.axhline(0, color="#98a2b3", lw=1)
    axes.grid(True, which="major", color="#e4e7ec", lw=0.7)
    axes.set_axisbelow(True)
    placed = []
    for entry in entries:
        assert entry.cost is not None
        test = summary.against_noisy[entry.system.name][metric]
        x, y = entry.cost.real_time_factor, test.difference
        colour = _COLOURS[entry.system.kind]
        if test.low is not None and test.high is not None:
            axes.plot([x, x], [test.low, test.high], color=colour, lw=1, alpha=0.6, zorder=2)
        axes.plot(
            x,
            y,
            marker="o" if entry.system.kind == "model" else "s",
            color=colour,
            mfc=colour if entry.system.latency_ms is not None else "white",
            ms=6,
            zorder=3,
        )
        placed.append((x, y, entry.system.name, colour))
    left, right = axes.get_xlim()
    axes.set_xlim(left, right * (right / left) ** 0.25)  # the names stand to the right
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    if axes.get_xlim()[0] < 1 < axes.get_xlim()[1]:
        axes.axvline(1, color="#98a2b3", lw=1, ls=":")
        axes.annotate(
            "real time", (1, 1), (-3, -3), ("data", "axes fraction"), "offset points",
            ha="right", va="top", fontsize=_LABEL_POINTS, color="#667085",
        )  # fmt: skip
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("real-time factor on one core")
    metric_of = BY_NAME[metric]
    axes.set_ylabel(
        f"{metric_of.label}, gain over the noisy input" + (" (dB)" if metric_of.unit == "dB" else "")
    )
    _name(figure, axes, placed)


def _name(figure: Figure, axes: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Names beside the points, each at the first of several places where it covers no point and no other name."""
    from matplotlib.patheffects import withStroke

    figure.draw_without_rendering()  # settles where the axes are
    pixels = figure.dpi / 72
    height = 1.15 * _LABEL_POINTS * pixels
    centres = [tuple(axes.transData.transform((x, y))) for x, y, _, _ in points]
    margin = 5 * pixels
    taken = [(u - margin, v - margin, u + margin, v + margin) for u, v in centres]
    steps = [0, 1, -1, 2, -2, 3, -3, 4, -4]
    for (u, v), (x, y, name, colour) in zip(centres, points, strict=True):
        width = 0.58 * _LABEL_POINTS * pixels * len(name)
        places = [
            (start, v + step * height * 0.6)
            for step in steps
            for start in (u + 1.6 * margin, u - 1.6 * margin - width)
        ]
        boxes = [(left, middle - height / 2, left + width, middle + height / 2) for left, middle in places]
        inside = axes.bbox
        box = next(
            (
                b
                for b in boxes
                if b[0] > inside.x0 and b[2] < inside.x1 and not any(_overlap(b, other) for other in taken)
            ),
            boxes[0],
        )
        taken.append(box)
        axes.annotate(
            name,
            (x, y),
            ((box[0] - u) / pixels, ((box[1] + box[3]) / 2 - v) / pixels),
            textcoords="offset points",
            va="center",
            fontsize=_LABEL_POINTS,
            color=colour,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": colour, "alpha": 0.5}
            if abs((box[1] + box[3]) / 2 - v) > height
            else None,
        )


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
