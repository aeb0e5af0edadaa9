"""A causal model's step as an ONNX file: explicit state in and out, what one must know in the metadata.

Inputs are ``audio``, ``(batch, hop_length)``, and ``state_0``, ``state_1``, ...; outputs are ``output``,
``(batch, hop_length)``, and ``new_state_0``, .... Every state starts from zeros. The metadata are those of
`audio_enh.streaming.onnx_backend.Metadata`, each under ``audio_enh.`` and its name.
"""

from __future__ import annotations

import copy
import logging
import warnings
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights
from torch.overrides import TorchFunctionMode

from audio_enh.dsp.resample import resample
from audio_enh.errors import CheckpointError, DependencyError
from audio_enh.io import read_audio
from audio_enh.io.atomic import AtomicTarget
from audio_enh.models.base import CausalModel
from audio_enh.streaming.backend import Backend
from audio_enh.streaming.onnx_backend import INPUT, NEW_STATE, OUTPUT, PREFIX, STATE, Metadata, OnnxBackend
from audio_enh.streaming.torch_backend import StepModule, TorchBackend

Audio = NDArray[np.float32]

OPSET = 17
#: The exported model may differ from PyTorch by this, on audio of full scale 1: -80 dB.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class ExportReport:
    """What came of an export.

    Attributes:
        path: the file.
        size: in bytes.
        seconds: of audio on which it was compared with PyTorch.
        max_error: the largest difference of a sample.
        error_db: power of the difference over that of the output, in dB.
    """

    path: Path
    size: int
    seconds: float
    max_error: float
    error_db: float


def is_export(path: Path) -> bool:
    """Whether an ONNX file is one that :func:`export_onnx` has made.

    Raises:
        DependencyError: onnx is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise DependencyError.missing("export", str(error.name), "export") from error
    if not path.is_file():
        return False
    try:
        graph = onnx.load(str(path), load_external_data=False)
    except Exception:  # protobuf's and onnx's errors have no common class
        return False
    return any(entry.key == f"{PREFIX}format" for entry in graph.metadata_props)


def export_onnx(
    model: CausalModel,
    path: str | Path,
    *,
    name: str,
    weights_sha256: str,
    batch: int | None = None,
    quantize: bool = False,
    check_seconds: float = 60.0,
) -> ExportReport:
    """Export, compare with PyTorch on the bundled recordings, and only then put the file in its place.

    Args:
        model: in evaluation mode, on the CPU; it is not changed.
        path: of the file to be.
        name: of the checkpoint.
        weights_sha256: of the checkpoint's weights, by which the file is known to belong to them.
        batch: streams per call; None leaves it open.
        quantize: weights of the matrix products as 8-bit integers, except those of a filter bank at the two
            ends, whose errors would be heard directly. Such a file is not held to the tolerance.
        check_seconds: of the recordings (27 s) to compare on, at most.

    Raises:
        DependencyError: onnx or onnxruntime is missing.
        CheckpointError: the model cannot be exported like that, or the file computes something else.
        AudioFileError: the path cannot be written.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise DependencyError.missing("export", str(error.name), "export") from error
    if any(state.any() for state in model.init_state(1)):
        raise CheckpointError(f"{name}: exported states start from zero, and some of this model's do not")

    target = AtomicTarget(Path(path))
    try:
        _export_graph(model, target.temporary, batch, name)
        if quantize:
            _quantize(target.temporary)
        graph = onnx.load(str(target.temporary))
        _strip(graph)
        _halve(graph)
        metadata = Metadata(
            model=name,
            sample_rate=model.sample_rate,
            hop_length=model.hop_length,
            delay=model.delay,
            latency=model.latency,
            weights_sha256=weights_sha256,
            quantized="int8" if quantize else "",
        )
        del graph.metadata_props[:]
        onnx.helper.set_model_props(graph, metadata.to_dict())
        onnx.checker.check_model(graph, full_check=True)
        onnx.save(graph, str(target.temporary))
        report = _compare(model, target.temporary, batch or 2, check_seconds)
        if not quantize and not report.max_error < TOLERANCE:
            raise CheckpointError(
                f"{name}: the exported model differs from PyTorch by {report.max_error:.2g}, "
                f"more than {TOLERANCE:.2g}: not written"
            )
        target.commit()
    except BaseException:
        target.discard()
        raise
    return ExportReport(
        target.path, target.path.stat().st_size, report.seconds, report.max_error, report.error_db
    )


def bundled_recordings() -> list[tuple[str, Audio, Audio, int]]:
    """The package's noisy recordings: name, noisy and clean ``(samples,)``, rate in Hz."""
    found = []
    with as_file(files("audio_enh") / "samples") as folder:
        for noisy_path in sorted((folder / "noisy").glob("*.flac")):
            noisy, rate = read_audio(noisy_path)
            clean, _ = read_audio(folder / "clean" / noisy_path.name)
            found.append((noisy_path.stem, noisy[0], clean[0], rate))
    return found


def run_hops(backend: Backend, audio: Audio) -> Audio:
    """Run ``(batch, samples)`` at the model's rate through a backend from the start, whole hops only; not aligned."""
    backend.reset()
    hop = backend.hop_length
    pieces = [
        backend.step(audio[:, start : start + hop]).copy()
        for start in range(0, audio.shape[1] - hop + 1, hop)
    ]
    return np.concatenate(pieces, axis=1)


def fold_normalization(model: CausalModel) -> CausalModel:
    """A copy in which each batch normalisation is part of the convolution before it, as far as it is known to be.

    That is where a module holds, as ``conv`` and ``norm``, a convolution or matrix (or a module with one as its
    ``conv``) and the normalisation of its output.
    """
    folded = copy.deepcopy(model).requires_grad_(False)
    for module in list(folded.modules()):
        norm, conv = getattr(module, "norm", None), getattr(module, "conv", None)
        conv = getattr(conv, "conv", conv)
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:
            continue
        if isinstance(conv, nn.Linear):
            conv.weight, conv.bias = fuse_linear_bn_weights(
                conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
            )
            module.norm = nn.Identity()
            continue
        if not isinstance(conv, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d):
            continue
        transposed = isinstance(conv, nn.ConvTranspose1d | nn.ConvTranspose2d)
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias,
            transpose=transposed,
        )  # fmt: skip
        module.norm = nn.Identity()
    return folded


def _export_graph(model: CausalModel, path: Path, batch: int | None, name: str) -> None:
    state = model.init_state(batch or 1)
    audio = torch.zeros(batch or 1, model.hop_length)
    inputs = [INPUT, *(STATE.format(i) for i in range(len(state)))]
    outputs = [OUTPUT, *(NEW_STATE.format(i) for i in range(len(state)))]
    axes = {each: {0: "batch"} for each in inputs + outputs} if batch is None else None
    module = StepModule(fold_normalization(model)).eval()
    with warnings.catch_warnings(), torch.no_grad(), _ExplicitCells():
        # It warns of every decision that depends on a shape; what comes out is compared below.
        warnings.simplefilter("ignore")
        try:
            # The exporter by tracing: the other one needs onnxscript, and gains nothing for one step.
            torch.onnx.export(
                module, (audio, *state), str(path), input_names=inputs, output_names=outputs,
                dynamic_axes=axes, opset_version=OPSET, dynamo=False,
            )  # fmt: skip
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            hint = "; try --batch 1" if batch is None else ""
            raise CheckpointError(f"{name} cannot be exported: {first}{hint}") from error


class _ExplicitCells(TorchFunctionMode):
    """LSTM cells in terms of what the exporter knows for any batch."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not torch.lstm_cell:
            return func(*args, **(kwargs or {}))
        x, (hidden, cell), weight_x, weight_h, bias_x, bias_h = args
        gates = F.linear(x, weight_x, bias_x) + F.linear(hidden, weight_h, bias_h)
        take, forget, candidate, give = gates.split(hidden.shape[1], dim=1)
        cell = forget.sigmoid() * cell + take.sigmoid() * candidate.tanh()
        return give.sigmoid() * cell.tanh(), cell


def _quantize(path: Path) -> None:
    """Replace the file by one with 8-bit weights."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(str(path)).graph
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    ends = [node.name for node in products if node.name.split("/")[1] in ("analysis", "synthesis")]
    # ONNX Runtime has no integer kernel for a stack of matrices with scales of their own.
    stacks = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 2}
    stacked = [node.name for node in products if stacks.intersection(node.input)]
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it advises a preprocessing for static quantization
    try:
        quantize_dynamic(
            str(path), str(path), op_types_to_quantize=["MatMul", "Gemm"], nodes_to_exclude=ends + stacked,
            weight_type=QuantType.QInt8, per_channel=True,
        )  # fmt: skip
    finally:
        logging.root.setLevel(level)


def _strip(graph: Any) -> None:
    """Take out what the exporter notes about this machine: the source lines of every node."""
    graph.doc_string = ""
    graph.graph.doc_string = ""
    for node in graph.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]


def _halve(model: Any) -> None:
    """Store weights as float16 where not a bit is lost by it, as in checkpoints stored so: half the file.

    ONNX Runtime turns them back when it loads the file.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < 256 or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        graph.node.insert(0, helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))


def _compare(model: CausalModel, path: Path, batch: int, limit: float) -> ExportReport:
    onnx_backend = OnnxBackend(path, batch)
    torch_backend = TorchBackend(model, batch, optimize=False)
    error = power = 0.0
    largest = seconds = 0.0
    for _, noisy, _, rate in bundled_recordings():
        noisy = noisy[: round((limit - seconds) * rate)]
        audio = resample(noisy, rate, model.sample_rate)
        audio = np.stack([np.roll(audio, 1000 * row) for row in range(batch)])
        expected = run_hops(torch_backend, audio)
        difference = run_hops(onnx_backend, audio) - expected
        largest = max(largest, float(np.abs(difference).max()))
        error += float(np.sum(difference**2, dtype=np.float64))
        power += float(np.sum(expected**2, dtype=np.float64))
        seconds += len(noisy) / rate
        if seconds >= limit:
            break
    error_db = 10 * np.log10(max(error, 1e-30) / max(power, 1e-30))
    return ExportReport(path, path.stat().st_size, seconds, largest, float(error_db))
