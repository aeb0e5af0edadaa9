"""``audio-enh train``: a Hydra recipe with overrides."""

from __future__ import annotations

from typing import Annotated

import typer


def train(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides, e.g. experiment=causal_unet data.batch_size=32", metavar="OVERRIDE..."),
    ] = None,
) -> None:
    """Train a model from a recipe.

    Examples: `audio-enh train experiment=debug` trains a few steps on bundled data;
    `audio-enh train experiment=causal_unet data.root=/data` the shipped real-time model. Also takes Hydra's own
    flags after `--`, e.g. `audio-enh train -- --multirun seed=0,1,2` or `-- --cfg job`.
    """
    from audio_enh.errors import DependencyError

    try:
        from audio_enh.training.run import main
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"training needs '{error.name}': pip install 'audio-enh[train]'"
        ) from error
    main(overrides or [])
