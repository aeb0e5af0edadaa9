"""The files of weights that a run keeps: the best by validation, and the latest to go on from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint

from audio_enh.eval.metrics import METRICS
from audio_enh.training.stopping import RunStopped, StopRequest

log = logging.getLogger(__name__)

_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


def is_distance(monitor: str) -> bool:
    """Whether smaller values are better of what is logged under this name."""
    kind, _, name = monitor.partition("/")
    distances = {"loss", "unscored", *(metric.name for metric in METRICS if not metric.higher_is_better)}
    return kind == "train" or name.partition("/")[0] in distances


class WeightFiles(ModelCheckpoint):
    """Knows its files by their names only, so that a run's folder can be moved and copied.

    Args:
        folder: of the files.
        filename: see Lightning's class.
        monitor: value by which the best are chosen, the largest or the smallest as it is meant; None: the latest.
    """

    def __init__(self, folder: Path, filename: str, monitor: str | None = None):
        mode = "min" if monitor is not None and is_distance(monitor) else "max"
        super().__init__(
            folder, filename, monitor=monitor, mode=mode, enable_version_counter=monitor is not None
        )

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        best = {Path(path).name: score for path, score in state["best_k_models"].items()}
        names = {key: Path(state[key]).name for key in _PATHS}
        return {**state, **names, "best_k_models": best, "dirpath": None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        folder = Path(str(self.dirpath))
        if (name := state_dict["best_model_path"]) and not (folder / name).is_file():
            log.warning("%s is not there: the best weights are chosen anew from here on", folder / name)
            return
        paths = {key: str(folder / name) if (name := state_dict[key]) else "" for key in _PATHS}
        best = {str(folder / name): score for name, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath})


class LatestWeights(WeightFiles):
    """Also sees to it that a run ends with a validation, and saves it when it is told to stop.

    Args:
        folder: of the file.
        stop: tells when to stop.
    """

    def __init__(self, folder: Path, stop: StopRequest):
        super().__init__(folder, "last")
        self.stop = stop

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Lightning counts one step too many for its loggers each time a run is resumed.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    # Lightning calls callbacks of this kind after all others.
    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.stop.stepping = True
        if _is_last_batch(trainer):
            trainer.should_stop = True  # Lightning then validates, whichever batch of the epoch it is,
            if trainer.check_val_every_n_epoch is not None:
                trainer.check_val_every_n_epoch = 1  # and whichever epoch
        elif self._told_to_stop(trainer) and not trainer.fit_loop._should_accumulate():
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))
            log.info("stopped after step %d: the same command goes on from there", trainer.global_step)
            raise RunStopped(self.stop.name or "SIGTERM")

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.stop.stepping = False  # the averaged weights are in the model's place

    def _told_to_stop(self, trainer: lightning.Trainer) -> bool:
        """Of several processes perhaps only the first was told."""
        told = self.stop.name is not None
        return trainer.strategy.reduce_boolean_decision(told, all=False) if trainer.world_size > 1 else told


def _is_last_batch(trainer: lightning.Trainer) -> bool:
    """Whether the limit of steps, epochs or time is reached."""
    by_steps = 0 <= trainer.max_steps <= trainer.global_step
    by_epochs = (
        trainer.max_epochs is not None
        and 0 <= trainer.max_epochs <= trainer.current_epoch + 1
        and trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
    )
    return bool(trainer.should_stop or by_steps or by_epochs)
