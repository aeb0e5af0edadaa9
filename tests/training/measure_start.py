"""How long a training takes until its first step, with the audio packed already.

``python -m tests.training.measure_start [--hours 10] [--seconds 6] [--experiment causal_unet] [KEY=VALUE]...``

Makes so many hours of noise as 16-bit FLAC files of so many seconds, packs them by a first start, and prints for the
second how long after ``audio-enh train`` was started the recipe's classes were loaded, the data were open, the first
batch had come and the first step was done: by the clock, and in processor time of the process itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lightning
import numpy as np
import soundfile

SCRIPT = Path(sys.executable).with_name("audio-enh")
RATE = 16000
STARTED, TOLD = "MEASURE_START", "MEASURE_TOLD"


class Told(lightning.Callback):
    """Writes when the stages of a start were reached."""

    def __init__(self) -> None:
        self.times: dict[str, tuple[float, float]] = {}
        self._tell("classes loaded")

    def _tell(self, stage: str) -> None:
        self.times[stage] = time.time() - float(os.environ[STARTED]), time.process_time()

    def on_train_start(self, *_: object) -> None:
        self._tell("data open")

    def on_train_batch_start(self, *_: object) -> None:
        self._tell("first batch")

    def on_train_batch_end(self, *_: object) -> None:
        self._tell("first step")
        Path(os.environ[TOLD]).write_text(json.dumps(self.times))


def make_corpus(folder: Path, hours: float, seconds: float) -> Path:
    """A manifest of noise that is called speech, and of a little noise."""
    rng = np.random.default_rng(0)
    rows = ["path,kind,split"]
    for number in range(max(4, round(hours * 3600 / seconds))):
        audio = rng.integers(-3000, 3000, round(seconds * RATE), np.int16)
        soundfile.write(folder / f"{number}.flac", audio, RATE)
        kind, split = (
            ("speech", "noise")[number % 2 if number < 4 else 0],
            ("train", "valid")[number % 4 // 2],
        )
        rows.append(f"{number}.flac,{kind},{split if number < 4 else 'train'}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--experiment", default="causal_unet")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = make_corpus(folder, options.hours, options.seconds)
        words = [f"experiment={options.experiment}", f"manifest={manifest}", f"data.cache={folder / 'cache'}"]
        words += [
            "trainer.max_steps=1",
            "data.valid_items=0",
            "trainer.precision=32-true",
            *options.overrides,
        ]
        words.append("+callbacks.told._target_=tests.training.measure_start.Told")
        for start in ("packing", "packed"):
            environment = {STARTED: str(time.time()), TOLD: str(folder / start)}
            subprocess.run(
                [SCRIPT, "train", *words, f"out={folder / 'run'}{start}"],
                env={**os.environ, **environment, "PYTHONPATH": "."},
                stdout=subprocess.DEVNULL,
                check=True,
            )
        sys.stdout.write("| until | s by the clock | s of the processor |\n|---|---|---|\n")
        for stage, (clock, processor) in json.loads((folder / "packed").read_text()).items():
            sys.stdout.write(f"| {stage} | {clock:.1f} | {processor:.1f} |\n")


if __name__ == "__main__":
    main()
