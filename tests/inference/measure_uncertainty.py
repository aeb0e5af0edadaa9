"""Whether draws disagree where the model is wrong: prints the table of docs/diffusion.md.

Run as ``python -m tests.inference.measure_uncertainty CLEAN_DIR NOISY_DIR MODEL [--files N] [--draws K]``: mono
files, paired by name. Correlations are Spearman's, of ranks, over frames of 20 ms within 50 dB of a file's loudest.
The relative error is made of the true error as the uncertainty is of the spread: ``sqrt(error / (error + power))``,
power being that of the output. Where the output is quiet both are large, so that the level alone tells something of
the error; its correlation stands beside.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.stats import spearmanr

import audio_enh

RANGE_DB = 50
Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Frames:
    """Of one file: mean squares in frames."""

    power: Curve
    spread: Curve
    error: Curve

    @property
    def uncertainty(self) -> Curve:
        return relative(self.spread, self.power)

    @property
    def relative_error(self) -> Curve:
        return relative(self.error, self.power)


def relative(part: Curve, power: Curve) -> Curve:
    return np.asarray(np.sqrt(part / (part + power)))


def frames_of(enhancer: audio_enh.Enhancer, clean: Path, noisy: Path, options: argparse.Namespace) -> Frames:
    target, rate = soundfile.read(clean, dtype="float32")
    audio, _ = soundfile.read(noisy, dtype="float32")
    output, curve = enhancer.enhance_with_uncertainty(
        audio, rate, draws=options.draws, sampler=options.sampler, steps=options.steps
    )
    length = round(curve.frame_seconds * rate)
    whole = len(audio) // length
    squares = np.square((output - target)[: whole * length].astype(np.float64))
    error = squares.reshape(whole, length).mean(axis=1)
    power, spread = curve.power[:whole], curve.spread[:whole]
    heard = power > power.max() * 10 ** (-RANGE_DB / 10)
    return Frames(power[heard], spread[heard], error[heard])


def rank_correlation(one: Curve, other: Curve) -> float:
    return float(spearmanr(one, other).statistic)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clean", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("model")
    parser.add_argument("--files", type=int, default=15, help="so many, evenly spaced in the order of names")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--sampler", help="by default one with noise")
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    enhancer = audio_enh.load(options.model)
    names = sorted(path.name for path in options.noisy.iterdir())
    names = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, options.files).round().astype(int))]
    files = [frames_of(enhancer, options.clean / n, options.noisy / n, options) for n in names]

    within = {
        "spread, error": [rank_correlation(f.spread, f.error) for f in files],
        "uncertainty, relative error": [rank_correlation(f.uncertainty, f.relative_error) for f in files],
        "minus the level, relative error": [rank_correlation(-f.power, f.relative_error) for f in files],
    }
    write = sys.stdout.write
    write(
        f"| frames ({sum(len(f.power) for f in files)}, {len(files)} files) | median file | worst |\n|---|---|---|\n"
    )
    for what, values in within.items():
        write(f"| {what} | {np.median(values):.2f} | {min(values):.2f} |\n")
    uncertainty, error = (
        np.concatenate([getattr(f, x) for f in files]) for x in ("uncertainty", "relative_error")
    )
    flagged = uncertainty >= np.quantile(uncertainty, 0.9)
    wrong = error >= np.quantile(error, 0.9)
    write(f"\nall frames together: {rank_correlation(uncertainty, error):.2f}\n")
    write(
        f"of the tenth with the largest relative error, {flagged[wrong].mean():.0%} are in the tenth flagged\n"
    )
    totals = np.array([[f.power.sum(), f.spread.sum(), f.error.sum()] for f in files]).T
    result = spearmanr(relative(totals[1], totals[0]), relative(totals[2], totals[0]))
    write(f"whole files: {result.statistic:.2f} (p = {result.pvalue:.2g})\n")


if __name__ == "__main__":
    main()
