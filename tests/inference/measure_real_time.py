"""Real-time factors by steps: prints the table of docs/diffusion.md.

Run as ``python -m tests.inference.measure_real_time MODEL [--beside NAME] [--steps 1,2,4] [--threads 1,2]``. Every
round runs each row once, so that they share what the machine is doing; the least of the rounds counts. Beside the
time by the clock, in which other programs show, stands that of the processors, of which the ratio is made.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from importlib import resources
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

import audio_enh


def recording(seconds: float) -> tuple[NDArray[np.float32], int]:
    """The bundled noisy recordings, one after the other and again."""
    folder = Path(str(resources.files("audio_enh"))) / "samples" / "noisy"
    pieces, rates = zip(
        *(soundfile.read(path, dtype="float32") for path in sorted(folder.iterdir())), strict=True
    )
    assert len(set(rates)) == 1
    return np.resize(np.concatenate(pieces), round(seconds * rates[0])), rates[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--beside", default="causal-unet-16k", help="a model without steps, to compare with")
    parser.add_argument("--steps", default="1,2,4,8,30")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    audio, rate = recording(options.seconds)
    model, beside = audio_enh.load(options.model, "cpu"), audio_enh.load(options.beside, "cpu")
    rows: list[tuple[int, str, audio_enh.Enhancer, int | None]] = []
    for threads in map(int, options.threads.split(",")):
        rows.append((threads, options.beside, beside, None))
        rows += [(threads, Path(options.model).name, model, int(steps)) for steps in options.steps.split(",")]
    fastest, least = ([float("inf")] * len(rows) for _ in range(2))
    for enhancer in (model, beside):
        enhancer.enhance(audio[: 2 * rate], rate)
    for _ in range(options.rounds):
        for row, (threads, _, enhancer, steps) in enumerate(rows):
            torch.set_num_threads(threads)
            began, used = time.perf_counter(), time.process_time()
            enhancer.enhance(audio, rate, steps=steps)
            fastest[row] = min(fastest[row], time.perf_counter() - began)
            least[row] = min(least[row], time.process_time() - used)
    write = sys.stdout.write
    write(f"{options.seconds:g} s of audio, best of {options.rounds}\n\n")
    write(
        "| threads | model | steps | real-time factor | of the processors | ratio |\n|---|---|---|---|---|---|\n"
    )
    for row, (threads, name, _, steps) in enumerate(rows):
        factors = fastest[row] / options.seconds, least[row] / options.seconds, least[row] / least[0]
        write(
            f"| {threads} | {name} | {'' if steps is None else steps} | {' | '.join(f'{x:.3g}' for x in factors)} |\n"
        )


if __name__ == "__main__":
    main()
