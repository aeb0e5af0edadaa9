"""What a training step costs on the CPU, and how many workers feed it with simulated damage.

``OMP_NUM_THREADS=1 python -m tests.training.measure_step [--experiment universe_lite] [--batch-size 8]``

Prints processor time, which counts beside other programs: of a step (forward, backward, update) on one thread, and of
an item made by the simulator; the least of the rounds, which take turns.
"""

from __future__ import annotations

import argparse
import sys
import time

import hydra
import torch
from hydra import compose, initialize_config_module

from audio_enh.data.datasets import Batch
from audio_enh.training import recipes
from tests.distortions.measure_throughput import chains


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--experiment", default="universe_lite")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of an item")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=100, help="that the simulator makes in a round")
    given = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    with initialize_config_module(recipes.RECIPES.removeprefix("pkg://"), version_base="1.3"):
        config = compose("train", [f"experiment={given.experiment}", "manifest=-", "out=-"])
    model = hydra.utils.instantiate(config.model).train()
    objective = hydra.utils.instantiate(config.objective)
    optimiser = hydra.utils.instantiate(config.optim).optimizer(model.parameters())
    size, rate = given.batch_size, model.sample_rate
    clean = 0.05 * torch.randn(size, round(given.seconds * rate))
    batch = Batch(
        clean + 0.01 * torch.randn_like(clean), clean, torch.full((size,), torch.nan), torch.arange(size)
    )
    chains(20_000, 100, rate, given.seconds)  # delays of the codecs, rooms
    step = item = float("inf")
    for _ in range(given.rounds):
        started = time.process_time()
        total, _ = objective(model, batch)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        step = min(step, time.process_time() - started)
        item = min(item, chains(0, given.items, rate, given.seconds) / given.items)
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    sys.stdout.write(
        f"{given.experiment} ({parameters:.1f} M), {size} items of {given.seconds:g} s at {rate} Hz:"
        f" {step:.2f} s a step; an item {1000 * item:.1f} ms; workers that feed it: {size * item / step:.3f}\n"
    )


if __name__ == "__main__":
    main()
