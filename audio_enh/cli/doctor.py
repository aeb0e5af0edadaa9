"""``audio-enh doctor``: what works on this machine, and what to do about the rest."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Check what works on this machine and say what to do about the rest.

    Ends with code 0 if files can be enhanced, whatever else is missing.
    """
    from rich.text import Text

    from audio_enh.cli._checks import all_checks
    from audio_enh.cli._terminal import console as make_console

    console = make_console()
    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    findings = []
    for finding in all_checks():
        findings.append(finding)
        if not as_json:
            line = Text.assemble(
                (f"{finding.status:<5}", styles[finding.status]), f"{finding.name}: ", finding.detail
            )
            if finding.remedy:
                line.append(f"\n      -> {finding.remedy}", style="italic")
            console.print(line, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(2)
