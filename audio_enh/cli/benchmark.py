"""``audio-enh benchmark``: the shipped models beside what a user would pick instead."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_enh.cli._options import QuietTable, Workers, output_option
from audio_enh.cli._terminal import echo

if TYPE_CHECKING:
    from audio_enh.eval.benchmark import Benchmark

NONE = "none"


def benchmark(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="SET", show_default=False, help="Folder with clean, noisy and perhaps metadata.csv."
        ),
    ],
    output: Annotated[
        Path,
        output_option("DIR", "Tables, picture, report and enhanced files."),
    ] = Path("benchmark_report"),
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            show_default=False,
            help="Checkpoint; NAME:STEPS for a generative one, NAME:live for a causal one hop by hop. Repeat it for "
            "several; none: no model. All by default.",
        ),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            metavar="NAME",
            show_default=False,
            help="Other system, NAME[:VARIANT], or the path of an adapter. Repeat it for several; none: no peer. "
            "All by default.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="NAMES",
            show_default=False,
            help="Names separated by commas, or all; `audio-enh evaluate --help` lists them. By default pesq_wb, "
            "estoi, si_sdr, dnsmos_ovrl.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, show_default=False, help="Only the first so many files."),
    ] = None,
    every: Annotated[
        int, typer.Option("--every", metavar="N", min=1, help="Only one file of N: the first, then each Nth.")
    ] = 1,
    environments: Annotated[
        Path,
        typer.Option("--environments", metavar="DIR", help="Where the peers are installed."),
    ] = Path("~/.cache/audio_enh/benchmark"),
    workers: Workers = None,
    time_again: Annotated[
        bool,
        typer.Option(
            "--time-again",
            help="Enhance all anew, so that all times are of this run; scores of unchanged files are kept.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Measure anew instead of going on with an earlier run.")
    ] = False,
    quiet: QuietTable = False,
) -> None:
    """Compare the shipped models with RNNoise, DeepFilterNet and others, in quality and cost.

    Each peer is installed by pip into an environment of its own and runs in a process of its own, as the models do.
    Writes table.md, plot.png, benchmark.json and report.html into --output. An interrupted run goes on where it
    stopped. `audio-enh mix set=benchmark manifest=/data/manifest.csv out=benchmark` makes the sets.
    """
    from audio_enh.cli._progress import Bars, cores
    from audio_enh.cli._signals import Interruptible
    from audio_enh.cli._terminal import console as make_console
    from audio_enh.eval.benchmark import BenchmarkRequest, run_benchmark
    from audio_enh.eval.choice import metric_names

    request = BenchmarkRequest(
        folder=folder,
        output=output,
        models=_names(model),
        peers=_names(peer),
        metrics=metric_names(metrics),
        limit=limit,
        every=every,
        environments=environments,
        workers=workers or cores(),
        time_again=time_again,
        overwrite=overwrite,
        command=("audio-enh", *sys.argv[1:]),
    )
    with Interruptible(), Bars(make_console(stderr=True), quiet) as bars:
        result = run_benchmark(request, bars)
    if not quiet:
        _print(result, output)
    for warning in result.warnings:
        echo(f"note: {warning}", err=True)


def _print(result: Benchmark, output: Path) -> None:
    """One table that keeps the systems' names whole, whatever the width of the terminal."""
    from rich import box
    from rich.table import Table

    from audio_enh.cli._terminal import console

    title = f"{result.summary.files} files, means; intervals and tables by condition are in the report"
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    head, *rows = result.table
    for index, column in enumerate(head):
        table.add_column(column, justify="right" if index else "left", no_wrap=index == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table, markup=False)
    for line in result.troubles:
        echo(line)
    echo(f"report: {output / 'report.html'}, tables: {output / 'table.md'}")


def _names(given: list[str] | None) -> tuple[str, ...] | None:
    """None for all."""
    if not given:
        return None
    return () if given == [NONE] else tuple(given)
