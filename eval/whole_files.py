"""Adapter for ``evaluate --model``: a checkpoint on whole files, as ``audio-enh enhance`` runs it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from audio_enh.errors import AudioFileError
from audio_enh.eval.worker import peak_memory_mb

_WARM_UP_SECONDS = 1.0


class Files:
    """Enhances files of any format, rate and number of channels.

    Args:
        model: name, folder or hub address.
        device: as for ``audio_enh.load``.
        threads: of the CPU; None: as many as torch likes.
    """

    def __init__(self, model: str, device: str, threads: int | None) -> None:
        import torch

        import audio_enh

        if threads is not None:
            torch.set_num_threads(threads)
        self.enhancer = audio_enh.load(model, device)
        rate = self.enhancer.sample_rate
        noise = np.random.default_rng(0).standard_normal(round(_WARM_UP_SECONDS * rate)).astype(np.float32)
        self.enhancer.enhance(0.01 * noise, rate)

    def process(self, source: str, target: str, seed: int | None = None) -> dict[str, Any]:
        """Enhance one file, see ``worker.py``; the time is that of ``Enhancer.enhance``."""
        from audio_enh.io import read_audio, write_audio

        try:
            audio, rate = read_audio(source)
        except AudioFileError as error:
            return {"error": f"mixture: {error}", "reason": "unreadable"}
        began, used = time.perf_counter(), time.process_time()
        enhanced = self.enhancer.enhance(audio, rate, seed=seed)
        wall, cpu = time.perf_counter() - began, time.process_time() - used
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        write_audio(target, enhanced, rate, subtype="FLOAT")
        return {
            "seconds_audio": audio.shape[1] / rate,
            "seconds_wall": wall,
            "seconds_processor": cpu,
            "peak_memory_mb": self._peak_memory_mb(),
            "device": str(self.enhancer.device),
        }

    def _peak_memory_mb(self) -> float:
        device = self.enhancer.device
        if device.type == "cuda":
            import torch

            return torch.cuda.max_memory_allocated(device) / 2**20
        return peak_memory_mb()


def load(model: str, device: str, threads: int | None) -> tuple[Files, list[str]]:
    """See ``worker.py``."""
    from audio_enh.inference.catalog import WEIGHTS, find_checkpoint

    return Files(model, device, threads), [str(find_checkpoint(model) / WEIGHTS)]
