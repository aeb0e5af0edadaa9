"""``audio-enh demo``: a bundled noisy recording before and after, with scores and a picture."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_enh.cli._options import Model, output_option
from audio_enh.cli._terminal import echo
from audio_enh.errors import DependencyError, UserError

if TYPE_CHECKING:
    import numpy as np

SAMPLES = ("rain", "helicopter", "waves", "chainsaw", "dog")
METRICS = ("si_sdr", "pesq_wb", "stoi")
FILES = ("noisy.wav", "enhanced.wav", "clean.wav", "before_after.png")


def demo(
    sample: Annotated[str, typer.Argument(help=f"Which recording: {', '.join(SAMPLES)}.")] = "rain",
    output: Annotated[Path, output_option("DIR", "Where to write.")] = Path("demo"),
    model: Model = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that another program made.")
    ] = False,
) -> None:
    """Enhance a bundled noisy recording, show the scores and write audio and a before/after picture."""
    if sample not in SAMPLES:
        raise UserError(f"no sample '{sample}'; there are {', '.join(SAMPLES)}")
    from audio_enh.io.owned import check_replaceable, claim, is_owned

    if not is_owned(output):
        check_replaceable((output / name for name in FILES), overwrite, "another folder")

    import audio_enh
    from audio_enh.eval.arrays import evaluate_arrays
    from audio_enh.inference.checkpoint import DEFAULT_MODEL
    from audio_enh.io import read_audio, write_audio
    from audio_enh.plots import before_after

    with as_file(files("audio_enh") / "samples") as folder:
        noisy, rate = read_audio(folder / "noisy" / f"{sample}.flac")
        clean, _ = read_audio(folder / "clean" / f"{sample}.flac")
    enhancer = audio_enh.load(model or DEFAULT_MODEL)
    enhanced = enhancer.enhance(noisy, rate)

    try:
        claim(output)
    except OSError as error:
        raise UserError(f"cannot make the folder '{output}': {error.strerror}") from error
    for name, audio in (("noisy", noisy), ("enhanced", enhanced), ("clean", clean)):
        write_audio(output / f"{name}.wav", audio, rate)
    before_after(noisy[0], enhanced[0], rate, output / "before_after.png")

    try:
        before = evaluate_arrays(clean[0], noisy[0], rate, METRICS)
        after = evaluate_arrays(clean[0], enhanced[0], rate, METRICS)
    except DependencyError as error:
        echo(f"note: no scores: {error}", err=True)
    else:
        _print_scores(before, after, sample)
    echo(f"Written to {output}/: {', '.join(FILES)}")


def _print_scores(before: dict[str, float], after: dict[str, float], sample: str) -> None:
    from rich.table import Table

    from audio_enh.cli._terminal import console as make_console

    table = Table(title=f"Sample '{sample}'")
    for column in ("", "SI-SDR (dB)", "PESQ-WB", "STOI"):
        table.add_column(column, justify="right" if column else "left")
    for label, scores in (("noisy", before), ("enhanced", after)):
        table.add_row(label, *(_number(scores[name], name) for name in METRICS))
    make_console().print(table)


def _number(value: float | np.floating, name: str) -> str:
    return f"{value:.{1 if name == 'si_sdr' else 2}f}" if name != "stoi" else f"{value:.3f}"
