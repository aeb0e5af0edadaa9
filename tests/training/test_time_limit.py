"""A run that ends by the clock: trainer.max_time."""

import time

import pytest
import torch

from audio_enh.training import recipes

SECONDS = 6


@pytest.fixture(scope="module")
def limited(tmp_path_factory, debug_run):
    """A run of some seconds, and how to start it again."""
    out = tmp_path_factory.mktemp("limited")
    overrides = [
        *("experiment=debug", f"out={out}", f"data.cache={debug_run / 'cache'}"),
        *("trainer.max_steps=100000", f"trainer.max_time=00:00:00:{SECONDS:02}", "optim.warmup_steps=2"),
    ]

    def start():
        begin = time.monotonic()
        recipes.train(overrides)
        return time.monotonic() - begin, torch.load(out / "weights" / "last.ckpt", weights_only=False)

    return start


def test_the_learning_rate_falls_with_the_time_and_the_run_ends_with_it(limited):
    duration, content = limited()
    assert SECONDS <= duration < SECONDS + 30  # the validation after it included
    assert content["global_step"] > 2
    scheduler = content["lr_schedulers"][0]
    # The last step was taken before the end, so the rate is near the cosine's end but not at it.
    assert scheduler["_last_lr"][0] < 0.3 * scheduler["base_lrs"][0]

    # A second run has no time left: the steps stay what they were.
    assert limited()[1]["global_step"] <= content["global_step"] + 1
