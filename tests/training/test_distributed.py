"""Two processes train as one with twice the batch does, started by the command itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SCRIPT = Path(sys.executable).with_name("audio-enh")


def curve(run: Path, tag: str) -> list[float]:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [event.value for event in events.Scalars(tag)]


# A network without batch normalisation, whose statistics are those of a process's own share; and no Adam, which
# divides gradients by their size and so makes a difference of rounding in a small one as large as any.
SGD = (
    *("experiment=debug", "optim.optimizer._target_=torch.optim.SGD", "~optim.optimizer.betas"),
    *(
        "model=causal_demucs",
        "model.hidden=4",
        "model.depth=2",
        "~model.channels",
        "~model.rnn_hidden",
        "~model.rnn_layers",
    ),
)


def train(out: Path, *overrides: str) -> Path:
    result = subprocess.run(
        [SCRIPT, "train", *overrides, f"out={out}", f"data.cache={out.parent / 'cache'}"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return out


def test_two_processes_are_one_with_twice_the_batch(tmp_path):
    one = train(tmp_path / "one", *SGD, "data.batch_size=4")
    two = train(tmp_path / "two", *SGD, "data.batch_size=2", "trainer.devices=2", "trainer.strategy=ddp")
    for tag in ("train/loss", "valid/loss", "valid/si_sdr"):
        assert len(curve(one, tag)) == (6 if tag.startswith("train") else 2)
        assert curve(two, tag) == pytest.approx(curve(one, tag), rel=1e-4), tag
    weights = [torch.load(run / "weights" / "last.ckpt", weights_only=False) for run in (one, two)]
    for key, value in weights[0]["current_model_state"].items():
        torch.testing.assert_close(
            weights[1]["current_model_state"][key], value, atol=1e-5, rtol=1e-4, msg=key
        )


def test_accumulated_gradients_are_those_of_a_larger_batch(tmp_path):
    one = train(tmp_path / "one", *SGD, "data.batch_size=4")
    two = train(
        tmp_path / "two",
        *SGD,
        "data.batch_size=2",
        "data.steps_per_epoch=6",
        "trainer.accumulate_grad_batches=2",
    )
    weights = [torch.load(run / "weights" / "last.ckpt", weights_only=False) for run in (one, two)]
    for key, value in weights[0]["current_model_state"].items():
        torch.testing.assert_close(
            weights[1]["current_model_state"][key], value, atol=1e-5, rtol=1e-4, msg=key
        )
