"""``audio-enh train`` and ``audio-enh mix``: Hydra recipes with overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audio_enh.errors import DependencyError

KEY_VALUE = "[KEY=VALUE]..."


def train(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Hydra overrides, e.g. trainer.max_steps=1000", metavar=KEY_VALUE, show_default=False
        ),
    ] = None,
) -> None:
    """Train a model from a recipe.

    `audio-enh train experiment=debug` trains a few steps on bundled data, `audio-enh train
    experiment=causal_unet manifest=/data/manifest.csv` the real-time model. A run that was stopped goes on when
    the same command is given again; with another rate or batch, begin a new one: `init_from=OLD_RUN out=NEW_RUN`.
    Hydra's own flags go after `--`, as in `audio-enh train -- --multirun seed=0,1` or `audio-enh train -- --cfg
    job`.
    """
    try:
        from audio_enh.training import recipes
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    recipes.train(overrides or [], worker=Path(__file__).with_name("train_worker.py"))


def mix(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides, e.g. set=reverberant", metavar=KEY_VALUE, show_default=False),
    ] = None,
) -> None:
    """Make a test set from clean speech, for `audio-enh evaluate`.

    `audio-enh mix manifest=/data/manifest.csv out=valid_set` writes noisy/, clean/ and metadata.csv. With
    `set=reverberant` speech and noise are in recorded rooms; `set=benchmark` writes both sets, for `audio-enh
    benchmark`.
    """
    try:
        from audio_enh.training import recipes
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    recipes.mix(overrides or [])


def _missing(error: ModuleNotFoundError) -> DependencyError:
    return DependencyError.missing("this command", str(error.name), "train")
