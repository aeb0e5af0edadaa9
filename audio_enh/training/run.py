"""A training run from a composed recipe."""

from __future__ import annotations

import logging
import math
import shlex
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import hydra
import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from omegaconf import DictConfig, OmegaConf

from audio_enh.errors import UserError
from audio_enh.inference.checkpoint import check_target, load_model, save_checkpoint
from audio_enh.registry import code_folders
from audio_enh.training.callbacks import keep_rows
from audio_enh.training.checks import check_parts, compile_training, use_own_code
from audio_enh.training.lora import add_lora, merge_lora
from audio_enh.training.memory import keep_freed_memory
from audio_enh.training.run_folder import RunRecord, check_place, state_to_resume
from audio_enh.training.state import LATEST, StateFiles, read_state
from audio_enh.training.stopping import RunStopped, StopRequest
from audio_enh.training.weights import LatestWeights, WeightFiles

log = logging.getLogger(__name__)


def train(config: DictConfig, worker: Path | None = None) -> float | None:
    """Train, choose the best weights on validation, and export them.

    An interrupted run goes on from its last state when ``resume`` is true and the output folder holds a run of the
    same recipe.

    Args:
        config: the recipe.
        worker: program that Lightning starts once per further GPU of this machine, with the overrides of the run.

    Returns:
        The best value of ``config.monitor``, for sweeps; None if there was no validation.

    Raises:
        UserError: the recipe does not work, the folder holds another run, or the training diverged.
        KeyboardInterrupt: a signal, which it names, ended the run.
    """
    with StopRequest() as stop:
        try:
            return _train(config, stop, worker)
        except RunStopped as stopped:
            raise KeyboardInterrupt(stopped.name) from stopped
        except SIGTERMException as stopped:
            raise KeyboardInterrupt("SIGTERM") from stopped
        except SystemExit as left:
            # Lightning leaves in this way where it was interrupted.
            if isinstance(left.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt(*left.__context__.args) from left
            raise
        except (MisconfigurationException, ValueError, TypeError) as error:
            if isinstance(error, MisconfigurationException) or _is_lightnings(error):
                raise UserError(f"recipe: {' '.join(str(error).split())}") from error
            raise


def _is_lightnings(error: Exception) -> bool:
    """Whether Lightning itself raised it, about how its switches go together."""
    trace = traceback.extract_tb(error.__traceback__)
    return Path(lightning.__file__).parent in Path(trace[-1].filename).parents


def _train(config: DictConfig, stop: StopRequest, worker: Path | None) -> float | None:
    _take_job(config, worker)
    use_own_code(config)
    out = Path(config.out).expanduser()
    config.out = str(out)
    state = state_to_resume(out, config)
    for setting, place in (("out", out), ("export", config.export), ("data.cache", config.data.get("cache"))):
        if place:
            check_place(Path(place).expanduser(), setting)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.export:
        check_target(config.export)  # not after hours

    model = hydra.utils.instantiate(config.model)
    objective = hydra.utils.instantiate(config.objective)
    if config.init_from:
        initialise(model, objective, config.init_from)
    if config.lora:
        add_lora(model, **config.lora)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if config.get("compile"):  # recipes of earlier versions lack it
        compile_training(model)
    task = hydra.utils.instantiate(config.task)(model, objective, **hydra.utils.instantiate(config.optim))
    data = hydra.utils.instantiate(config.data)

    # The best ones are apart from the latest, which are there even when no validation item could be scored.
    best = WeightFiles(out / LATEST.parent, "best-{step}", monitor=config.monitor)
    latest = LatestWeights(out / LATEST.parent, stop)
    validated = getattr(data, "valid_items", 1) and config.trainer.get("limit_val_batches", 1)
    own = [*([best] if validated else []), latest, RunRecord(out, config)]
    trainer = _make_trainer(config, out, own)
    _check(config, trainer, data)
    check_parts(config, model, objective)
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    if state is not None:
        step = int(read_state(state)["global_step"])
        log.info("resuming from step %d of %s", step, out)
        if 0 <= trainer.max_steps <= step:
            log.info("trainer.max_steps=%d: there is nothing left to train", trainer.max_steps)
        if config.init_from:
            log.info("init_from=%s was taken at its step 0; another run needs another out=", config.init_from)
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, CSVLogger):
                    keep_rows(logger, step)
                elif isinstance(logger, TensorBoardLogger):
                    logger._kwargs.setdefault("purge_step", step)  # what was logged later will be again
    else:
        log.info("starting from step 0")
    trainer.fit(task, datamodule=data, ckpt_path=state, weights_only=True)
    return _finish(config, trainer, best, out)


def _make_trainer(config: DictConfig, out: Path, own: list[Callback]) -> lightning.Trainer:
    callbacks = [*(hydra.utils.instantiate(config.get("callbacks")) or {}).values(), *own]
    callbacks = [callback for callback in callbacks if callback is not None]
    if not config.trainer.get("logger", True):  # which one of Lightning's would not do without
        callbacks = [callback for callback in callbacks if not isinstance(callback, LearningRateMonitor)]
    # Lightning advertises other products there.
    said = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    said.addFilter(lambda record: "Tip:" not in str(record.msg))
    for untrue in (  # here: the sampler goes on in the epoch; what is monitored is checked
        "resuming from a checkpoint that ended before the epoch ended",
        "could not find the monitored key",
        "exists and is not empty",
    ):
        warnings.filterwarnings("ignore", f".*{untrue}")
    trainer = hydra.utils.instantiate(config.trainer, callbacks=callbacks, default_root_dir=str(out))
    trainer.strategy.checkpoint_io = StateFiles()
    return trainer


def _check(config: DictConfig, trainer: lightning.Trainer, data: lightning.LightningDataModule) -> None:
    """Combinations that would train something else than one thinks, or fail after the data were read."""
    if trainer.precision in ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16"):
        raise UserError(
            f"trainer.precision={trainer.precision} is not for models with Fourier transforms and losses on them: "
            "take bf16-mixed, 16-mixed or 32-true"
        )
    if config.trainer.get("overfit_batches"):
        raise UserError(
            "trainer.overfit_batches does not go with items that are drawn anew all the time: to see a model learn a "
            "few recordings by heart, give it a folder of few"
        )
    batches, together = getattr(data, "steps_per_epoch", None), trainer.accumulate_grad_batches
    if batches is None:
        return
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if batches % together:
        lower = max(together, batches - batches % together)
        raise UserError(
            f"trainer.accumulate_grad_batches={together} does not divide the {batches} batches of an epoch, whose "
            f"last step would count for less: data.steps_per_epoch={lower} or {lower + together}"
        )


def _finish(config: DictConfig, trainer: lightning.Trainer, best: WeightFiles, out: Path) -> float | None:
    """Export, and say what came out and what to do next."""
    found = best.best_model_score
    score = None if found is None or not math.isfinite(found) else float(found)
    weights = out / LATEST if score is None else Path(best.best_model_path)
    if not trainer.is_global_zero:
        return score
    if not weights.is_file():
        if config.export:
            raise UserError(f"there is nothing to export to {config.export}: no step was trained")
        log.warning("no step was trained")
        return score
    if score is None:
        log.warning("no validation gave %s: the latest weights stand for the best", config.monitor)
    if config.export:
        export(config, weights, Path(config.export), score)
        code = "".join(f"--code {shlex.quote(str(folder))} " for folder in code_folders())
        following = f"audio-enh {code}enhance FILE --model {shlex.quote(str(config.export))}"
    else:
        following = "the same command with export=FOLDER makes a checkpoint of them for audio-enh enhance"
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    scores = [
        f"{name.removeprefix('valid/')} {metrics[name]:.3f}" for name in metrics if name.count("/") == 1
    ]
    scores = [text for text in scores if not text.startswith("train/")]
    log.info("trained %d steps; last validation: %s", trainer.global_step, ", ".join(scores) or "none")
    log.info("best weights: %s%s", weights, "" if score is None else f" ({config.monitor} {score:.3f})")
    log.info("next: %s", following)
    return score


def _take_job(config: DictConfig, worker: Path | None) -> None:
    """Make a job of a sweep a run of its own, and tell Lightning how to start the same job once more per GPU."""
    if not HydraConfig.initialized():
        return
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:
        config.out = job.runtime.output_dir
        if config.export:
            config.export = str(Path(config.export) / Path(config.out).name)
    changed = (
        [f"out={config.out}", f"export={config.export or 'null'}"] if job.mode == RunMode.MULTIRUN else []
    )
    if worker is not None:
        sys.argv = [str(worker), *job.overrides.task, *changed]


def export(config: DictConfig, weights: Path, folder: Path, score: float | None = None) -> None:
    """Write a training checkpoint's averaged weights as a checkpoint that ``audio_enh.load`` reads.

    Args:
        config: the recipe of the run.
        weights: a file of the run's ``weights`` folder.
        folder: made or overwritten.
        score: value of ``config.monitor`` to note.
    """
    model = hydra.utils.instantiate(config.model)
    content = read_state(weights)
    prefix = "model."
    state = {k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)}
    lora = config.get("lora")  # recipes of earlier versions lack it
    if lora:
        add_lora(model, **lora)
    model.load_state_dict(state)
    info = {**_plain(config.info), "steps": int(content["global_step"])}
    if score is not None:
        info["scores"] = {str(config.monitor): round(score, 4)}
    arguments = {k: v for k, v in _plain(config.model).items() if not k.startswith("_")}
    if lora:
        merge_lora(model)
        if "weight_normalised" in arguments:
            arguments["weight_normalised"] = False
    save_checkpoint(folder, model, info, arguments=arguments)
    log.info("exported to %s", folder)


def initialise(model: torch.nn.Module, objective: torch.nn.Module, name: str) -> None:
    """Start from trained weights; what they lack of the model starts as it is.

    Args:
        model: whose weights to replace.
        objective: gets back what it learnt itself (discriminators) where a run's state has it.
        name: a checkpoint; or a run's folder or a file of its ``weights``, for their averaged weights.

    Weights of a model that is a part of this one go to that part: those of causal-unet-16k to causal-unet-48k's lower
    band.

    Raises:
        UserError: there are weights that this model has no place for.
    """
    path = Path(name).expanduser()
    if (path / LATEST).is_file():
        path = path / LATEST
    if path.suffix == ".ckpt":
        state = read_state(path)["state_dict"]
        weights = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
        learnt = {k.removeprefix("objective."): v for k, v in state.items() if k.startswith("objective.")}
        if {k: v.shape for k, v in objective.state_dict().items()} == {k: v.shape for k, v in learnt.items()}:
            objective.load_state_dict(learnt)
    else:
        weights = load_model(name, "cpu")[0].state_dict()
    own = model.state_dict()
    for part in ("", *(f"{name}." for name, _ in model.named_children())):
        if weights and all(
            part + key in own and own[part + key].shape == v.shape for key, v in weights.items()
        ):
            weights = {part + key: value for key, value in weights.items()}
            break
    misfits = [key for key, value in weights.items() if key not in own or own[key].shape != value.shape]
    if misfits or not weights:
        what = f"{misfits[0]} does not fit (of {len(misfits)})" if misfits else "it has no weights of a model"
        raise UserError(f"init_from={name} is another model: {what}")
    new = model.load_state_dict(weights, strict=False).missing_keys
    if new:
        log.info("%d of %d tensors are new: %s", len(new), len(own), ", ".join(new[:3]) + ", ...")


def _plain(config: DictConfig) -> dict[str, Any]:
    """A resolved configuration as a plain dictionary."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
