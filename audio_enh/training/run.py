"""A training run from a composed recipe."""

from __future__ import annotations

import logging
import math
import sys
from pathlib import Path
from typing import Any

import hydra
import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from audio_enh.errors import UserError
from audio_enh.inference.checkpoint import save_checkpoint
from audio_enh.training.lora import add_lora, merge_lora

log = logging.getLogger(__name__)


def train(config: DictConfig) -> float | None:
    """Train, choose the best weights on validation, and export them.

    An interrupted run goes on from its last checkpoint when ``resume`` is true and the output folder is the
    same.

    Returns:
        The best value of ``config.monitor``, for sweeps; None if there was no validation.
    """
    _take_job(config)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    if config.threads:
        torch.set_num_threads(config.threads)
    out = Path(config.out)
    _note_recipe(config, out)

    model = hydra.utils.instantiate(config.model)
    if config.init_from:
        _initialise(model, config.init_from)
    if config.lora:
        add_lora(model, **config.lora)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    objective = hydra.utils.instantiate(config.objective)
    task = hydra.utils.instantiate(config.task)(model, objective, **hydra.utils.instantiate(config.optim))
    data = hydra.utils.instantiate(config.data)

    weights = out / "weights"
    best = ModelCheckpoint(weights, "best-{step}", monitor=config.monitor, mode="max", save_top_k=1)
    # Apart from the best one, so that the latest is there even when no validation item could be scored.
    latest = ModelCheckpoint(weights, "last", enable_version_counter=False)
    callbacks: list[Callback] = [best, latest, *hydra.utils.instantiate(config.callbacks).values()]
    trainer = hydra.utils.instantiate(config.trainer, callbacks=callbacks, default_root_dir=str(out))
    last = weights / "last.ckpt"
    resume = str(last) if config.resume and last.exists() else None
    log.info("%s", f"resuming from {resume}" if resume else "starting from step 0")
    if resume and config.init_from:
        log.info("init_from=%s was taken at its step 0; another run needs another out=", config.init_from)
    trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=False)

    score = best.best_model_score
    if score is None or not math.isfinite(score):
        if config.export:
            log.warning("nothing to export: no validation gave %s", config.monitor)
        return None
    if config.export and trainer.is_global_zero:
        export(config, Path(best.best_model_path), Path(config.export), score)
    return float(score)


@rank_zero_only
def _note_recipe(config: DictConfig, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, out / "recipe.yaml")


def _take_job(config: DictConfig) -> None:
    """Make a job of a sweep a run of its own, and tell Lightning how to start the same job once more per GPU."""
    if not HydraConfig.initialized():
        return
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:
        config.out = job.runtime.output_dir
        if config.export:
            config.export = str(Path(config.export) / str(job.job.num))
    changed = [f"out={config.out}", f"export={config.export}"] if job.mode == RunMode.MULTIRUN else []
    sys.argv = [str(Path(__file__).with_name("worker.py")), *job.overrides.task, *changed]


def export(config: DictConfig, weights: Path, folder: Path, score: torch.Tensor | None = None) -> None:
    """Write a training checkpoint's averaged weights as a checkpoint that ``audio_enh.load`` reads.

    Args:
        config: the recipe of the run.
        weights: a file of the run's ``weights`` folder; one's own, since Lightning's format is a pickle.
        folder: made or overwritten.
        score: value of ``config.monitor`` to note.
    """
    model = hydra.utils.instantiate(config.model)
    content = torch.load(weights, map_location="cpu", weights_only=False)
    prefix = "model."
    state = {k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)}
    lora = config.get("lora")  # recipes of earlier versions lack it
    if lora:
        add_lora(model, **lora)
    model.load_state_dict(state)
    info = {**_plain(config.info), "steps": int(content["global_step"])}
    if score is not None:
        info["scores"] = {str(config.monitor): round(float(score), 4)}
    arguments = {k: v for k, v in _plain(config.model).items() if not k.startswith("_")}
    if lora:
        merge_lora(model)
        if "weight_normalised" in arguments:
            arguments["weight_normalised"] = False
    save_checkpoint(folder, model, info, arguments=arguments)
    log.info("exported to %s", folder)


def _initialise(model: torch.nn.Module, name: str) -> None:
    """Start from a checkpoint's weights; what the checkpoint's model lacks starts as it is.

    Raises:
        UserError: the checkpoint has weights that this model has no place for.
    """
    from audio_enh.inference.checkpoint import load_model

    trained, _ = load_model(name, "cpu")
    weights = trained.state_dict()
    own = model.state_dict()
    misfits = [key for key, value in weights.items() if key not in own or own[key].shape != value.shape]
    if misfits:
        raise UserError(f"init_from={name} is another model: {misfits[0]} does not fit (of {len(misfits)})")
    new = model.load_state_dict(weights, strict=False).missing_keys
    if new:
        log.info("%d of %d tensors are new: %s", len(new), len(own), ", ".join(new[:3]) + ", ...")


def _plain(config: DictConfig) -> dict[str, Any]:
    """A resolved configuration as a plain dictionary."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
