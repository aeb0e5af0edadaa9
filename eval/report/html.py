"""The report as one HTML page that needs nothing but itself; what it looks like is in ``page.html.jinja``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from ..manifest import Manifest
from ..metadata import Metadata
from ..metrics import Metric
from ..rows import NOISY, Row
from ..statistics import PairedTest
from ..summary import EvaluationSummary, scores_by_file
from . import figures
from .clips import Clip, make_clips
from .harm import HEAD, NOTE, harm_rows
from .tables import BY_NAME, MISSING, failures_by_detail, interval, label, number, p_value

# Scores of a file by system and metric.
_Scores = Mapping[str, Mapping[str, Mapping[str, float]]]

# Scatter plots are for the metrics people look at first.
_SCATTERED = ("pesq_wb", "pesq_nb", "stoi", "si_sdr", "dnsmos_ovrl", "covl")
_MAX_SCATTERS = 4
_ON_CARDS = ("pesq_wb", "pesq_nb", "stoi", "si_sdr", "dnsmos_ovrl")
_LISTED_FAILURES = 200
# With more systems each is a row of the summary instead of columns: no more fit into a window of 1280 pixels.
_MAX_SIDE_BY_SIDE = 3
# Files that are shown with every system side by side.
COMPARED = 3


class _Card(NamedTuple):
    """One file: its row, scores by metric in the order of the systems, and sounds."""

    row: Row
    scores: list[tuple[Metric, list[float | None]]]
    clips: list[Clip]


def to_html(
    manifest: Manifest,
    summary: EvaluationSummary,
    rows: Sequence[Row],
    metadata: Metadata,
    clips: int = 10,
    best_clips: int = 3,
    compared: int = COMPARED,
) -> str:
    """Build the page.

    Args:
        compared: how many files to show with every system side by side, where there are several.
        clips: how many of the worst files to show with sound and spectrogram, per system.
        best_clips: how many of the best.
    """
    systems = [system for system in summary.systems if system != NOISY]
    colours = {NOISY: figures.NOISY_COLOUR}
    colours |= {s: figures.COLOURS[i % len(figures.COLOURS)] for i, s in enumerate(systems)}
    scores = {
        system: scores_by_file([row for row in rows if row.system == system], summary.metrics)
        for system in summary.systems
    }
    named = ", ".join(systems) if len(systems) < _MAX_SIDE_BY_SIDE else f"{len(systems)} systems"
    environment = Environment(
        loader=PackageLoader("audio_enh.eval.report", ""),
        autoescape=select_autoescape(["jinja"]),
        undefined=StrictUndefined,
        trim_blocks=False,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.globals.update(
        label=label,
        number=number,
        interval=interval,
        p_value=p_value,
        percent="{:.0%}".format,
        tone=_tone,
        row_name=_row_name,
        failures_by_detail=failures_by_detail,
        by_name=BY_NAME,
        missing=MISSING,
        max_side_by_side=_MAX_SIDE_BY_SIDE,
        listed_failures=_LISTED_FAILURES,
        # Macros see what is global only.
        title=f"Evaluation of {named or 'the noisy input'}",
        manifest=manifest,
        summary=summary,
        metrics=[BY_NAME[name] for name in summary.metrics],
        systems=systems,
        colours=colours,
        harm_head=HEAD,
        harm_rows=harm_rows(summary),
        harm_note=NOTE,
        distributions=list(_distributions(summary, scores, colours)),
        scatters=list(_scatters(summary, scores, systems, colours)),
        failing=[row for row in rows if row.failures],
        side_by_side=_side_by_side(summary, rows, scores, compared),
        extremes=list(_extremes(summary, rows, scores, clips, best_clips)),
        files=_files(summary, rows, metadata),
    )
    return environment.get_template("page.html.jinja").render() + "\n"


def _tone(test: PairedTest, metric: Metric) -> str:
    """``good`` or ``bad`` where the interval of a gain leaves out zero."""
    better = test.difference > 0 if metric.higher_is_better else test.difference < 0
    sure = test.low is not None and test.high is not None and (test.low > 0 or test.high < 0)
    return "" if not sure else "good" if better else "bad"


def _row_name(row: Row) -> str:
    return row.system if row.seed is None else f"{row.system} (seed {row.seed})"


def _distributions(
    summary: EvaluationSummary, scores: _Scores, colours: Mapping[str, str]
) -> Iterator[tuple[Metric, Markup]]:
    for name in summary.metrics:
        plot = figures.distribution(
            BY_NAME[name],
            {system: list(scores[system][name].values()) for system in summary.systems},
            {s: stats[name] for s, stats in summary.scores.items() if name in stats},
            colours,
        )
        if plot:
            yield BY_NAME[name], Markup(plot)


def _scatters(
    summary: EvaluationSummary, scores: _Scores, systems: Sequence[str], colours: Mapping[str, str]
) -> Iterator[tuple[Metric, Markup]]:
    if NOISY not in scores or not systems:
        return
    chosen = [name for name in _SCATTERED if name in summary.metrics][:_MAX_SCATTERS]
    for name in chosen or summary.metrics[:_MAX_SCATTERS]:
        after = {system: scores[system][name] for system in systems}
        plot = figures.scatter(BY_NAME[name], scores[NOISY][name], after, colours)
        if plot:
            yield BY_NAME[name], Markup(plot)


def _extremes(
    summary: EvaluationSummary, rows: Sequence[Row], scores: _Scores, n_worst: int, n_best: int
) -> Iterator[tuple[str, str, list[_Card]]]:
    """The worst and the best files of each system."""
    if summary.primary is None:
        return
    by_file = {(row.system, row.file): row for row in rows}  # of several seeds, the last
    for system in [s for s in summary.systems if s != NOISY] or summary.systems:
        shown = {s: scores[s] for s in dict.fromkeys((NOISY, system)) if s in scores}
        worst = summary.worst.get(system, [])[:n_worst]
        best = [file for file in summary.best.get(system, [])[:n_best] if file not in worst]
        for which, files in (("worst", worst), ("best", best)):
            if files:
                yield system, which, [_card(by_file[system, file], shown) for file in files]


def _side_by_side(
    summary: EvaluationSummary, rows: Sequence[Row], scores: _Scores, count: int
) -> list[_Card]:
    """Files from bad to good by the noisy input's score, each with the sound of every system."""
    systems = [system for system in summary.systems if system != NOISY]
    if summary.primary is None or len(systems) < 2 or not count:
        return []
    by_file: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_file.setdefault(row.file, {})[row.system] = row
    whole = [file for file, found in by_file.items() if all(system in found for system in systems)]
    first = scores.get(NOISY, scores[systems[0]])[summary.primary]
    whole.sort(key=lambda file: first.get(file, 0.0))
    places = sorted({round(i * (len(whole) - 1) / max(count - 1, 1)) for i in range(min(count, len(whole)))})
    shown = {s: scores[s] for s in (NOISY, *systems) if s in scores}
    return [
        _card(found[systems[0]], shown, [found[system] for system in systems[1:]])
        for found in (by_file[whole[place]] for place in places)
    ]


def _card(row: Row, scores: _Scores, others: Sequence[Row] = ()) -> _Card:
    """One file's scores and sounds of a system, and of ``others`` beside it."""
    sounds = [("clean", row.reference), (NOISY, row.noisy), *((r.system, r.estimate) for r in (row, *others))]
    paths = [
        (role, Path(path)) for role, path in sounds if path is not None and not (role == row.system == NOISY)
    ]
    # Of a system that lags, the difference is not what it took away.
    told = row.system != NOISY and not others and not row.lag_samples
    difference = (f"removed by {row.system}", NOISY, row.system) if told else None
    shown: list[tuple[Metric, list[float | None]]] = [
        (BY_NAME[name], [scores[s][name].get(row.file) for s in scores if name in scores[s]])
        for name in row.scores
        if name in _ON_CARDS
    ]
    return _Card(row, shown, list(make_clips(paths, difference)))


def _files(summary: EvaluationSummary, rows: Sequence[Row], metadata: Metadata) -> dict[str, object]:
    """The table of all files, which the page's script fills."""
    columns = list(dict.fromkeys(column for values in metadata.values() for column in values))
    heads = ["file", "system", *(BY_NAME[name].label for name in summary.metrics), "lag", "status", *columns]
    table = []
    for row in rows:
        line: list[object] = [row.file, _row_name(row)]
        line += [round(row.scores[name], 4) if name in row.scores else None for name in summary.metrics]
        line += [row.lag_samples, row.reason or "ok"]
        line += [metadata.get(row.file, {}).get(column, "") for column in columns]
        table.append(line)
    return {"heads": heads, "scores": [2, 2 + len(summary.metrics)], "rows": table}
