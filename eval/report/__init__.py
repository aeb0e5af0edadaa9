"""The report of an evaluation: JSON, CSV, Markdown and one HTML page."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_enh.errors import UserError

from ..manifest import Manifest
from ..metadata import Metadata
from ..rows import Row
from ..summary import EvaluationSummary
from .html import COMPARED, to_html
from .tables import to_csv, to_json, to_markdown

#: The files of a report.
REPORT_NAMES = ("report.json", "rows.csv", "summary.md", "report.html")


@dataclass(frozen=True)
class ReportPaths:
    """Where the report lies."""

    json: Path
    csv: Path
    markdown: Path
    html: Path


def write_report(
    folder: Path,
    manifest: Manifest,
    summary: EvaluationSummary,
    rows: Sequence[Row],
    metadata: Metadata | None = None,
    clips: int = 10,
    compared: int | None = None,
) -> ReportPaths:
    """Write ``report.json``, ``rows.csv``, ``summary.md`` and ``report.html`` into a folder, made if missing.

    Args:
        clips: how many of the worst files the page shows with sound; 0: none, and a small page.
        compared: how many files it shows with all systems side by side; by default 3, none without clips.

    Raises:
        UserError: the folder cannot be written.
    """
    known = metadata or {}
    side_by_side = min(COMPARED, clips) if compared is None else compared
    paths = ReportPaths(*(folder / name for name in REPORT_NAMES))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(paths.json, to_json(manifest, summary, rows, known))
        write_text(paths.csv, to_csv(rows, summary.metrics, known))
        write_text(paths.markdown, to_markdown(manifest, summary, rows))
        write_text(paths.html, to_html(manifest, summary, rows, known, clips, min(3, clips), side_by_side))
    except OSError as error:
        raise UserError(f"cannot write the report into {folder}: {error.strerror or error}") from error
    return paths


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
