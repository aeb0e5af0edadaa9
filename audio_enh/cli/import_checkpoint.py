"""``audio-enh import-checkpoint``: models trained by other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audio_enh.cli._options import output_option
from audio_enh.cli._terminal import echo
from audio_enh.errors import UserError


def import_checkpoint(
    file: Annotated[
        Path,
        typer.Argument(
            help="Lightning checkpoint of the public SGMSE+ or open-universe code (.ckpt).",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        output_option("NAME", "Folder to make: --model's NAME."),
    ],
    description: Annotated[
        str, typer.Option("--description", help="For `info` in config.yaml: where it is from.")
    ] = "imported from a public checkpoint",
    licence: Annotated[
        str, typer.Option("--licence", help="Of the weights, as their authors say.")
    ] = "unknown",
    half: Annotated[
        bool, typer.Option("--half", help="Store the weights in 16 bits: half the size.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a checkpoint that is there.")
    ] = False,
) -> None:
    """Convert a public SGMSE+ or UNIVERSE checkpoint, so that enhance, evaluate and the library can use it.

    Of SGMSE+ the backbones ncsnpp, ncsnpp_v2 and ncsnpp_48k with the processes OUVE, BBED and Schroedinger bridge are
    known; of UNIVERSE and UNIVERSE++ all sizes, with the config.yaml of the release beside the file.
    The averaged weights are taken. Nothing in the file is run, and a file that tries to is refused.
    """
    from audio_enh.inference.catalog import CONFIG, WEIGHTS
    from audio_enh.io.owned import is_there

    if not overwrite and any(is_there(output / name) for name in (CONFIG, WEIGHTS)):
        raise UserError(f"{output} is a checkpoint already: add --overwrite, or choose another name")
    if output.is_file():
        raise UserError(f"{output} is a file: name a folder")

    if not file.is_file():
        raise UserError(f"{file}: no such file")

    import torch

    from audio_enh.inference.checkpoint import save_checkpoint
    from audio_enh.inference.sgmse_import import import_sgmse
    from audio_enh.inference.universe_import import import_universe

    imported = import_universe(file) or import_sgmse(file)
    info = {
        "name": output.name,
        "description": description,
        "licence": licence,
        "imported_from": file.name,
        "averaged_weights": imported.averaged,
    }
    if imported.step is not None:
        info["training_steps"] = imported.step
    dtype = torch.float16 if half else None
    save_checkpoint(
        output, imported.model, info, arguments=imported.arguments, dtype=dtype, overwrite=overwrite
    )
    parameters = sum(p.numel() for p in imported.model.parameters())
    process = imported.arguments.get("process", {"name": "UNIVERSE"})["name"]
    echo(f"{file} -> {output}: {parameters / 1e6:.1f} M parameters, process {process}")
    if not imported.averaged:
        echo("warning: the file has no averaged weights; its last ones were taken", err=True)
    for setting in imported.not_taken:
        echo(f"not taken over: {setting}", err=True)
    echo(f"use it: audio-enh enhance noisy.wav --model {output}")
