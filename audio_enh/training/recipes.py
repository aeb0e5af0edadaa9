"""Hydra's entry points: from a recipe's name and overrides to a call."""

from __future__ import annotations

import difflib
import functools
import json
import logging
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

from audio_enh import registry
from audio_enh.errors import UserError
from audio_enh.io.atomic import write_error
from audio_enh.training.overrides import literal_places, parse

log = logging.getLogger(__name__)

RECIPES = "pkg://audio_enh.recipes"


def folder_of_job(overrides: str) -> str:
    """The name of a sweep's job's folder: its overrides, without what a file system does not like in a name."""
    name = re.sub(r"[^\w.,=+~-]+", "_", overrides).strip("_") or "job"
    return name if len(name) <= 120 else f"{name[:100]}-{sha256(overrides.encode()).hexdigest()[:8]}"


class OwnRecipes(SearchPathPlugin):
    """Also finds recipes in the folder ``recipes`` of the user's folders of code."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in registry.code_folders():
            if (folder / "recipes").is_dir():
                search_path.append("audio-enh --code", f"file://{folder / 'recipes'}")


Plugins.instance().register(OwnRecipes)

# ${samples:clean} in a recipe is that folder of the bundled samples, wherever the package is installed.
OmegaConf.register_new_resolver(
    "samples", lambda name: str(files("audio_enh") / "samples" / name), replace=True
)
OmegaConf.register_new_resolver("folder_of_job", folder_of_job, replace=True)


@dataclass
class _Job:
    """What Hydra calls. It would announce an error in lines of its own, and of a sweep's errors only the first.

    Attributes:
        function: called with the composed recipe.
        records: where the jobs of a sweep, which may run in other processes, leave word of their failures.
        fixed: overrides that all jobs of a sweep have.
        failures: of a single run.
    """

    function: Callable[[DictConfig], Any]
    records: Path | None = None
    fixed: Sequence[str] = ()
    failures: list[Exception] = field(default_factory=list)

    def __call__(self, config: DictConfig) -> Any:
        try:
            return self.function(config)
        except Exception as error:
            told = _explained(error)
            if self.records is None:
                self.failures.append(told)
            else:
                self._record(self.records, told)
            return None

    def _record(self, records: Path, error: Exception) -> None:
        job = HydraConfig.get()
        text = " ".join(str(error).split())
        if not isinstance(error, UserError):
            text = f"{type(error).__name__}: {text}"
        overrides = " ".join(word for word in job.overrides.task if word not in self.fixed)
        trace = None if isinstance(error, UserError) else error
        log.error("job %d (%s) failed: %s", job.job.num, overrides, text, exc_info=trace)
        entry = {
            "number": job.job.num,
            "overrides": overrides,
            "folder": job.runtime.output_dir,
            "text": text,
        }
        records.mkdir(parents=True, exist_ok=True)
        (records / f"{job.job.num}.json").write_text(json.dumps(entry), encoding="utf-8")


def run_recipe(name: str, function: Callable[[DictConfig], Any], overrides: Sequence[str]) -> None:
    """Compose the recipe ``name`` with ``overrides`` and call ``function`` on it, once or as a multirun.

    Raises:
        UserError: the recipe or an override is wrong, or jobs of a sweep failed.
    """
    # Hydra wants its overrides in one piece: its own flags go before them, wherever they were typed.
    flags = [word for word in overrides if word.startswith("-") or not ("=" in word or word.startswith("~"))]
    words = [word for word in overrides if word not in flags]
    if any(flag.startswith("--experimental-rerun") for flag in flags):
        raise UserError(
            "--experimental-rerun would run what a file says: repeat the command with its overrides"
        )
    sweep = bool({"--multirun", "-m"} & set(flags)) or "hydra.mode=MULTIRUN" in words
    words = literal_places(words, sweep)
    job = _Job(function)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing a traceback and exiting
    argv = sys.argv
    try:
        if sweep:
            parsed = {word: parse(word) for word in words}
            job.fixed = [word for word, o in parsed.items() if o is None or not o.is_sweep_override()]
            job.records = _folder_of_sweep(name, job.fixed) / f".failed-{secrets.token_hex(4)}"
            named = {o.key_or_group for word in job.fixed if (o := parsed[word]) is not None}
            flags.append(f"hydra.job.config.override_dirname.exclude_keys=[{','.join(sorted(named))}]")
        sys.argv = [f"audio-enh {name}", *flags, *words]
        hydra.main(version_base="1.3", config_path=RECIPES, config_name=name)(job)()
    except KeyboardInterrupt:
        if job.records is not None:
            shutil.rmtree(job.records, ignore_errors=True)
        raise
    except Exception as error:
        # Hydra makes the run's folder and opens its log.
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        place = getattr(cause, "filename", None)
        if isinstance(cause, OSError) and place and not isinstance(cause, HydraException):
            job.failures.append(write_error(cause, Path(str(place))))
        else:
            told = _explained(error)
            # Hydra's own, such as of null for the name of a group; those of jobs do not come this way.
            wrong = isinstance(told, ValueError)
            job.failures.append(UserError(f"recipe: {' '.join(str(told).split())}") if wrong else told)
    finally:
        sys.argv = argv
    if job.records is not None and job.records.is_dir():
        raise UserError(_told(job.records)) from (job.failures[0] if job.failures else None)
    if job.failures:
        raise job.failures[0]


def _folder_of_sweep(name: str, overrides: list[str]) -> Path:
    with hydra.initialize_config_module(RECIPES.removeprefix("pkg://"), version_base="1.3"):
        config = hydra.compose(name, overrides, return_hydra_config=True)
    return Path(config.hydra.sweep.dir).absolute()


def _told(records: Path) -> str:
    """All failures of a sweep in one line; the records are removed."""
    entries = [json.loads(path.read_text(encoding="utf-8")) for path in records.iterdir()]
    shutil.rmtree(records)
    entries.sort(key=lambda entry: entry["number"])
    parts = [
        f"job {entry['number']} ({entry['overrides']}): {entry['text'].rstrip('.')}, log in {entry['folder']}"
        for entry in entries
    ]
    return f"{len(entries)} job{'s' * (len(entries) > 1)} of the sweep failed: {'; '.join(parts)}"


def _explained(error: Exception) -> Exception:
    """A mistake in the recipe as one line; what else went wrong as it is."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        cause = error.__cause__
        if isinstance(cause, Exception) and registry.users_frame(cause) is not None:
            return cause
        if isinstance(cause, ImportError) and "locat" in str(error):
            first = str(error).splitlines()[0]
            return UserError(
                f"recipe: {first} If it is yours, name its folder: audio-enh --code FOLDER train ..."
            )
        return cause if isinstance(cause, UserError) else UserError(f"recipe: {' '.join(str(error).split())}")
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        near = difflib.get_close_matches(name, error.options, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return UserError(f"recipe: there is no {group}/{name}{meant} There are: {', '.join(error.options)}")
    if isinstance(error, OverrideParseException):
        return UserError(
            f"recipe: cannot read {error.override}: put a value with special characters in quotes that the shell "
            "leaves, as in \"key='a (b)'\""
        )
    if isinstance(error, HydraException | OmegaConfBaseException):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return UserError(f"recipe: {' '.join(lines[:8])}")
    return error


def _complete(config: DictConfig) -> None:
    """Whether all that a run needs is given; torch is not loaded yet."""
    for group in ("model", "objective", "task", "optim", "data", "callbacks", "trainer"):
        if not OmegaConf.is_config(config.get(group)):
            continue
        try:
            OmegaConf.to_container(config[group], resolve=True, throw_on_missing=True)
        except (MissingMandatoryValue, InterpolationToMissingValueError) as error:
            key = "manifest" if "manifest" in str(error) else error.full_key
            raise UserError(
                f"recipe: {key} is not given. Trainings need data: experiment=NAME manifest=FILE.csv, with a file "
                "that audio-enh data prepare writes; experiment=debug needs none"
            ) from error


def _train(config: DictConfig, worker: Path | None) -> float | None:
    _complete(config)
    from audio_enh.training.run import train

    return train(config, worker)


def _mix(config: DictConfig) -> None:
    hydra.utils.instantiate(config.set)


def train(overrides: Sequence[str], worker: Path | None = None) -> None:
    """What ``audio-enh train`` does.

    Args:
        overrides: Hydra's.
        worker: see :func:`audio_enh.training.run.train`.
    """
    run_recipe("train", functools.partial(_train, worker=worker), overrides)


def mix(overrides: Sequence[str]) -> None:
    """What ``audio-enh mix`` does."""
    run_recipe("mix", _mix, overrides)
