"""``audio-enh export``: a causal model as an ONNX file, to be run live without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_enh.cli._options import output_option
from audio_enh.cli._terminal import echo
from audio_enh.errors import DependencyError, UserError

if TYPE_CHECKING:
    from audio_enh.streaming.backend import Backend

METRICS = ("pesq_wb", "stoi", "si_sdr")


def export(
    model: Annotated[
        str | None, typer.Argument(help="Checkpoint: name, folder or hf:// name.", show_default="the default")
    ] = None,
    output: Annotated[
        Path | None,
        output_option(
            "FILE",
            "Where to write; by default model.onnx (model-int8.onnx) beside the weights, where live finds "
            "it.",
        ),
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar="N|dynamic", help="Streams per call: a number, or any.")
    ] = "dynamic",
    quantize: Annotated[
        str | None,
        typer.Option(
            metavar="int8",
            show_default=False,
            help="Weights as 8-bit integers; what that costs in quality is measured and printed.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Export a causal model's step to ONNX, and compare it with PyTorch on real recordings."""
    if quantize not in (None, "int8"):
        raise UserError(f"--quantize {quantize}: there is int8")
    streams = _streams(batch)
    from audio_enh.inference.catalog import DEFAULT_MODEL, ONNX, WEIGHTS, find_checkpoint, read_config
    from audio_enh.io.owned import check_replaceable

    # A wrong name is told before torch takes its seconds to load.
    folder = find_checkpoint(model or DEFAULT_MODEL)
    from audio_enh.digest import file_sha256
    from audio_enh.inference.checkpoint import load_model
    from audio_enh.models.base import CausalModel
    from audio_enh.streaming.export import export_onnx, is_export
    from audio_enh.streaming.onnx_backend import OnnxBackend
    from audio_enh.streaming.torch_backend import TorchBackend

    name = str(read_config(folder).get("info", {}).get("name", folder.name))
    network, _ = load_model(folder, "cpu")
    if not isinstance(network, CausalModel):
        raise UserError(f"{name} is not causal ({type(network).__name__}): only causal models can run live")
    default = folder / (ONNX if quantize is None else "model-int8.onnx")
    if output is not None or not is_export(default):
        check_replaceable([output or default], overwrite)
    report = export_onnx(
        network,
        output or default,
        name=name,
        weights_sha256=file_sha256(folder / WEIGHTS),
        batch=streams,
        quantize=quantize is not None,
    )
    rate = network.sample_rate
    number = "any number of streams" if streams is None else f"{streams} stream{'s' * (streams > 1)}"
    echo(
        f"{report.path}: {report.size / 1e6:.1f} MB, {rate:g} Hz, hop {1000 * network.hop_length / rate:g} ms, "
        f"latency {1000 * network.latency / rate:g} ms, {number}"
    )
    echo(
        f"compared with PyTorch on {report.seconds:.1f} s of recordings: largest difference "
        f"{report.max_error:.2g}, {report.error_db:.0f} dB of the output"
    )
    if quantize is not None and streams in (None, 1):
        try:
            _print_quality({"float32": TorchBackend(network), "int8": OnnxBackend(report.path)})
        except DependencyError as error:
            echo(f"note: the file is written, what 8 bits cost was not measured: {error}", err=True)


def _streams(batch: str) -> int | None:
    if batch == "dynamic":
        return None
    if batch.isdecimal() and int(batch) > 0:
        return int(batch)
    raise UserError(f"--batch {batch}: a number of streams, or dynamic")


def _print_quality(backends: dict[str, Backend]) -> None:
    """Scores of the enhanced bundled recordings with each backend."""
    from rich.table import Table

    from audio_enh.cli._terminal import console as make_console

    scores = {label: _quality(backend) for label, backend in backends.items()}
    table = Table(box=None, pad_edge=False, title="mean over the bundled recordings", title_justify="left")
    for column in ("", "PESQ-WB", "STOI", "SI-SDR (dB)"):
        table.add_column(column, justify="right" if column else "left")
    for label, values in scores.items():
        table.add_row(label, *(f"{values[metric]:.4f}" for metric in METRICS))
    first, last = scores.values()
    table.add_row("difference", *(f"{last[metric] - first[metric]:+.4f}" for metric in METRICS))
    make_console().print(table)


def _quality(backend: Backend) -> dict[str, float]:
    """Mean scores over the enhanced bundled recordings."""
    import numpy as np

    from audio_enh.eval.arrays import evaluate_arrays
    from audio_enh.streaming.engine import LiveStream
    from audio_enh.streaming.export import bundled_recordings

    scores = []
    for _, noisy, clean, rate in bundled_recordings():
        stream = LiveStream(backend, rate)
        enhanced = np.concatenate([stream.process(noisy[None]), stream.flush()], axis=1)
        scores.append(evaluate_arrays(clean, enhanced[0, stream.latency_samples :], rate, METRICS))
    return {metric: float(np.mean([score[metric] for score in scores])) for metric in METRICS}
