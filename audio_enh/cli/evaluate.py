"""``audio-enh evaluate``: scores with intervals for folders of files, or for models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_enh.cli._options import Device, QuietTable, Workers, output_option
from audio_enh.cli._terminal import echo
from audio_enh.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from audio_enh.eval.evaluation import Evaluation


def evaluate(
    root: Annotated[
        Path | None,
        typer.Argument(metavar="ROOT", show_default=False, help="Folder of the set, with --protocol."),
    ] = None,
    clean: Annotated[
        Path | None,
        typer.Option("--clean", metavar="DIR", show_default=False, help="Clean references."),
    ] = None,
    noisy: Annotated[
        Path | None,
        typer.Option("--noisy", metavar="DIR", show_default=False, help="Unprocessed noisy files."),
    ] = None,
    enhanced: Annotated[
        list[Path] | None,
        typer.Option(
            "--enhanced",
            metavar="DIR",
            show_default=False,
            help="Enhanced files; repeat it for several systems.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            show_default=False,
            help="Enhance --noisy with this checkpoint first; repeat it for several.",
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            metavar="NAME",
            show_default=False,
            help="Standard test set in ROOT, checked first: vbdmd or dns2020.",
        ),
    ] = None,
    output: Annotated[
        Path,
        output_option("DIR", "Report, rows and enhanced files."),
    ] = Path("evaluation"),
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="NAMES",
            show_default=False,
            help="Names separated by commas, or all. Against a reference: pesq_wb, pesq_nb, stoi, estoi, si_sdr, "
            "sd_sdr, snr, seg_snr, csig, cbak, covl, lsd, mcd, speaker_similarity, dwer, phoneme_similarity. With "
            "the mixture too: si_sir, si_sar. Without reference: dnsmos_ovrl, dnsmos_sig, dnsmos_bak, dnsmos_p808, "
            "plcmos, distillmos. With what is said (column text of --metadata): wer. By default those that papers "
            "print.",
        ),
    ] = None,
    match: Annotated[
        str,
        typer.Option(
            "--match",
            metavar="RULE",
            help="What pairs files: path (relative, without extension), stem, or a regular expression "
            "whose groups are the name.",
        ),
    ] = "path",
    align: Annotated[
        float,
        typer.Option(
            "--align", min=0.0, max=1000.0, metavar="MS", help="Take out a lag of up to so many ms."
        ),
    ] = 0.0,
    trim: Annotated[
        float,
        typer.Option(
            "--trim", min=0.0, metavar="MS", help="Cut to the shorter when lengths differ by no more."
        ),
    ] = 0.0,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            "--sample-rate",
            min=8000,
            metavar="HZ",
            show_default=False,
            help="Resample all to this rate first.",
        ),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            "--metadata",
            metavar="FILE.csv",
            show_default=False,
            help="Columns about the files, such as SNR or noise type.",
        ),
    ] = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            "--group-by",
            metavar="COLUMN",
            show_default=False,
            help="A table by this column of the metadata; repeat it for several.",
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            "--seed",
            metavar="N",
            show_default=False,
            help="Of generative models; repeat it to see the spread over seeds.",
        ),
    ] = None,
    device: Device = "auto",
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, show_default=False, help="CPU threads of a model."),
    ] = None,
    workers: Workers = None,
    clips: Annotated[
        int, typer.Option("--clips", min=0, help="Worst files that the page shows with sound; 0: none.")
    ] = 10,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew instead of going on with an earlier run.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 1 when a file lacks a score.")
    ] = False,
    quiet: QuietTable = False,
) -> None:
    """Measure enhanced speech, with intervals, paired tests and a report.

    \b
    Enhanced files:      --clean DIR --enhanced DIR [--noisy DIR]
    Models:              --clean DIR --noisy DIR --model NAME
    Without references:  --enhanced DIR
    A standard set:      --protocol vbdmd ROOT --model NAME

    \b
    Writes report.html, report.json, rows.csv and summary.md into --output.
    A file without a score is listed with its reason and counted;
    it is never part of a mean. An interrupted run goes on where it stopped.
    """
    from audio_enh.cli._progress import Bars, cores
    from audio_enh.cli._signals import Interruptible
    from audio_enh.eval.choice import metric_names
    from audio_enh.eval.evaluation import Request
    from audio_enh.eval.evaluation import evaluate as run

    request = Request(
        output=output,
        clean=clean,
        noisy=noisy,
        enhanced=tuple(enhanced or ()),
        models=tuple(model or ()),
        protocol=protocol,
        root=root,
        metrics=metric_names(metrics),
        match=match,
        align_ms=align,
        trim_ms=trim,
        sample_rate=sample_rate,
        metadata=metadata,
        group_by=tuple(group_by or ()),
        seeds=tuple(seed or ()),
        device=device,
        threads=threads,
        workers=workers or cores(),
        overwrite=overwrite,
        clips=clips,
        command=("audio-enh", *sys.argv[1:]),
    )
    if len(set(request.seeds)) != len(request.seeds):
        raise UserError("a --seed is given twice")
    from audio_enh.cli._terminal import console as make_console

    with Interruptible(), Bars(make_console(stderr=True), quiet) as bars:
        evaluation = run(request, bars)
    if not quiet:
        _print(evaluation, make_console())
    for warning in evaluation.manifest.warnings:
        echo(f"note: {warning}", err=True)
    if strict and evaluation.failed:
        raise typer.Exit(1)


def _print(evaluation: Evaluation, console: Console) -> None:
    from rich.table import Table

    from audio_enh.eval.report.harm import harm_lines
    from audio_enh.eval.report.tables import BY_NAME, interval, label, number

    summary = evaluation.summary
    for sentence in (f"{summary.files} files, mean and 95 % interval", *harm_lines(summary)):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    cells = []
    for system in summary.systems:
        row = []
        for name in summary.metrics:
            stat = summary.scores[system].get(name)
            if stat is None:
                row.append(number(None, BY_NAME[name]))
                continue
            missing = f" (n={stat.count})" if stat.count != summary.files else ""
            mean = number(stat.mean, BY_NAME[name])
            row.append(f"{mean} {interval(stat.low, stat.high, BY_NAME[name])}{missing}".strip())
        cells.append(row)
    labels = [label(BY_NAME[name]) for name in summary.metrics]
    table = Table()
    if len(summary.systems) <= 3:
        lines = [[name, *column] for name, column in zip(labels, zip(*cells, strict=True), strict=True)]
        heads = ["metric", *summary.systems]
    else:  # their names would be cut to pieces at the heads of narrow columns
        lines = [[system, *row] for system, row in zip(summary.systems, cells, strict=True)]
        heads = ["", *labels]
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index else "left", no_wrap=index == 0, overflow="fold")
    for line in lines:
        table.add_row(*line)
    console.print(table, markup=False)
    for system, speed in summary.speed.items():
        console.print(
            f"{system}: real-time factor {speed.real_time_factor:.3f} on {speed.device},"
            f" peak memory {speed.peak_memory_mb:.0f} MB",
            markup=False,
            highlight=False,
        )
    for system, reasons in summary.failures.items():
        if reasons:
            told = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
            console.print(f"{system}: without a score: {told}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {evaluation.paths.html}", markup=False, highlight=False, soft_wrap=True)
