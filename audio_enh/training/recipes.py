"""Hydra's entry points: from a recipe's name and overrides to a call."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import hydra
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from audio_enh.errors import UserError

RECIPES = "pkg://audio_enh.recipes"

# ${samples:clean} in a recipe is that folder of the bundled samples, wherever the package is installed.
OmegaConf.register_new_resolver(
    "samples", lambda name: str(files("audio_enh") / "samples" / name), replace=True
)


def run_recipe(name: str, function: Callable[[DictConfig], Any], overrides: Sequence[str]) -> None:
    """Compose the recipe ``name`` with ``overrides`` and call ``function`` on it, once or as a multirun.

    Raises:
        UserError: the recipe or an override is wrong.
    """
    failures: list[Exception] = []

    def guarded(config: DictConfig) -> Any:
        # Hydra would announce an error in lines of its own before it passes it on.
        try:
            return function(config)
        except Exception as error:
            failures.append(error)
            return None

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing a traceback and exiting
    argv = sys.argv
    # Hydra wants its overrides in one piece: its own flags go before them, wherever they were typed.
    flags = [word for word in overrides if word.startswith("-") or not ("=" in word or word.startswith("~"))]
    sys.argv = [f"audio-enh {name}", *flags, *(word for word in overrides if word not in flags)]
    try:
        hydra.main(version_base="1.3", config_path=RECIPES, config_name=name)(guarded)()
    except (HydraException, OmegaConfBaseException) as error:
        failures.append(error)
    finally:
        sys.argv = argv
    if failures:
        raise _explained(failures[0])


def _explained(error: Exception) -> Exception:
    """A mistake in the recipe as one line; what else went wrong as it is."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        cause = error.__cause__
        return cause if isinstance(cause, UserError) else UserError(f"recipe: {' '.join(str(error).split())}")
    if isinstance(error, HydraException | OmegaConfBaseException):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return UserError(f"recipe: {' '.join(lines[:8])}")
    return error


def train(overrides: Sequence[str]) -> None:
    """What ``audio-enh train`` does."""
    from audio_enh.training.run import train

    run_recipe("train", train, overrides)


def mix(overrides: Sequence[str]) -> None:
    """What ``audio-enh mix`` does."""
    run_recipe("mix", lambda config: hydra.utils.instantiate(config.set), overrides)
