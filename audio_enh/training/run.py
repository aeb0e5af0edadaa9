"""A training run from a composed recipe."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import hydra
import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from omegaconf import DictConfig, OmegaConf

from audio_enh.inference.checkpoint import save_checkpoint
from audio_enh.training.task import EnhancementTask

log = logging.getLogger(__name__)


def train(config: DictConfig) -> float | None:
    """Train, choose the best weights on validation, and export them.

    An interrupted run goes on from its last checkpoint when ``resume`` is true and the output folder is the
    same.

    Returns:
        The best value of ``config.monitor``, for sweeps; None if there was no validation.
    """
    lightning.seed_everything(config.seed, workers=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, out / "recipe.yaml")

    model = hydra.utils.instantiate(config.model)
    if config.init_from:
        _initialise(model, config.init_from)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    task = EnhancementTask(
        model, hydra.utils.instantiate(config.objective), **hydra.utils.instantiate(config.optim)
    )
    data = hydra.utils.instantiate(config.data)

    best = ModelCheckpoint(
        out / "weights", "best-{step}", monitor=config.monitor, mode="max", save_top_k=1, save_last=True
    )
    callbacks: list[Callback] = [best, *hydra.utils.instantiate(config.callbacks).values()]
    trainer = hydra.utils.instantiate(config.trainer, callbacks=callbacks, default_root_dir=str(out))
    last = out / "weights" / "last.ckpt"
    resume = str(last) if config.resume and last.exists() else None
    log.info("%s", f"resuming from {resume}" if resume else "starting from step 0")
    trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=False)

    if config.export and best.best_model_path:
        export(config, Path(best.best_model_path), Path(config.export), best.best_model_score)
    return float(best.best_model_score) if best.best_model_score is not None else None


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
    model.load_state_dict(state)
    info = {**_plain(config.info), "steps": int(content["global_step"])}
    if score is not None:
        info["scores"] = {str(config.monitor): round(float(score), 4)}
    arguments = {k: v for k, v in _plain(config.model).items() if k != "_target_"}
    save_checkpoint(folder, model, info, arguments=arguments)
    log.info("exported to %s", folder)


def _initialise(model: torch.nn.Module, name: str) -> None:
    """Start from a checkpoint's weights; the architecture must be the same."""
    from audio_enh.inference.checkpoint import load_model

    trained, _ = load_model(name, "cpu")
    model.load_state_dict(trained.state_dict())


def _plain(config: DictConfig) -> dict[str, Any]:
    """A resolved configuration as a plain dictionary."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
