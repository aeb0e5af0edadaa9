"""The state of a run: read without executing anything, written whole or not at all, and never with broken weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from torch import Tensor

from audio_enh.errors import CheckpointError, UserError
from audio_enh.inference.pickles import read_pickle
from audio_enh.io.atomic import AtomicTarget, write_error

#: Where a run keeps its latest state, in its folder.
LATEST = Path("weights", "last.ckpt")


def read_state(path: str | Path) -> dict[str, Any]:
    """The state of a training: tensors on the CPU and plain values; no name in the file is imported or called.

    Args:
        path: a file of a run's ``weights`` folder.

    Raises:
        CheckpointError: the file is missing, damaged, or holds something else.
    """
    try:
        content = read_pickle(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}. To go on from another state of the run: init_from=FILE.ckpt and a new out="
        ) from error
    if not (isinstance(content, dict) and {"state_dict", "global_step"} <= content.keys()):
        raise CheckpointError(f"{path} is not the state of a training: it lacks its weights or its step")
    return content


class StateFiles(CheckpointIO):
    """How Lightning reads and writes the files of a run's ``weights`` folder."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        broken = next((name for name, value in _tensors(checkpoint) if not _finite(value)), None)
        if broken is not None:
            raise UserError(
                f"training diverged: after step {checkpoint['global_step']} {broken} holds NaN or infinite values. "
                f"Nothing was written; the last good state is in {Path(path).parent}: begin anew from it with "
                "init_from=, a smaller optim.optimizer.lr and another out="
            )
        target = AtomicTarget(Path(path))
        try:
            torch.save(checkpoint, target.temporary)
        except BaseException as error:
            target.discard()
            if isinstance(error, OSError):
                raise write_error(error, Path(path)) from error
            if isinstance(error, RuntimeError):  # of PyTorch's writer, when the disk is full
                text = " ".join(str(error).split())
                raise UserError(f"cannot write {path} (is the disk full?): {text}") from error
            raise
        target.commit()

    # Lightning also passes where tensors should be, for which it is the CPU, and whether to run pickles.
    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_state(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        # Lightning's own takes the characters [, ] and * of a path for a pattern.
        Path(path).unlink(missing_ok=True)


def _tensors(values: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All weights, averages and moments of a state with their names; not the scores, which may be NaN."""
    if isinstance(values, Tensor):
        yield name, values
    elif isinstance(values, Mapping):
        for key, value in values.items():
            if key != "callbacks":
                yield from _tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, list | tuple):
        for index, value in enumerate(values):
            yield from _tensors(value, f"{name}.{index}")


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(value.isfinite().all())
