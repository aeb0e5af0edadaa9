"""What runs the model, one hop at a time, and how it is chosen. Imports torch only where torch is used."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from audio_enh.digest import file_sha256
from audio_enh.errors import CheckpointError, UserError
from audio_enh.inference.catalog import DEFAULT_MODEL, ONNX, WEIGHTS, find_checkpoint

if TYPE_CHECKING:
    from audio_enh.models.base import CausalModel

Audio = NDArray[np.float32]
BackendName = Literal["auto", "onnx", "torch"]


@runtime_checkable
class Backend(Protocol):
    """A causal model with its state, for ``batch`` streams side by side.

    Attributes:
        name: what to call it in a table.
        sample_rate: of the model, in Hz.
        hop_length: samples per step.
        delay: samples by which the output lags the input; see `CausalModel`.
        latency: by the definition of the DNS challenge, in samples; see `CausalModel`.
        batch: number of streams.
    """

    name: str
    sample_rate: int
    hop_length: int
    delay: int
    latency: int
    batch: int

    def step(self, audio: Audio) -> Audio:
        """Advance by a hop: ``(batch, hop_length)`` to ``(batch, hop_length)``, valid until the next call."""
        ...

    def reset(self, row: int | None = None) -> None:
        """Start one stream, or all, anew."""
        ...


def open_backend(
    model: str | Path | CausalModel | None = None,
    batch: int = 1,
    *,
    backend: BackendName = "auto",
    device: str = "cpu",
    threads: int = 1,
) -> Backend:
    """Load a model to be run live.

    Args:
        model: a checkpoint's name, folder or ``hf://`` name, an exported ``.onnx`` file, or a model; the shipped
            default if None.
        batch: streams side by side.
        backend: ``"auto"`` takes ONNX Runtime on the CPU where ``model.onnx`` lies beside the checkpoint's
            weights, was exported from exactly those, and onnxruntime is installed; else PyTorch.
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``auto``; a ``CausalModel`` stays where it is.
        threads: of one step, on the CPU. More than one rarely pays for frames this small.

    Raises:
        UserError: the backend or device does not fit, the model is unknown, damaged or not causal.
    """
    if backend not in ("auto", "onnx", "torch"):
        raise UserError(f"unknown backend {backend!r}: auto, onnx or torch")
    if batch < 1 or threads < 1:
        raise UserError(f"batch and threads must be 1 or more, not {batch} and {threads}")
    if model is None:
        model = DEFAULT_MODEL
    if isinstance(model, str | Path):
        if Path(model).suffix == ".onnx":
            if backend == "torch" or device not in ("cpu", "auto"):
                raise UserError(f"{model} is for ONNX Runtime on the CPU: give the checkpoint instead")
            return _open_onnx(Path(model), batch, threads)
        folder = find_checkpoint(model)
        if backend == "onnx" or (backend == "auto" and device == "cpu" and _can_take_onnx(folder)):
            if device not in ("cpu", "auto"):
                raise UserError(f"the onnx backend runs on the CPU, not on {device}: use --backend torch")
            return _open_onnx(exported(folder), batch, threads)
    elif backend == "onnx":
        raise UserError("the onnx backend needs a checkpoint or an .onnx file, not a model")
    return _open_torch(model, batch, device, threads)


def exported(folder: Path) -> Path:
    """The checkpoint's ``model.onnx``, checked to be of the same weights.

    Raises:
        CheckpointError: it is missing or of other weights.
    """
    from audio_enh.streaming.onnx_backend import read_metadata

    path = folder / ONNX
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {ONNX}: make it with `audio-enh export {folder}`")
    if read_metadata(path).weights_sha256 != file_sha256(folder / WEIGHTS):
        raise CheckpointError(
            f"{path} was exported from other weights than {WEIGHTS}: run `audio-enh export {folder}` again"
        )
    return path


def _can_take_onnx(folder: Path) -> bool:
    if importlib.util.find_spec("onnxruntime") is None or not (folder / ONNX).is_file():
        return False
    try:
        exported(folder)
    except CheckpointError:
        return False  # stale or damaged: the weights themselves still do
    return True


def _open_onnx(path: Path, batch: int, threads: int) -> Backend:
    from audio_enh.streaming.onnx_backend import OnnxBackend

    return OnnxBackend(path, batch, threads=threads)


def _open_torch(model: Any, batch: int, device: str, threads: int) -> Backend:
    from audio_enh.inference.checkpoint import load_model
    from audio_enh.models.base import CausalModel
    from audio_enh.streaming.torch_backend import TorchBackend

    name = model
    if isinstance(model, str | Path):
        model, _ = load_model(model, device)
    if not isinstance(model, CausalModel):
        kind = type(model).__name__
        raise UserError(
            f"{name if model is not name else kind} is not causal ({kind}): it cannot be run live, only on files"
        )
    return TorchBackend(model, batch, threads=threads)
