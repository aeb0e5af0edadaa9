"""Two processes train as one with twice the batch does, started by the command itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from audio_enh.training import recipes

SCRIPT = Path(sys.executable).with_name("audio-enh")


def curve(run: Path, tag: str) -> list[float]:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [event.value for event in events.Scalars(tag)]


# Diffusion, whose draws must follow the items; a network without batch normalisation, whose statistics are those of a
# process's own share; and no Adam, which makes rounding in a small gradient as large a difference as any.
SGD = (
    *("experiment=debug_diffusion", "objective=score_matching", "process=ouve", "data.seconds=0.5"),
    *(
        "model.network.name=ncsnpp",
        "+model.network.channels=8",
        "+model.network.multipliers=[1,1]",
        "+model.network.blocks=1",
    ),
    *("model.prediction=score", "data.valid_seconds=1.0"),
    *("optim.optimizer._target_=torch.optim.SGD", "~optim.optimizer.betas", "optim.optimizer.lr=1e-6"),
)


def train(out: Path, *overrides: str) -> Path:
    recipes.train([*SGD, *overrides, f"out={out}", f"data.cache={out.parent / 'cache'}"])
    return out


def same_weights(first: Path, second: Path) -> None:
    weights = [torch.load(run / "weights" / "last.ckpt", weights_only=False) for run in (first, second)]
    assert weights[0]["global_step"] == weights[1]["global_step"] == 6
    for key, value in weights[0]["current_model_state"].items():
        torch.testing.assert_close(
            weights[1]["current_model_state"][key], value, atol=1e-5, rtol=1e-4, msg=key
        )


def test_two_processes_are_one_with_twice_the_batch(tmp_path):
    """The installed command itself starts the second process, and they meet through gloo."""
    one, two = train(tmp_path / "one", "data.batch_size=4"), tmp_path / "two"
    result = subprocess.run(
        [
            *(SCRIPT, "train", *SGD, f"out={two}", f"data.cache={tmp_path / 'cache'}"),
            *("data.batch_size=2", "trainer.devices=2", "trainer.strategy=ddp"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    for tag in ("train/loss", "valid/loss", "valid/si_sdr"):
        assert len(curve(one, tag)) == (6 if tag.startswith("train") else 2)
        assert curve(two, tag) == pytest.approx(curve(one, tag), rel=1e-4), tag
    same_weights(one, two)


def test_accumulated_gradients_are_those_of_a_larger_batch(tmp_path):
    one = train(tmp_path / "one", "data.batch_size=4")
    two = train(
        tmp_path / "two", "data.batch_size=2", "data.steps_per_epoch=6", "trainer.accumulate_grad_batches=2"
    )
    same_weights(one, two)
