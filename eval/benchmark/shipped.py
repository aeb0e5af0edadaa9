"""Adapter of the project's own checkpoints: run by ``worker.py`` with the interpreter that runs the benchmark."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Enhance = Callable[[NDArray[np.float32]], NDArray[np.floating]]


def load(
    model: str, sample_rate: int, steps: int | None = None, live: bool = False
) -> tuple[Enhance, list[str]]:
    """A checkpoint as it enhances files, or as it runs live.

    Args:
        model: name, folder or hub address.
        sample_rate: of what it will be given, in Hz.
        steps: of a generative model's sampler; None: as the checkpoint says.
        live: hop by hop through :class:`audio_enh.streaming.LiveStream`, with ONNX Runtime where the checkpoint has
            been exported.
    """
    return _live(model, sample_rate) if live else _offline(model, sample_rate, steps)


def _offline(model: str, sample_rate: int, steps: int | None) -> tuple[Enhance, list[str]]:
    import torch

    import audio_enh
    from audio_enh.inference.catalog import WEIGHTS, find_checkpoint

    torch.set_num_threads(1)
    enhancer = audio_enh.load(model, "cpu")

    def enhance(audio: NDArray[np.float32]) -> NDArray[np.float32]:
        return enhancer.enhance(audio, sample_rate, steps=steps, seed=0)

    return enhance, [str(find_checkpoint(model) / WEIGHTS)]


def _live(model: str, sample_rate: int) -> tuple[Enhance, list[str]]:
    from audio_enh.inference.catalog import WEIGHTS, find_checkpoint
    from audio_enh.streaming import LiveStream, open_backend

    backend = open_backend(model, 1, device="cpu", threads=1)
    hop = backend.hop_length * sample_rate // backend.sample_rate

    def enhance(audio: NDArray[np.float32]) -> NDArray[np.float32]:
        stream = LiveStream(backend, sample_rate, block_length=hop)
        padded = np.pad(audio, (0, -len(audio) % hop))[None]
        blocks = [stream.process(padded[:, at : at + hop]) for at in range(0, padded.shape[1], hop)]
        whole = np.concatenate([*blocks, stream.flush()], axis=1)[0]
        return whole[stream.latency_samples :][: len(audio)]

    folder = find_checkpoint(model)
    exported = folder / "model.onnx"
    return enhance, [str(exported if exported.exists() else folder / WEIGHTS)]
