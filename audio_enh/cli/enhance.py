"""``audio-enh enhance``: files, folders and pipes, noisy in and clean out."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audio_enh.cli._options import (
    Device,
    MaxAttenuation,
    Model,
    Quiet,
    Strength,
    output_option,
    with_options_of,
)
from audio_enh.cli._terminal import echo
from audio_enh.errors import UserError
from audio_enh.options import DEFAULT_SAMPLING, EnhanceOptions, FileOptions, SamplingOptions

if TYPE_CHECKING:
    from audio_enh.cli._plan import Plan
    from audio_enh.cli._signals import Interruptible


GENERATIVE = "Generative models (sgmse, universe)"
SPEED = "Speed"
RUNNING = "Many files, reports"


class Channels(str, Enum):
    """How the channels of a file are enhanced."""

    AUTO = "auto"
    LINKED = "linked"
    INDEPENDENT = "independent"


@with_options_of(SamplingOptions, GENERATIVE)
def enhance(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Audio or video files, folders, globs; - for WAV on stdin.",
            metavar="INPUT...",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        output_option(
            "OUT",
            "Output file, or folder for several inputs; - for WAV on stdout. "
            "Without it, talk.wav becomes talk_enhanced.wav and folder talks talks_enhanced.",
        ),
    ] = None,
    model: Model = None,
    device: Device = "auto",
    strength: Strength = 1.0,
    channels: Annotated[
        Channels,
        typer.Option(
            "--channels",
            help="linked does the same to all channels, so that sounds stay in place; independent enhances each by "
            "itself; auto links the channels of one scene.",
        ),
    ] = Channels.AUTO,
    max_attenuation: MaxAttenuation = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            rich_help_panel=RUNNING,
            help="Replace outputs that are there instead of skipping them.",
        ),
    ] = False,
    removed: Annotated[
        str | None,
        typer.Option(
            "--removed",
            rich_help_panel=RUNNING,
            metavar="FILE|DIR",
            show_default=False,
            help="Write what is taken away as well, input minus output: a file, or a folder for several inputs.",
        ),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            "--track",
            rich_help_panel=RUNNING,
            metavar="N|all|NAME",
            show_default=False,
            help="Which sound of a recording that has several (desktop, game, microphone): its number, title or "
            "language. By default the one that players choose. The others are kept as they are.",
        ),
    ] = None,
    allow_truncated: Annotated[
        bool,
        typer.Option(
            "--allow-truncated",
            rich_help_panel=RUNNING,
            help="Use what is there of files that are cut short or damaged, and fill holes of hours.",
        ),
    ] = False,
    sampling: SamplingOptions = DEFAULT_SAMPLING,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            rich_help_panel=GENERATIVE,
            help="With --draws: write how far the draws disagree beside the output, where the model may be "
            "inventing speech, as NAME.uncertainty.csv and .png.",
        ),
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            rich_help_panel=SPEED,
            min=1,
            metavar="N",
            show_default=False,
            help="Windows that the model is given at a time, of several files too; each channel counts. More keep a "
            "GPU busy and take memory; by default 8 on a GPU, 1 on the CPU. Causal models have no windows.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            rich_help_panel=SPEED,
            min=1,
            show_default=False,
            help="Of the CPU; by default 1 for causal models, else all cores.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            rich_help_panel=RUNNING,
            metavar="FILE.json",
            show_default=False,
            help="Write a report; an output folder gets one in any case, enhance_report.json.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", rich_help_panel=RUNNING, help="Only list what would become what.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Remove noise from recordings.

    What comes out has the sample rate, channels, length, sample format and tags of what went in, and is not
    delayed. Of video files the picture is copied. A recording is never held in memory as a whole.

    causal-unet-16k gives nothing above 8 kHz back: --strength or --max-attenuation mix the original in, with
    its whole band.

    Examples:

    audio-enh enhance talk.wav -o clean.wav

    audio-enh enhance meetings/ --max-attenuation 20

    audio-enh enhance film.mp4 --model sgmse-lite-16k
    """
    from audio_enh.cli._plan import make_plan
    from audio_enh.cli._removed import with_removed
    from audio_enh.cli._signals import Interruptible
    from audio_enh.io.discover import summarize

    with Interruptible() as interruptible:
        plan = make_plan(inputs, output)
        if removed is not None:
            if track == "all":
                raise UserError("--removed goes with one sound track: name it with --track")
            plan = with_removed(plan, removed)
        if dry_run:
            for job in plan.jobs:
                skipped = " (there already: skipped)" if job.done and not overwrite else ""
                beside = f" and {job.removed}" if job.removed is not None else ""
                echo(f"{job.source} -> {job.target}{beside}{skipped}")
            if plan.left_out and not quiet:
                echo(f"left out: {len(plan.left_out)} ({summarize(plan.left_out)})", err=True)
            return
        _enhance(
            plan,
            model,
            device,
            FileOptions(
                EnhanceOptions(strength, max_attenuation, channels.value, sampling),
                uncertainty=uncertainty,
                allow_truncated=allow_truncated,
                track=track,
            ),
            windows_per_call=batch,
            threads=threads,
            overwrite=overwrite,
            report=report,
            quiet=quiet,
            interruptible=interruptible,
        )


def _enhance(
    plan: Plan,
    model: str | None,
    device: str,
    options: FileOptions,
    *,
    windows_per_call: int | None,
    threads: int | None,
    overwrite: bool,
    report: Path | None,
    quiet: bool,
    interruptible: Interruptible,
) -> None:
    from audio_enh.cli._terminal import console as make_console
    from audio_enh.inference.catalog import FULL_BAND_MODEL, find_checkpoint

    if plan.single and plan.jobs[0].done and not overwrite:
        raise UserError(f"{plan.jobs[0].target} exists already: add --overwrite, or choose another output")
    if options.uncertainty and options.enhance.sampling.draws < 2:
        raise UserError("--uncertainty needs --draws 2 or more: it is how far the draws are apart")
    if report is not None and report.suffix.lower() != ".json":
        raise UserError(f"--report {report}: name a .json file")
    name = FULL_BAND_MODEL if model is None else model
    folder = find_checkpoint(name)  # a wrong name is told before torch takes its seconds to load

    # Read by OpenMP when torch is loaded. Threads that wait by spinning take the cores away from each other
    # on a busy machine: two threads beside a training took 97 s for a minute of audio, with this 3 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from audio_enh.cli._batch import REPORT_NAME, Batch
    from audio_enh.inference.checkpoint import load_model
    from audio_enh.inference.enhancer import Enhancer
    from audio_enh.inference.files import curve_paths
    from audio_enh.io.owned import check_replaceable, check_report
    from audio_enh.models.base import CausalModel

    if report is None and plan.folder is not None:
        report = plan.folder / REPORT_NAME
    if report is not None:
        check_report(report, overwrite)
    if options.uncertainty:
        fresh = [job.target for job in plan.jobs if not job.done and not job.piped]
        check_replaceable((path for target in fresh for path in curve_paths(target)), overwrite)
    check_replaceable((job.removed for job in plan.jobs if job.removed and not job.done), overwrite)
    batch = Batch(
        plan.jobs, options, overwrite, make_console(stderr=True), quiet, interruptible.check, plan.left_out
    )
    pending = batch.pending()
    try:
        settings: dict[str, Any] = {"model": name}
        if pending:
            loaded, config = load_model(folder, device)
            # The steps of a causal model are too small to share among cores.
            if threads is None and isinstance(loaded, CausalModel):
                threads = 1
            if threads is not None:
                torch.set_num_threads(threads)
            enhancer = Enhancer(
                loaded, config, windows_per_call=windows_per_call, upper_bands=FULL_BAND_MODEL
            )
            enhancer.check_options(options.enhance)
            settings |= {"weights_sha256": config.get("sha256"), "device": str(enhancer.device)}
            settings |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
            settings |= {"batch": enhancer.windows_per_call}
            batch.run(pending, enhancer)
    finally:  # after Ctrl-C too: what was done is worth knowing
        if report is not None and batch.outcomes:
            batch.write_report(report, settings)
    batch.tell_summary()
    if batch.count("failed"):
        raise typer.Exit(2)
