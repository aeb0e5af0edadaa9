"""``audio-enh distort``: damage clean recordings on purpose, and write down how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audio_enh.cli._options import Quiet, output_option
from audio_enh.cli._terminal import echo
from audio_enh.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from audio_enh.cli._plan import Job, Plan
    from audio_enh.distortions import Recordings, Step

RECORD_NAME = "distortions.json"


def distort(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Audio files, folders, globs; - for WAV on stdin.", metavar="INPUT...", show_default=False
        ),
    ] = None,
    output: Annotated[
        str | None,
        output_option(
            "OUT",
            "Output file, or folder for several inputs; - for WAV on stdout.",
        ),
    ] = None,
    chain: Annotated[
        str | None,
        typer.Option(
            "--chain",
            metavar="CHAIN",
            show_default=False,
            help='What to do, in order: "mp3(bitrate=16), low_pass(cutoff=3000), hum(severity=0.8)".',
        ),
    ] = None,
    random: Annotated[
        bool, typer.Option("--random", help="Another chain for each file, drawn as for training.")
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="File i is damaged by a generator seeded (seed, i).")
    ] = 0,
    severity: Annotated[
        tuple[float, float],
        typer.Option(
            "--severity", metavar="LOW HIGH", help="With --random: from where to where, within 0 to 1."
        ),
    ] = (0.0, 1.0),
    noise: Annotated[
        str | None,
        typer.Option(
            "--noise",
            metavar="FOLDER",
            show_default=False,
            help="Recorded noises (or a CSV manifest), not the bundled.",
        ),
    ] = None,
    talkers: Annotated[
        str | None,
        typer.Option("--talkers", metavar="FOLDER", show_default=False, help="Speech for babble, likewise."),
    ] = None,
    rooms: Annotated[
        str | None,
        typer.Option(
            "--rooms", metavar="FOLDER", show_default=False, help="Room impulse responses, likewise."
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            metavar="FILE.json",
            show_default=False,
            help=f"What was applied; by default OUT.json beside one file, {RECORD_NAME} in an output folder.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that are there instead of skipping them.")
    ] = False,
    list_all: Annotated[
        bool, typer.Option("--list", help="List the distortions, their parameters and ranges, and exit.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Damage recordings by distortions, by name or at random.

    Outputs keep the sample rate, channels, length and sample format of the inputs and are not delayed: an input is
    the clean reference of its output. What would go beyond full scale is turned down as a whole, and the gain is
    recorded. Long recordings are damaged in pieces of five minutes with the same parameters.
    """
    if list_all:
        _print_list()
        return
    if not inputs:
        raise UserError("name the files to damage, or --list")
    if output is None:
        raise UserError("name an output file or folder: -o OUT")
    if (chain is None) != random:
        raise UserError("give either --chain or --random")
    if record is not None and record.suffix.lower() != ".json":
        raise UserError(f"--record {record}: name a .json file")

    from audio_enh.cli._plan import make_plan
    from audio_enh.cli._signals import Interruptible

    low, high = severity
    if not 0 <= low <= high <= 1:
        raise UserError(f"--severity {low:g} {high:g}: two numbers within 0 to 1, the smaller first")
    plan = make_plan(inputs, output)
    if plan.single and plan.jobs[0].done and not overwrite:
        raise UserError(f"{plan.jobs[0].target} exists already: add --overwrite, or choose another output")

    from audio_enh.distortions import RandomDamage, Recordings, SoundFiles, parse_chain

    folders = {"noise": noise, "talkers": talkers, "rooms": rooms}
    recordings = Recordings(
        **{
            name: SoundFiles.below(place, rooms=name == "rooms")
            for name, place in folders.items()
            if place is not None
        }
    )
    if chain is not None:
        steps = parse_chain(chain)
        for step in steps:
            reason = step.kind.unavailable(recordings)
            if reason is not None:
                raise UserError(f"{step.kind.name()} {reason}")
        draw: Callable[[np.random.Generator], tuple[Step, ...]] = lambda rng: steps  # noqa: E731
    else:
        damage = RandomDamage(recordings, severity=(low, high))
        for name, reason in damage.missing.items():
            if not quiet:
                echo(f"note: left out: {name} {reason}", err=True)
        draw = damage.draw
    with Interruptible() as interruptible:
        settings = {"chain": chain, "random": random, "seed": seed, "severity": [low, high]}
        _run(plan, draw, recordings, settings, record, overwrite, quiet, interruptible.check)


def _run(
    plan: Plan,
    draw: Callable[[np.random.Generator], tuple[Step, ...]],
    recordings: Recordings,
    settings: dict[str, Any],
    record: Path | None,
    overwrite: bool,
    quiet: bool,
    check: Callable[[], None],
) -> None:
    import numpy as np

    from audio_enh.cli._errors import describe
    from audio_enh.io.owned import check_report

    record = record or _record_place(plan)
    if record is not None:
        check_report(record, overwrite)
    rows, failed = _previous_rows(record), 0
    try:
        for index, job in enumerate(plan.jobs):
            check()
            if job.done and not overwrite:
                if not quiet:
                    echo(f"{job.target} is there already: skipped", err=True)
                continue
            rng = np.random.default_rng((settings["seed"], index))
            try:
                rows[str(job.target)] = {**_damage(job, draw(rng), rng, recordings), "item": index}
            except UserError as error:
                failed += 1
                echo(f"error: {describe(error)}", err=True)
                continue
            if not quiet:
                names = ", ".join(each["name"] for each in rows[str(job.target)]["distortions"])
                echo(f"{job.source} -> {job.target}: {names}", err=True)
    finally:  # after Ctrl-C too: what was done is worth knowing
        if record is not None and rows:
            _write_record(record, settings, list(rows.values()))
    if failed:
        raise typer.Exit(2)


def _damage(
    job: Job, steps: tuple[Step, ...], rng: np.random.Generator, recordings: Recordings
) -> dict[str, Any]:
    """Damage one file; its row of the record."""
    import numpy as np

    from audio_enh.cli._plan import PIPE
    from audio_enh.distortions import apply_in_pieces
    from audio_enh.io import AudioReader, AudioWriter, count_nonfinite

    source = PIPE if str(job.source) == PIPE else job.source
    with AudioReader(source) as reader:
        info = reader.info
        blocks = list(reader.blocks())
    audio = np.concatenate(blocks, axis=1) if blocks else np.zeros((info.channels, 0), np.float32)
    if count_nonfinite(audio):
        raise UserError(
            f"{info.name} contains NaN or infinite samples: repair it first (audio-enh enhance does)"
        )
    damaged, done = apply_in_pieces(steps, audio, info.sample_rate, rng, recordings)
    highest = float(np.abs(damaged).max(initial=0.0))
    # What the input had beyond full scale, a float file's, is its own business.
    limit = max(1.0, float(np.abs(audio).max(initial=0.0)))
    gain = limit / highest if highest > limit else 1.0
    with AudioWriter(PIPE if job.piped else job.target, info) as writer:
        writer.write((damaged * gain).astype(np.float32))
    return {
        "input": str(job.source),
        "output": str(job.target),
        "sample_rate": info.sample_rate,
        "gain_db": round(20 * float(np.log10(gain)), 4) + 0.0,
        "distortions": [each.as_json() for each in done],
    }


def _record_place(plan: Plan) -> Path | None:
    if plan.folder is not None:
        return plan.folder / RECORD_NAME
    job = plan.jobs[0]
    return None if job.piped or not plan.single else job.target.with_suffix(".json")


def _previous_rows(record: Path | None) -> dict[str, dict[str, Any]]:
    """Of files that are skipped now, what the run that did them wrote down."""
    import json

    try:
        rows = json.loads(record.read_text(encoding="utf-8"))["files"] if record is not None else []
        return {row["output"]: row for row in rows}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}  # there is none, or something else lies there under its name


def _write_record(path: Path, settings: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    import json

    import audio_enh
    from audio_enh.io import AtomicTarget

    content = {"audio_enh": audio_enh.__version__, "settings": settings, "files": rows}
    target = AtomicTarget(path)
    try:
        target.temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except BaseException:
        target.discard()
        raise
    target.commit()


def _print_list() -> None:
    from rich.table import Table
    from rich.text import Text

    from audio_enh.cli._terminal import console as make_console
    from audio_enh.distortions import DISTORTIONS, FAMILIES, Recordings

    table = Table(box=None, pad_edge=False)
    for column in ("distortion", "what it does", "parameters: mild to harsh; * drawn apart from severity"):
        table.add_column(column, overflow="fold")
    recordings = Recordings()
    for family in FAMILIES:
        table.add_section()
        table.add_row(Text(family.name, style="bold"))
        for kind, _ in family.members:
            lines = [f"{name}{'*' if spec.free else ''}: {spec}" for name, spec in kind.parameters().items()]
            reason = kind.unavailable(recordings)
            if reason is not None:
                lines.append(f"not here: {reason}")
            table.add_row(Text(f"  {kind.name()}"), Text(kind.summary()), Text("\n".join(lines)))
    console = make_console()
    if not console.is_terminal:  # whole lines for grep
        console = make_console(width=200)
    console.print(table)
    console.print(
        f"{len(DISTORTIONS)} distortions; severity, 0 to 1, is a parameter of each.", highlight=False
    )
