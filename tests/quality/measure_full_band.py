"""What happens between 8 and 20 kHz, measured on folders of 48 kHz files with the same names.

    audio-enh mix set=fullband split=valid48 manifest=/data/manifest.csv out=set
    audio-enh enhance set/noisy -o ours
    python -m tests.quality.measure_full_band set/clean set/noisy ours [another ...]

With ``set/clean`` in the place of ``set/noisy`` and what a model makes of it: what it does to clean speech. Columns:
LSD, the log-spectral distance to the clean file in frames in which it has sound up there; level, the energy of the
output against the clean one's in these frames; pauses, the energy of the output against the input's where the clean
file is silent up there. All in dB, the mean over the files and its 95 % interval.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.signal import stft

from audio_enh.io import read_audio

LOW, HIGH = 8000, 20000
# Frames with sound are within so many dB of the loudest one; what is that much below it is silence.
SOUND, SILENCE = 35.0, 55.0


def powers(path: Path) -> np.ndarray:
    """``(bins, frames)`` between 8 and 20 kHz; frames of 43 ms every 10 ms."""
    audio, rate = read_audio(path)
    frequency, _, spectrum = stft(audio[0], rate, nperseg=2048, noverlap=2048 - 480)
    inside = (frequency >= LOW) & (frequency < HIGH)
    return np.abs(spectrum[inside]) ** 2 + 1e-14


def measure(clean: Path, noisy: Path, out: Path) -> tuple[float, float, float]:
    target, source, result = powers(clean), powers(noisy), powers(out)
    frames = min(target.shape[1], result.shape[1])
    target, source, result = target[:, :frames], source[:, :frames], result[:, :frames]
    loud = 10 * np.log10(target.sum(axis=0))
    active, silent = loud > loud.max() - SOUND, loud < loud.max() - SILENCE
    difference = 10 * np.log10(result[:, active] / target[:, active])
    distance = np.sqrt((difference**2).mean(axis=0)).mean()
    level = 10 * np.log10(result[:, active].sum() / target[:, active].sum())
    pauses = np.nan
    if silent.sum() >= 10:
        pauses = 10 * np.log10(result[:, silent].sum() / source[:, silent].sum())
    return float(distance), float(level), float(pauses)


def write(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("enhanced", type=Path, nargs="+")
    given = parser.parse_args()
    names = sorted(path.name for path in given.clean.iterdir() if path.suffix in (".flac", ".wav"))
    write(f"{'':30} {'LSD':>16} {'level':>16} {'pauses':>16}")
    for folder in (given.noisy, *given.enhanced):
        found = {path.stem: path for path in folder.iterdir()}
        each = np.array(
            [measure(given.clean / n, given.noisy / n, found[Path(n).stem]) for n in names], float
        )
        columns = []
        for values in each.T:
            values = values[np.isfinite(values)]
            half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            columns.append(f"{values.mean() if len(values) else np.nan:8.2f} ±{half:5.2f}")
        write(f"{folder.name[-30:]:30} " + " ".join(f"{column:>16}" for column in columns))


if __name__ == "__main__":
    main()
