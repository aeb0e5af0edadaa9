"""``audio-enh enhance``: files, folders and pipes, noisy in and clean out."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audio_enh.cli._terminal import echo
from audio_enh.errors import UserError

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


class Combine(str, Enum):
    """How the draws of a generative model become one output."""

    MEAN = "mean"
    MEDIAN = "median"


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
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            show_default=False,
            help="Output file, or folder for several inputs; - for WAV on stdout. "
            "Without it, talk.wav becomes talk_enhanced.wav and folder talks talks_enhanced.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            show_default=False,
            help="A name of `audio-enh models`, a folder, or hf://user/repo; causal-unet-16k if not given.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", rich_help_panel=SPEED, help="auto, cpu, cuda, cuda:N or mps.")
    ] = "auto",
    strength: Annotated[
        float,
        typer.Option(
            "--strength", min=0.0, max=1.0, help="0 leaves the input as it is, 1 is fully enhanced."
        ),
    ] = 1.0,
    channels: Annotated[
        Channels,
        typer.Option(
            "--channels",
            help="linked does the same to all channels, so that sounds stay in place; independent enhances each by "
            "itself; auto links the channels of one scene.",
        ),
    ] = Channels.AUTO,
    max_attenuation: Annotated[
        float | None,
        typer.Option(
            "--max-attenuation",
            min=0.0,
            metavar="DB",
            show_default=False,
            help="Turn no sound down by more than so many dB.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            rich_help_panel=RUNNING,
            help="Replace outputs that are there instead of skipping them.",
        ),
    ] = False,
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
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            rich_help_panel=GENERATIVE,
            min=0,
            show_default=False,
            help="Number of steps of the sampler; fewer are faster. By default the model's own. "
            "UNIVERSE takes 0: its first estimate, in one pass.",
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            rich_help_panel=GENERATIVE,
            metavar="NAME",
            show_default=False,
            help="One of ode, ode_heun, ode_guarded, sde, pc, pf_heun or pf_rk45, as the model's process allows. "
            "By default the model's own.",
        ),
    ] = None,
    sampler_option: Annotated[
        list[str] | None,
        typer.Option(
            "--sampler-option",
            metavar="KEY=VALUE",
            show_default=False,
            rich_help_panel=GENERATIVE,
            help="Another option of the sampler, such as snr=0.4, corrector_steps=2 or grid=karras; may be given "
            "several times.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            rich_help_panel=GENERATIVE,
            show_default=False,
            help="Seed of the noise that is drawn, 0 if not given. The same seed gives the same output.",
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            "--samples",
            rich_help_panel=GENERATIVE,
            min=1,
            help="Number of draws that are combined into the output. If the model's own sampler draws no noise, one "
            "that does is taken.",
        ),
    ] = 1,
    combine: Annotated[
        Combine,
        typer.Option("--combine", rich_help_panel=GENERATIVE, help="How the draws become one output."),
    ] = Combine.MEAN,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            rich_help_panel=GENERATIVE,
            help="With --samples: write how far the draws disagree beside the output, where the model may be "
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
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", rich_help_panel=RUNNING, help="Say nothing but errors.")
    ] = False,
) -> None:
    """Remove noise from recordings.

    What comes out has the sample rate, channels, length, sample format and tags of what went in, and is not
    delayed. Of video files the picture is copied. A recording is never held in memory as a whole.

    A 16 kHz model gives nothing above 8 kHz back: --strength or --max-attenuation mix the original in, with
    its whole band.

    Examples:

    audio-enh enhance talk.wav -o clean.wav

    audio-enh enhance meetings/ --max-attenuation 20

    audio-enh enhance film.mp4 --model sgmse-lite-16k
    """
    from audio_enh.cli._plan import make_plan
    from audio_enh.cli._signals import Interruptible
    from audio_enh.io.discover import summarize

    with Interruptible() as interruptible:
        plan = make_plan(inputs, output)
        if dry_run:
            for job in plan.jobs:
                skipped = " (there already: skipped)" if job.done and not overwrite else ""
                echo(f"{job.source} -> {job.target}{skipped}")
            if plan.left_out and not quiet:
                echo(f"left out: {len(plan.left_out)} ({summarize(plan.left_out)})", err=True)
            return
        _enhance(
            plan,
            model,
            device,
            {
                "strength": strength,
                "max_attenuation": max_attenuation,
                "steps": steps,
                "sampler": sampler,
                "seed": seed,
                "samples": samples,
                "combine": combine.value,
                "uncertainty": uncertainty,
                "allow_truncated": allow_truncated,
                "track": track,
                "channel_mode": channels.value,
                "sampler_options": _key_values(sampler_option or []),
            },
            windows_per_call=batch,
            threads=threads,
            overwrite=overwrite,
            report=report,
            quiet=quiet,
            interruptible=interruptible,
        )


#: Options that only generative models take.
SAMPLING = ("seed", "sampler", "steps", "samples", "combine", "sampler_options")


def _key_values(words: list[str]) -> dict[str, int | float | str]:
    """``KEY=VALUE`` words as a dictionary, numbers as such."""
    values: dict[str, int | float | str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not (key and equals and text):
            raise UserError(f"--sampler-option {word}: give KEY=VALUE, as in snr=0.4")
        for kind in (int, float, str):
            try:
                values[key] = kind(text)
            except ValueError:
                continue
            break
    return values


def _enhance(
    plan: Plan,
    model: str | None,
    device: str,
    options: dict[str, Any],
    *,
    windows_per_call: int | None,
    threads: int | None,
    overwrite: bool,
    report: Path | None,
    quiet: bool,
    interruptible: Interruptible,
) -> None:
    from audio_enh.cli._terminal import console as make_console
    from audio_enh.inference.catalog import DEFAULT_MODEL, find_checkpoint

    if plan.single and plan.jobs[0].done and not overwrite:
        raise UserError(f"{plan.jobs[0].target} exists already: add --overwrite, or choose another output")
    if options["uncertainty"] and options["samples"] < 2:
        raise UserError("--uncertainty needs --samples 2 or more: it is how far the draws are apart")
    if report is not None and report.suffix.lower() != ".json":
        raise UserError(f"--report {report}: name a .json file")
    name = DEFAULT_MODEL if model is None else model
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
    if options["uncertainty"]:
        fresh = [job.target for job in plan.jobs if not job.done and not job.piped]
        check_replaceable((path for target in fresh for path in curve_paths(target)), overwrite)
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
            enhancer = Enhancer(loaded, config, windows_per_call=windows_per_call)
            enhancer.check_options(**{name: options[name] for name in SAMPLING})
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
