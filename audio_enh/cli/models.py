"""``audio-enh models``: what is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from audio_enh.inference.catalog import CheckpointInfo


def models(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the installed checkpoints: rate, latency, size, licence of the weights, scores."""
    from audio_enh.inference.catalog import available

    checkpoints = available()
    if as_json:
        typer.echo(json.dumps([_row(checkpoint) for checkpoint in checkpoints], indent=2, default=str))
    else:
        _print_table(checkpoints)


def _row(checkpoint: CheckpointInfo) -> dict[str, Any]:
    return {
        **checkpoint.info,
        "name": checkpoint.name,
        "path": str(checkpoint.path),
        "bytes": checkpoint.size,
    }


def _print_table(checkpoints: list[CheckpointInfo]) -> None:
    from rich.table import Table

    from audio_enh.cli._terminal import console as make_console
    from audio_enh.inference.catalog import DEFAULT_MODEL, FULL_BAND_MODEL

    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for column in ("rate", "latency", "parameters", "size"):
        table.add_column(column, justify="right")
    for column in ("weights' licence", "scores"):
        table.add_column(column, overflow="fold")
    for checkpoint in checkpoints:
        info = checkpoint.info
        default = {DEFAULT_MODEL: " (default)", FULL_BAND_MODEL: " (above 16 kHz)"}
        table.add_row(
            checkpoint.name + default.get(checkpoint.name, ""),
            _number(info.get("sample_rate"), 1e-3, "g", " kHz"),
            _number(info.get("latency_ms"), 1, "g", " ms"),
            _number(info.get("parameters"), 1e-6, ".2f", " M"),
            _number(checkpoint.size, 1e-6, ".1f", " MB"),
            str(info.get("licence", "unknown")),
            format_scores(info.get("scores")),
        )
    console = make_console()
    if checkpoints:
        console.print(table)
    else:
        console.print(
            "no checkpoints are installed: train one with `audio-enh train`, or give a folder or hf:// name"
        )


def _number(value: Any, scale: float, form: str, unit: str) -> str:
    """A number with its unit; a dash for what the configuration does not tell."""
    if not isinstance(value, int | float):
        return "-"
    return f"{value * scale:{form}}{unit}"


def format_scores(scores: Any) -> str:
    """``pesq_wb 2.51, stoi 0.93``; groups of scores are joined by a dot: ``valid.stoi 0.93``."""
    return ", ".join(_score_items(scores, "")) if isinstance(scores, Mapping) and scores else "-"


def _score_items(scores: Mapping[str, Any], prefix: str) -> list[str]:
    items: list[str] = []
    for key, value in scores.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            items += _score_items(value, f"{name}.")
        else:
            items.append(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}")
    return items
