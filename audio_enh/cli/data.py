"""``audio-enh data prepare``: public collections, as downloaded, to audio and a manifest for training."""

from __future__ import annotations

import functools
import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from audio_enh.cli._terminal import echo

app = typer.Typer(help="Data for training.", no_args_is_help=True)


class Collection(str, Enum):
    """What ``prepare`` knows."""

    vbdmd = "vbdmd"
    ears = "ears"
    dns = "dns"
    libritts = "libritts"
    librispeech = "librispeech"
    vctk = "vctk"
    wham = "wham"
    folder = "folder"


class Kind(str, Enum):
    """What a folder of one's own holds."""

    speech = "speech"
    noise = "noise"
    rir = "rir"
    pairs = "pairs"


@app.command("prepare")
def prepare(
    collection: Annotated[
        Collection,
        typer.Argument(
            help="VoiceBank-DEMAND, EARS, DNS challenge, LibriTTS, LibriSpeech, VCTK, WHAM! noise, or a folder of"
            " your own.",
            show_default=False,
        ),
    ],
    source: Annotated[
        Path,
        typer.Argument(help="Folder with the audio, or with the archives as downloaded.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder for the audio and manifest.csv.")],
    sample_rate: Annotated[
        int, typer.Option(min=8000, max=48000, help="Hz; recipes expect 16000 or 48000.")
    ] = 16000,
    kind: Annotated[Kind | None, typer.Option(help="For `folder`: what it holds.")] = None,
    name: Annotated[str, typer.Option(help="For `folder`: its name in the manifest.")] = "folder",
    group: Annotated[
        str | None,
        typer.Option(
            help="For `folder`: regular expression for what must stay on one side (speaker, recording, room), such as"
            " '^[^_]+'; the first folder if not given.",
            show_default=False,
        ),
    ] = None,
    valid_fraction: Annotated[float, typer.Option(help="For `folder`: part kept for validation.")] = 0.05,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Threads; 0: one per processor.")] = 0,
    allow_incomplete: Annotated[bool, typer.Option(help="Take a copy of which files are missing.")] = False,
    skip_broken: Annotated[bool, typer.Option(help="Leave out files that cannot be read.")] = False,
) -> None:
    """Check, resample and split speech and noise for training.

    `audio-enh data prepare vbdmd Downloads -o data`, then `audio-enh train experiment=sgmse_vbdmd
    manifest=data/manifest.csv`. Several collections may share one output folder. A run that was stopped goes on
    where it was.
    """
    from rich.progress import Progress

    from audio_enh.cli._terminal import console as make_console
    from audio_enh.data.prepare import CORPORA
    from audio_enh.data.prepare import prepare as run
    from audio_enh.data.prepare.own_folder import folder
    from audio_enh.errors import UserError
    from audio_enh.io import terminate_as_interrupt

    corpus = CORPORA.get(collection.value)
    if corpus is not None:
        if kind is not None or group is not None:
            raise UserError(f"--kind and --group are for `folder`; {collection.value} knows what it holds")
        name, find = collection.value, corpus.find
    else:
        if kind is None:
            raise UserError("a folder of your own needs --kind speech, noise, rir or pairs")
        if name in CORPORA or not name.isidentifier():
            raise UserError(f"--name {name!r}: letters, digits and _, and none of {', '.join(CORPORA)}")
        if group is not None:
            try:
                re.compile(group)
            except re.error as error:
                raise UserError(f"--group {group!r} is no regular expression: {error}") from None
        find = functools.partial(folder, kind=kind.value, valid_fraction=valid_fraction, pattern=group)
    console = make_console(stderr=True)
    with terminate_as_interrupt(), Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(collection.value, total=None)
        report = run(
            name,
            find,
            source,
            out,
            corpus=corpus,
            kind="" if kind is None else kind.value,
            sample_rate=sample_rate,
            jobs=jobs,
            allow_incomplete=allow_incomplete,
            skip_broken=skip_broken,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for note in report.notes:
        echo(note, err=True)
    for reason in report.skipped:
        echo(f"skipped: {reason}", err=True)
    for (what, split), seconds in sorted(report.seconds.items()):
        echo(f"{what:7} {split:6} {report.files[what, split]:7} files {seconds / 3600:8.2f} h")
    echo(str(report.manifest))


class Removal(str, Enum):
    """What of the cache to remove."""

    unused = "unused"
    all = "all"


@app.command("cache")
def cache(
    folder: Annotated[Path, typer.Option("--cache", help="The recipes' `data.cache`.")] = Path(
        "~/.cache/audio_enh"
    ),
    remove: Annotated[
        Removal | None,
        typer.Option(
            help="`unused`: packs of files that are gone or changed, or of earlier versions; `all`: every pack.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the decoded audio that training and `mix` keep, and remove what nothing uses any more."""
    import time

    from audio_enh.errors import UserError
    from audio_enh.sources.packing import stored_packs

    place = folder.expanduser()
    if not place.is_dir():
        raise UserError(f"no folder '{place}': give the recipes' data.cache with --cache")
    freed = 0
    for pack in sorted(stored_packs(place), key=lambda each: each.used):
        day = time.strftime("%Y-%m-%d", time.localtime(pack.used))
        what = pack.problem or "in order"
        if pack.sources is not None:
            what += (
                f"; {pack.sources} files, {pack.hours:.2f} h at {pack.sample_rate} Hz, such as {pack.example}"
            )
        gone = remove is Removal.all or (remove is Removal.unused and pack.problem is not None)
        if gone:
            pack.remove()
            freed += pack.size
        echo(f"{'removed' if gone else day:10} {pack.size / 1e6:9.1f} MB  {pack.files[0].stem}  {what}")
    if remove is not None:
        echo(f"{freed / 1e6:.1f} MB freed")
