"""How far the metrics are from independent code: prints the table of docs/evaluation.md.

Run as ``python -m tests.eval.measure_agreement CLEAN_DIR ESTIMATE_DIR``: files of 16 kHz, mono, paired by stem.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pesq
import pystoi
import soundfile
import speechmos.dnsmos
import torch
import torchmetrics.functional.audio as independent
from numpy.typing import NDArray

from audio_enh.eval import METRICS
from audio_enh.eval.metrics import Signals, measure, si_sdr_torch

RATE = 16000
Audio = NDArray[np.float64]


def torch_pair(function: Callable[..., torch.Tensor], **options: object) -> Callable[[Audio, Audio], float]:
    """A function of torchmetrics, which takes the estimate first."""
    return lambda clean, other: float(function(torch.from_numpy(other), torch.from_numpy(clean), **options))


def paper_sd_sdr(clean: Audio, other: Audio) -> float:
    """The definition in Le Roux et al.; torchmetrics has no SD-SDR."""
    scaled = np.dot(other, clean) / np.dot(clean, clean) * clean
    return float(10 * np.log10(np.sum(scaled**2) / np.sum((clean - other) ** 2)))


def dnsmos(key: str) -> Callable[[Audio, Audio], float]:
    return lambda _, other: float(speechmos.dnsmos.run(np.clip(other, -1, 1), RATE)[key])


def distillmos(_: Audio, other: Audio) -> float:
    """The package's own windows, all of a file at once."""
    from distillmos import ConvTransformerSQAModel

    with torch.inference_mode():
        return float(ConvTransformerSQAModel().eval()(torch.from_numpy(other.astype(np.float32))[None]))


OTHERS: dict[str, tuple[str, Callable[[Audio, Audio], float]]] = {
    "pesq_wb": ("pesq called directly", lambda s, x: pesq.pesq(RATE, s, x, "wb")),
    "pesq_nb": ("pesq called directly", lambda s, x: pesq.pesq(RATE, s, x, "nb")),
    "stoi": ("pystoi called directly", lambda s, x: pystoi.stoi(s, x, RATE)),
    "estoi": ("pystoi called directly", lambda s, x: pystoi.stoi(s, x, RATE, extended=True)),
    "si_sdr": ("torchmetrics", torch_pair(independent.scale_invariant_signal_distortion_ratio)),
    "snr": ("torchmetrics", torch_pair(independent.signal_noise_ratio)),
    "sd_sdr": ("the paper's equation in numpy", paper_sd_sdr),
    "dnsmos_ovrl": ("speechmos called directly", dnsmos("ovrl_mos")),
    "dnsmos_sig": ("speechmos called directly", dnsmos("sig_mos")),
    "dnsmos_bak": ("speechmos called directly", dnsmos("bak_mos")),
    "dnsmos_p808": ("speechmos called directly", dnsmos("p808_mos")),
    "distillmos": ("distillmos called directly", distillmos),
}


def main() -> None:
    clean_folder, estimate_folder = (Path(argument) for argument in sys.argv[1:])
    clean_files = {path.stem: path for path in clean_folder.iterdir()}
    worst = dict.fromkeys((*OTHERS, "si_sdr_torch"), 0.0)
    files = sorted(estimate_folder.iterdir())
    metrics = [metric for metric in METRICS if metric.name in OTHERS]
    for file in files:
        clean, other = (soundfile.read(path)[0] for path in (clean_files[file.stem], file))
        scores = measure(Signals(other, RATE, clean), metrics).scores
        for name, (_, function) in OTHERS.items():
            worst[name] = max(worst[name], abs(scores[name] - function(clean, other)))
        ours = float(si_sdr_torch(torch.from_numpy(clean)[None], torch.from_numpy(other)[None]))
        worst["si_sdr_torch"] = max(worst["si_sdr_torch"], abs(ours - scores["si_sdr"]))
    sys.stdout.write(f"| metric | against | largest difference in {len(files)} files |\n|---|---|---|\n")
    for name, difference in worst.items():
        against = OTHERS[name][0] if name in OTHERS else "si_sdr (numpy)"
        sys.stdout.write(f"| {name} | {against} | {difference:.1e} |\n")


if __name__ == "__main__":
    main()
