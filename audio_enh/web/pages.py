"""Pieces of HTML that the tabs share; what comes from outside is escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audio_enh.web.jobs import Job


def player(config: dict[str, Any], folder: Path) -> str:
    """The player of ``static/player.js`` for files below ``folder``."""
    told = html.escape(json.dumps(config), quote=True)
    # Relative, so that it works behind a proxy that serves the page below a path of its own.
    base = html.escape(f"gradio_api/file={folder}/", quote=True)
    return f'<enh-player config="{told}" base="{base}"></enh-player>'


def failure(message: str) -> str:
    """A message about what went wrong."""
    return f'<div class="enh-failure" role="alert">{html.escape(message)}</div>'


def notes(lines: Sequence[str]) -> str:
    """Remarks, one line each."""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<ul class="enh-notes">{items}</ul>' if lines else ""


def progress(job: Job, ahead: int) -> str:
    """How far a job is, and how long it will take."""
    if job.state == "waiting":
        text, part = f"waiting: {ahead} before you" if ahead else "waiting for its turn", None
    else:
        text, part = f"{job.phase} ...", job.fraction
        if part is not None:
            text = f"{job.phase}: {part:.0%}"
        if (left := job.seconds_left()) is not None:
            text += f", {duration(left)} left"
    value = "" if part is None else f' value="{part:.3f}"'
    return (
        f'<div class="enh-progress"><progress max="1"{value} aria-label="Progress"></progress>'
        f'<span role="status">{html.escape(text)}</span></div>'
    )


def duration(seconds: float) -> str:
    """``8 s``, ``2 min 05 s``."""
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


def score_table(rows: Sequence[tuple[str, float | None, float | None, bool]], columns: Sequence[str]) -> str:
    """Scores before and after; the better one is marked."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in ("Score", *columns))
    body = ""
    for label, before, after, higher in rows:
        cells = ""
        for value, other in ((before, after), (after, before)):
            better = value is not None and other is not None and (value > other) == higher and value != other
            text = "-" if value is None else f"{value:.2f}"
            cells += f"<td>{f'<strong>{text}</strong>' if better else text}</td>"
        body += f'<tr><th scope="row">{html.escape(label)}</th>{cells}</tr>'
    return f'<table class="enh-scores"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
