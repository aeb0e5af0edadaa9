"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from ..manifest import Manifest
from ..metadata import Metadata
from ..metrics import Metric
from ..rows import NOISY, Row
from ..statistics import PairedTest, Summary
from ..summary import EvaluationSummary, scores_by_file
from . import figures
from .clips import Clip, make_clips
from .tables import BY_NAME, MISSING, failures_by_detail, interval, label, number, p_value

# Scatter plots are for the metrics people look at first.
_SCATTERED = ("pesq_wb", "pesq_nb", "stoi", "si_sdr", "dnsmos_ovrl", "covl")
_MAX_SCATTERS = 4
_LISTED_FAILURES = 200
# With more systems each is a row of the summary instead of columns: no more fit into a window of 1280 pixels.
_MAX_SIDE_BY_SIDE = 3
# Files that are shown with every system side by side.
COMPARED = 3


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
    sections = [
        ("summary", "Summary", _summary(summary, colours)),
        ("distributions", "Distributions", _distributions(summary, scores, colours)),
        ("scatter", "Noisy against enhanced", _scatters(summary, scores, systems, colours)),
        ("groups", "By condition", _groups(summary, colours)),
        ("seeds", "Spread over seeds", _seeds(summary)),
        ("speed", "Speed", _speed(summary)),
        ("failures", "Failures", _failures(summary, rows)),
        ("compare", "Side by side", _side_by_side_clips(summary, rows, scores, compared)),
        ("listen", "Worst and best files", _listen(summary, rows, scores, clips, best_clips)),
        ("files", "All files", _files(summary, rows, metadata)),
        ("manifest", "How this was made", _manifest(manifest)),
    ]
    sections = [section for section in sections if section[2]]
    navigation = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in sections)
    body = "".join(
        f'<section id="{anchor}"><h2>{title}</h2>{content}</section>' for anchor, title, content in sections
    )
    named = ", ".join(systems) if len(systems) < _MAX_SIDE_BY_SIDE else f"{len(systems)} systems"
    title = f"Evaluation of {named or 'the noisy input'}"
    assets = resources.files(__package__)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # An icon of its own, or the browser asks for /favicon.ico and logs that it is not there.
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title>'
        f"<style>{assets.joinpath('page.css').read_text(encoding='utf-8')}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><p>{_subtitle(manifest, summary)}</p></header>"
        f"<nav>{navigation}</nav><main>{_notes(manifest)}{body}</main>"
        f"<script>{assets.joinpath('page.js').read_text(encoding='utf-8')}</script></body></html>\n"
    )


def _subtitle(manifest: Manifest, summary: EvaluationSummary) -> str:
    protocol = f" · protocol {escape(str(manifest.protocol['name']))}" if manifest.protocol else ""
    return (
        f"{summary.files} files{protocol}"
        f" · {escape(manifest.created.replace('T', ' ').removesuffix('+00:00'))} UTC"
        f" · audio-enh {escape(manifest.audio_enh)}"
    )


def _notes(manifest: Manifest) -> str:
    return "".join(f'<p class="note">{escape(_sentence(warning))}</p>' for warning in manifest.warnings)


def _sentence(text: str) -> str:
    return text + ("" if text.endswith(("?", ".")) else ".")


def _summary(summary: EvaluationSummary, colours: Mapping[str, str]) -> str:
    table = _side_by_side if len(summary.systems) <= _MAX_SIDE_BY_SIDE else _one_below_the_other
    note = (
        "Mean over files, in brackets its 95 % interval. Gain: over the noisy input, file"
        " by file. p: Wilcoxon signed-rank test, adjusted for the number of metrics (Holm)."
    )
    return _wide(table(summary, colours)) + f'<p class="small">{note}</p>'


def _side_by_side(summary: EvaluationSummary, colours: Mapping[str, str]) -> str:
    head = ["<th>metric</th>"]
    for system in summary.systems:
        head.append(f'<th class="n">{_dot(colours[system])}{escape(system)}</th>')
        if system in summary.against_noisy:
            head.append('<th class="n">gain</th><th class="n">better in</th><th class="n">p</th>')
    body = []
    for name in summary.metrics:
        metric = BY_NAME[name]
        cells = [f"<th>{escape(label(metric))}</th>"]
        for system in summary.systems:
            cells.append(_score_cell(summary.scores[system].get(name), metric, summary.files))
            if system in summary.against_noisy:
                cells.append(_gain_cells(summary.against_noisy[system].get(name), metric))
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _one_below_the_other(summary: EvaluationSummary, colours: Mapping[str, str]) -> str:
    """A row for each system, a cell for each metric with its gain below the mean: wide pages do not grow wider."""
    head = [
        "<th>system</th>",
        *(f'<th class="n">{escape(label(BY_NAME[name]))}</th>' for name in summary.metrics),
    ]
    body = []
    for system in summary.systems:
        cells = [f"<th>{_dot(colours[system])}{escape(system)}</th>"]
        for name in summary.metrics:
            stat, metric = summary.scores[system].get(name), BY_NAME[name]
            test = summary.against_noisy.get(system, {}).get(name)
            if stat is None:
                cells.append(f'<td class="n">{MISSING}</td>')
                continue
            lines = [f"<b>{number(stat.mean, metric)}</b>", interval(stat.low, stat.high, metric)]
            if stat.count != summary.files:
                lines.append(f"{stat.count} of {summary.files} files")
            if test is not None:
                gain = number(test.difference, metric, sign=True)
                lines.append(
                    f'<span class="{_tone(test, metric)}"><b>{gain}</b></span> {escape(p_value(test.holm_p))}'
                )
                lines.append(f"better in {test.win_rate:.0%}")
            small = "".join(f'<div class="small">{line}</div>' for line in lines[1:])
            cells.append(f'<td class="n">{lines[0]}{small}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table class="compact"><thead><tr>{"".join(head)}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _tone(test: PairedTest, metric: Metric) -> str:
    """``good`` or ``bad`` where the interval of a gain leaves out zero."""
    better = test.difference > 0 if metric.higher_is_better else test.difference < 0
    sure = test.low is not None and test.high is not None and (test.low > 0 or test.high < 0)
    return "" if not sure else "good" if better else "bad"


def _score_cell(stat: Summary | None, metric: Metric, files: int) -> str:
    if stat is None:
        return f'<td class="n">{MISSING}</td>'
    count = "" if stat.count == files else f" · {stat.count} of {files} files"
    return (
        f'<td class="n"><b>{number(stat.mean, metric)}</b> '
        f'<span class="ci">{interval(stat.low, stat.high, metric)}</span>'
        f'<div class="small">median {number(stat.median, metric)}{count}</div></td>'
    )


def _gain_cells(test: PairedTest | None, metric: Metric) -> str:
    if test is None:
        return f'<td class="n">{MISSING}</td>' * 3
    return (
        f'<td class="n {_tone(test, metric)}"><b>{number(test.difference, metric, sign=True)}</b> '
        f'<span class="ci">{interval(test.low, test.high, metric, sign=True)}</span></td>'
        f'<td class="n">{test.win_rate:.0%}</td><td class="n">{escape(p_value(test.holm_p))}</td>'
    )


def _distributions(
    summary: EvaluationSummary,
    scores: Mapping[str, Mapping[str, Mapping[str, float]]],
    colours: Mapping[str, str],
) -> str:
    plots = []
    for name in summary.metrics:
        plot = figures.distribution(
            BY_NAME[name],
            {system: list(scores[system][name].values()) for system in summary.systems},
            {s: stats[name] for s, stats in summary.scores.items() if name in stats},
            colours,
        )
        if plot:
            plots.append(f"<figure><figcaption>{escape(label(BY_NAME[name]))}</figcaption>{plot}</figure>")
    note = (
        "Density of the files' scores; below it the mean (dot), its interval (band) and the quartiles (line)."
    )
    return (
        _legend(summary.systems, colours)
        + f'<div class="grid2">{"".join(plots)}</div>'
        + (f'<p class="small">{note}</p>')
    )


def _scatters(
    summary: EvaluationSummary,
    scores: Mapping[str, Mapping[str, Mapping[str, float]]],
    systems: Sequence[str],
    colours: Mapping[str, str],
) -> str:
    if NOISY not in scores or not systems:
        return ""
    chosen = [name for name in _SCATTERED if name in summary.metrics][:_MAX_SCATTERS]
    plots = []
    for name in chosen or summary.metrics[:_MAX_SCATTERS]:
        after = {system: scores[system][name] for system in systems}
        plot = figures.scatter(BY_NAME[name], scores[NOISY][name], after, colours)
        if plot:
            plots.append(f"<figure><figcaption>{escape(label(BY_NAME[name]))}</figcaption>{plot}</figure>")
    if not plots:
        return ""
    note = "One point per file; hover for its name. On the dashed line nothing has changed."
    return _legend(systems, colours) + f'<div class="grid4">{"".join(plots)}</div><p class="small">{note}</p>'


def _groups(summary: EvaluationSummary, colours: Mapping[str, str]) -> str:
    parts = []
    for column, groups in summary.groups.items():
        head = ["<th>group</th>", "<th>system</th>", '<th class="n">files</th>']
        head += [f'<th class="n">{escape(label(BY_NAME[name]))}</th>' for name in summary.metrics]
        body = []
        for group, systems in groups.items():
            for index, system in enumerate(summary.systems):
                stats = systems.get(system, {})
                count = max((stat.count for stat in stats.values()), default=0)
                first = f'<th rowspan="{len(summary.systems)}">{escape(group)}</th>' if index == 0 else ""
                cells = "".join(
                    f'<td class="n">{number(stats[name].mean if name in stats else None, BY_NAME[name])}</td>'
                    for name in summary.metrics
                )
                start = ' class="start"' if index == 0 else ""
                body.append(
                    f"<tr{start}>{first}<td>{_dot(colours[system])}{escape(system)}</td>"
                    f'<td class="n">{count}</td>{cells}</tr>'
                )
        table = (
            f'<table class="groups"><thead><tr>{"".join(head)}</tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table>"
        )
        parts.append(f"<h3>{escape(column)}</h3>{_wide(table)}")
    return "".join(parts)


def _seeds(summary: EvaluationSummary) -> str:
    body = [
        f"<tr><td>{escape(system)}</td><th>{escape(label(BY_NAME[name]))}</th>"
        f"<td>{escape(', '.join(f'{s}: {number(m, BY_NAME[name])}' for s, m in spread.means.items()))}</td>"
        f'<td class="n">{spread.std_of_means:.4f}</td><td class="n">{spread.std_within_files:.4f}</td></tr>'
        for system, spreads in summary.seeds.items()
        for name, spread in spreads.items()
    ]
    head = "<th>system</th><th>metric</th><th>mean by seed</th>"
    head += '<th class="n">std of the means</th><th class="n">std within files</th>'
    return (
        _wide(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>") if body else ""
    )


def _speed(summary: EvaluationSummary) -> str:
    body = [
        f'<tr><th>{escape(system)}</th><td class="n"><b>{speed.real_time_factor:.3f}</b></td>'
        f'<td class="n">{speed.median:.3f} / {speed.p95:.3f}</td>'
        f'<td class="n">{speed.peak_memory_mb:.0f} MB</td><td class="n">{speed.seconds_audio:.0f} s</td>'
        f"<td>{escape(speed.device)}</td></tr>"
        for system, speed in summary.speed.items()
    ]
    head = '<th>system</th><th class="n">real-time factor</th><th class="n">median / p95 of files</th>'
    head += '<th class="n">peak memory</th><th class="n">audio</th><th>device</th>'
    return (
        _wide(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>") if body else ""
    )


def _failures(summary: EvaluationSummary, rows: Sequence[Row]) -> str:
    failing = [row for row in rows if row.failures]
    if not failing:
        return ""
    counts = "".join(
        f'<tr><td>{escape(system)}</td><td>{escape(reason)}</td><td class="n">{count}</td></tr>'
        for system, reasons in summary.failures.items()
        for reason, count in reasons.items()
    )
    items = "".join(
        f"<li><b>{escape(row.file)}</b> ({escape(_name(row))}): "
        + escape("; ".join(f"{', '.join(n)}: {detail}" for detail, n in failures_by_detail(row).items()))
        + "</li>"
        for row in failing[:_LISTED_FAILURES]
    )
    more = len(failing) - _LISTED_FAILURES
    rest = f'<p class="small">{more} more in rows.csv.</p>' if more > 0 else ""
    table = (
        '<table><thead><tr><th>system</th><th>reason</th><th class="n">files</th></tr></thead>'
        f"<tbody>{counts}</tbody></table>"
    )
    return (
        f"{_wide(table)}<details open><summary>{len(failing)} files</summary><ul>{items}</ul></details>{rest}"
    )


def _listen(
    summary: EvaluationSummary,
    rows: Sequence[Row],
    scores: Mapping[str, Mapping[str, Mapping[str, float]]],
    n_worst: int,
    n_best: int,
) -> str:
    if summary.primary is None or n_worst + n_best == 0:
        return ""
    metric = BY_NAME[summary.primary]
    by_file = {(row.system, row.file): row for row in rows}  # of several seeds, the last
    parts = []
    for system in [s for s in summary.systems if s != NOISY] or summary.systems:
        worst = summary.worst.get(system, [])[:n_worst]
        best = [file for file in summary.best.get(system, [])[:n_best] if file not in worst]
        for title, files in (("worst", worst), ("best", best)):
            cards = [
                _card(
                    by_file[system, file],
                    {s: scores[s] for s in dict.fromkeys((NOISY, system)) if s in scores},
                )
                for file in files
            ]
            if cards:
                parts.append(
                    f"<h3>{escape(system)}: {title} by {escape(metric.label)}</h3>"
                    f'<div class="cards">{"".join(cards)}</div>'
                )
    return "".join(parts)


def _side_by_side_clips(
    summary: EvaluationSummary,
    rows: Sequence[Row],
    scores: Mapping[str, Mapping[str, Mapping[str, float]]],
    count: int,
) -> str:
    """Files from bad to good by the noisy input's score, each with the sound of every system."""
    systems = [system for system in summary.systems if system != NOISY]
    if summary.primary is None or len(systems) < 2 or not count:
        return ""
    by_file: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_file.setdefault(row.file, {})[row.system] = row
    whole = [file for file, found in by_file.items() if all(system in found for system in systems)]
    first = scores.get(NOISY, scores[systems[0]])[summary.primary]
    whole.sort(key=lambda file: first.get(file, 0.0))
    places = sorted({round(i * (len(whole) - 1) / max(count - 1, 1)) for i in range(min(count, len(whole)))})
    cards = [
        _card(
            by_file[whole[place]][systems[0]],
            {s: scores[s] for s in (NOISY, *systems) if s in scores},
            [by_file[whole[place]][system] for system in systems[1:]],
        )
        for place in places
    ]
    note = "The noisy input from its worst to its best score. Scores in the order of the sounds."
    return f'<p class="small">{note}</p><div class="cards">{"".join(cards)}</div>' if cards else ""


def _card(
    row: Row, scores: Mapping[str, Mapping[str, Mapping[str, float]]], others: Sequence[Row] = ()
) -> str:
    """One file: its scores and sounds of a system, and of ``others`` beside it."""
    sounds = [("clean", row.reference), (NOISY, row.noisy), *((r.system, r.estimate) for r in (row, *others))]
    paths = [
        (role, Path(path)) for role, path in sounds if path is not None and not (role == row.system == NOISY)
    ]
    chips = []
    for name in (
        name for name in row.scores if name in ("pesq_wb", "pesq_nb", "stoi", "si_sdr", "dnsmos_ovrl")
    ):
        metric = BY_NAME[name]
        values = [scores[s][name].get(row.file) for s in scores if name in scores[s]]
        text = " → ".join(number(value, metric) for value in values)
        chips.append(f"<span>{escape(metric.label)} <b>{text}</b></span>")
    seed = "" if row.seed is None else f' <span class="small">seed {row.seed}</span>'
    # Of a system that lags, the difference is not what it took away.
    told = row.system != NOISY and not others and not row.lag_samples
    difference = (f"removed by {row.system}", NOISY, row.system) if told else None
    clips = "".join(_clip(clip) for clip in make_clips(paths, difference))
    return (
        f'<article class="card"><h4>{escape(row.file)}{seed}</h4><p class="chips">{"".join(chips)}</p>'
        f'<div class="clips">{clips}</div></article>'
    )


def _clip(clip: Clip) -> str:
    cut = f", first {clip.seconds:g} s" if clip.cut else ""
    return (
        f'<div class="clip"><div class="role">{escape(clip.role)}'
        f'<span class="small">{clip.seconds:.1f} s, 0 to {clip.top_khz:g} kHz{cut}</span></div>'
        f'<div class="spectrogram" data-seconds="{clip.seconds:.3f}">'
        f'<img src="{clip.image}" alt="spectrogram of the {escape(clip.role)} signal">'
        '<i class="playhead"></i></div>'
        f'<audio controls preload="metadata" src="{clip.audio}"></audio></div>'
    )


def _files(summary: EvaluationSummary, rows: Sequence[Row], metadata: Metadata) -> str:
    columns = list(dict.fromkeys(column for values in metadata.values() for column in values))
    heads = ["file", "system", *(BY_NAME[name].label for name in summary.metrics), "lag", "status", *columns]
    table = []
    for row in rows:
        line: list[object] = [row.file, _name(row)]
        line += [round(row.scores[name], 4) if name in row.scores else None for name in summary.metrics]
        line += [row.lag_samples, row.reason or "ok"]
        line += [metadata.get(row.file, {}).get(column, "") for column in columns]
        table.append(line)
    # "</script" would end the element wherever it stands, "<!--" hide its end.
    content = {"heads": heads, "scores": [2, 2 + len(summary.metrics)], "rows": table}
    data = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    return (
        '<p><input id="filter" type="search" placeholder="filter, such as p232 or failed" '
        'aria-label="filter the files"> <span id="shown" class="small"></span></p>'
        f'<div class="wide tall"><table id="rows"></table></div>'
        f'<script type="application/json" id="rows-data">{data}</script>'
    )


def _manifest(manifest: Manifest) -> str:
    entries: list[tuple[str, str]] = [("command", f"<code>{escape(' '.join(manifest.command))}</code>")]
    entries += [(role, f"<code>{escape(folder)}</code>") for role, folder in manifest.folders.items()]
    rate = manifest.settings["sample_rate"]
    settings = ", ".join(
        (
            f"lag taken out up to {manifest.settings['align_ms']:g} ms",
            f"lengths made equal up to {manifest.settings['trim_ms']:g} ms",
            "at the files' own rate" if rate is None else f"at {rate} Hz",
        )
    )
    entries += [
        ("pairs", f"matched by {escape(manifest.match)}"),
        ("settings", escape(settings)),
        ("metrics", escape("; ".join(f"{key}: {value}" for key, value in manifest.definitions.items()))),
        ("resampler", escape(manifest.resampler)),
        ("interval", escape(manifest.interval)),
        ("packages", escape(", ".join(f"{k} {v}" for k, v in manifest.packages.items()))),
        ("system", escape(f"Python {manifest.python}, {manifest.platform}, {manifest.workers} processes")),
        ("time", f"{manifest.seconds:g} s"),
    ]
    if manifest.references_sha256:
        entries.append(
            ("references", f"<code>{manifest.references_sha256}</code> (SHA-256 of names and contents)")
        )
    if manifest.protocol:
        entries.append(("protocol", escape("; ".join(f"{k}: {v}" for k, v in manifest.protocol.items()))))
    for system, model in manifest.models.items():
        text = "; ".join(f"{key}: {value}" for key, value in model.items())
        entries.append((f"model {system}", f"<code>{escape(text)}</code>"))
    return "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{value}</dd>" for key, value in entries) + "</dl>"


def _name(row: Row) -> str:
    return row.system if row.seed is None else f"{row.system} (seed {row.seed})"


def _dot(colour: str) -> str:
    return f'<i class="dot" style="background:{colour}"></i>'


def _legend(systems: Sequence[str], colours: Mapping[str, str]) -> str:
    items = "".join(f"<span>{_dot(colours[system])}{escape(system)}</span>" for system in systems)
    return f'<p class="legend">{items}</p>'


def _wide(table: str) -> str:
    """A table that scrolls inside the page instead of making it wider."""
    return f'<div class="wide">{table}</div>'
