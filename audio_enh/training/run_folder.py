"""A run's folder: what ran in it, and whether the same command may go on there.

``recipe.yaml`` is the recipe; ``run.yaml`` has an entry for each start: the step it began at, the versions of the
programs, and the manifest's SHA-256. Both are written when the first step is about to be taken, not before.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import yaml
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from audio_enh.digest import file_sha256
from audio_enh.errors import UserError
from audio_enh.io.atomic import AtomicTarget
from audio_enh.renamed import present_name
from audio_enh.training.state import LATEST

log = logging.getLogger(__name__)

RECIPE, RECORD = "recipe.yaml", "run.yaml"
PACKAGES = ("audio-enh", "torch", "lightning")

#: What may be another when a run is resumed: it changes neither what is trained nor how scores compare. The manifest
#: may lie elsewhere, but must be the same.
MAY_CHANGE = (
    *("out", "export", "resume", "threads", "compile", "manifest", "info.*", "data.workers", "data.cache"),
    *("task.audio_examples", "callbacks.audio*", "callbacks.learning_rate*"),
    *(f"trainer.{name}" for name in ("max_steps", "max_time", "max_epochs", "accelerator", "devices")),
    *(f"trainer.{name}" for name in ("num_nodes", "strategy", "benchmark", "logger*", "log_every_n_steps")),
    *(f"trainer.{name}" for name in ("enable_*", "profiler", "num_sanity_val_steps", "detect_anomaly")),
    *("trainer.check_val_every_n_epoch", "trainer.val_check_interval"),
)
_ABSENT = "(absent)"


def state_to_resume(out: Path, config: DictConfig) -> Path | None:
    """The file to go on from; None if there is none, or the recipe does not want it.

    Nothing but plain YAML is read.

    Raises:
        UserError: what lies there is not of a run by this recipe.
    """
    state = out / LATEST
    if not (config.resume and state.is_file()):
        return None
    record, recipe = _read_record(out), _read_recipe(out)
    if not record or recipe is None:
        raise UserError(
            f"{state} is not of a run that this version wrote, and is not resumed: begin a new run from its weights "
            f"with init_from={state} and another out="
        )
    changes = differences(recipe, config)
    before, now = record[-1], describe(config, 0)
    if _manifest_hash(before) != _manifest_hash(now):
        changes.append("the content of the manifest")
    if changes:
        more = f" and {len(changes) - 8} more" if len(changes) > 8 else ""
        raise UserError(
            f"out={out} holds a run of another recipe ({', '.join(changes[:8])}{more}): repeat its values to resume "
            f"it, or begin a new run from it with init_from={out} and another out="
        )
    other = [
        f"{name} {before.get(name)} -> {now[name]}" for name in PACKAGES if before.get(name) != now[name]
    ]
    if other:
        log.warning("resuming with other versions: %s", ", ".join(other))
    return state


def differences(old: DictConfig, new: DictConfig) -> list[str]:
    """Each key whose value is another and may not be, as ``key: old -> new``.

    Values are compared as they are written, so that one that others refer to (``${seed}``) is named once.
    """
    read = OmegaConf.create(OmegaConf.to_yaml(new))  # as the old one was
    before, now = (dict(_flat(OmegaConf.to_container(recipe, resolve=False))) for recipe in (old, read))
    before = {
        key: present_name(value) if key.endswith("_target_") else value for key, value in before.items()
    }
    now = {key: present_name(value) if key.endswith("_target_") else value for key, value in now.items()}
    keys = [*now, *(key for key in before if key not in now)]
    return [
        f"{key}: {before.get(key, _ABSENT)} -> {now.get(key, _ABSENT)}"
        for key in keys
        if before.get(key, _ABSENT) != now.get(key, _ABSENT)
        and not any(fnmatch.fnmatchcase(key, pattern) for pattern in MAY_CHANGE)
    ]


def describe(config: DictConfig, step: int) -> dict[str, Any]:
    """The entry of ``run.yaml`` for a start from ``step``."""
    entry = {"from_step": step, **{name: version(name) for name in PACKAGES}}
    entry["python"] = platform.python_version()
    manifest = None if OmegaConf.is_missing(config, "manifest") else config.manifest
    if manifest and Path(manifest).is_file():
        entry["manifest"] = {"path": str(manifest), "sha256": file_sha256(Path(manifest))}
    return entry


class RunRecord(Callback):
    """Writes the recipe and the versions when training begins, not when it is refused.

    Args:
        out: the run's folder.
        config: its recipe.
    """

    def __init__(self, out: Path, config: DictConfig):
        self.out = out
        self.config = config

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        step = trainer.global_step
        record = [*(_read_record(self.out) if step else []), describe(self.config, step)]
        _write(self.out / RECIPE, OmegaConf.to_yaml(self.config))
        _write(self.out / RECORD, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))


def check_place(path: Path, setting: str) -> None:
    """Whether a folder is there or can be made, before hours are spent on what is to lie in it.

    Raises:
        UserError: it cannot.
    """
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UserError(f"{setting}={path} cannot be a folder: {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{setting}={path}: no permission to write into {place}")


def _read_record(out: Path) -> list[dict[str, Any]]:
    try:
        record = yaml.safe_load((out / RECORD).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []
    return record if isinstance(record, list) and all(isinstance(entry, dict) for entry in record) else []


def _read_recipe(out: Path) -> DictConfig | None:
    try:
        recipe = OmegaConf.load(out / RECIPE)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException):
        return None
    return recipe if isinstance(recipe, DictConfig) else None


def _manifest_hash(entry: Mapping[str, Any]) -> object:
    manifest = entry.get("manifest")
    return manifest.get("sha256") if isinstance(manifest, Mapping) else None


def _write(path: Path, text: str) -> None:
    target = AtomicTarget(path)
    target.temporary.write_text(text, encoding="utf-8")
    target.commit()


def _flat(values: Any, name: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and their values; lists are values."""
    if not isinstance(values, Mapping):
        return [(name, values)]
    if not values and name:
        return [(name, "{}")]
    return [
        pair for key, value in values.items() for pair in _flat(value, f"{name}.{key}" if name else str(key))
    ]
