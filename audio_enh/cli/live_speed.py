"""``audio-enh live-speed``: which model this machine can run live, and with what head-room."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audio_enh.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from audio_enh.streaming.backend import BackendName
    from audio_enh.streaming.measure import Measured, Timing

# A program that runs all day beside others should leave this much of the time to them.
COMFORTABLE = 2.0
#: Of the time, taken by the model on average, that leaves live audio room for what comes in between.
LEAST_FREE = 0.8


@dataclass(frozen=True)
class SpeedRow:
    """One line of the table."""

    model: str
    backend: str
    device: str
    threads: int
    measured: Measured
    streams: int | None = None
    streams_timing: Timing | None = None


def live_speed(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Checkpoints: names, folders, hf:// names or .onnx files.", show_default="all installed"
        ),
    ] = None,
    backend: Annotated[str, typer.Option(metavar="onnx|torch|all", help="What runs the model.")] = "all",
    device: Annotated[str, typer.Option(help="For torch: cpu, cuda, cuda:N or mps.")] = "cpu",
    threads: Annotated[
        str, typer.Option(metavar="N,N", help="Numbers of threads to try; more than one rarely helps.")
    ] = "1",
    seconds: Annotated[float, typer.Option(help="Of sound to time for each line.")] = 5.0,
    streams: Annotated[
        bool,
        typer.Option("--streams", help="Also find how many streams at once hold real time (takes longer)."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Measure how well this machine keeps up with the models live, and how late they are.

    Each frame must be done before the next one comes. "busy" is the share of that time taken on average.
    """
    from audio_enh.cli._terminal import console as make_console

    counts = _numbers(threads)
    if not 0.1 <= seconds <= 600:
        raise UserError(f"--seconds {seconds:g}: 0.1 to 600")
    console = make_console(stderr=as_json)
    names = [_checked(name) for name in models or _installed()]
    kinds = _backends(backend, device)
    if (busy := _others_load()) and not as_json:
        console.print(busy, style="yellow", highlight=False, soft_wrap=True)
    rows, skipped = [], []
    with console.status("measuring...") as status:
        for name, kind, count in ((n, k, c) for n in names for k in kinds for c in counts):
            if name.endswith(".onnx") and kind == "torch" and backend == "all":
                continue
            status.update(f"measuring {name} with {kind}, {count} thread{'s' * (count > 1)}...")
            try:
                rows.append(_measure(name, kind, device, count, seconds, streams))
            except UserError as error:
                # One line for each model and backend, not for each number of threads.
                skipped += [message for message in [f"{name}, {kind}: {error}"] if message not in skipped]
    if as_json:
        typer.echo(json.dumps({"rows": [_as_dict(row) for row in rows], "skipped": skipped}, indent=2))
    else:
        if rows:
            _print_table(console, rows)
            console.print(_verdict(rows), style="bold", highlight=False)
        for message in skipped:
            console.print(f"left out: {message}", style="dim", highlight=False, soft_wrap=True)
    if not rows:
        raise UserError(f"nothing could be measured: {'; '.join(skipped)}")


def _installed() -> list[str]:
    from audio_enh.inference.catalog import available

    # Only a causal model has a latency.
    return [checkpoint.name for checkpoint in available() if "latency_ms" in checkpoint.info]


def _checked(name: str) -> str:
    from audio_enh.inference.catalog import find_checkpoint

    if not name.endswith(".onnx"):
        find_checkpoint(name)
    return name


def _others_load() -> str:
    """A warning if other programs keep this machine busy, else nothing."""
    if not hasattr(os, "getloadavg"):
        return ""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < 0.7 * cores:
        return ""
    return f"other programs are busy (load {load:.1f} on {cores} cores): it shows in the slowest frames"


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"--threads {text}: give numbers, as in 1,2")
    return [int(part) for part in parts]


def _backends(backend: str, device: str) -> list[BackendName]:
    if backend not in ("all", "onnx", "torch"):
        raise UserError(f"--backend {backend}: onnx, torch or all")
    if backend == "onnx" and device != "cpu":
        raise UserError(f"--backend onnx runs on the CPU, not on {device}")
    if backend == "all":
        return ["onnx", "torch"] if device == "cpu" else ["torch"]
    return ["onnx" if backend == "onnx" else "torch"]


def _measure(
    name: str, kind: BackendName, device: str, threads: int, seconds: float, streams: bool
) -> SpeedRow:
    from audio_enh.dsp.resample import resample
    from audio_enh.streaming.backend import Backend, open_backend
    from audio_enh.streaming.export import bundled_recordings
    from audio_enh.streaming.measure import DEVICE_RATE, measure, most_streams

    def opened(batch: int) -> Backend:
        return open_backend(name, batch, backend=kind, device=device, threads=threads)

    _, noisy, _, rate = bundled_recordings()[0]
    measured = measure(opened(1), resample(noisy, rate, DEVICE_RATE), seconds)
    count, timing = most_streams(opened, min(seconds, 1.0)) if streams else (None, None)
    return SpeedRow(name, kind, device, threads, measured, count, timing)


def _print_table(console: Console, rows: list[SpeedRow]) -> None:
    from rich.table import Table

    from audio_enh.streaming.measure import DEVICE_RATE

    whole_rate = f"at {DEVICE_RATE // 1000} kHz"
    for model in dict.fromkeys(row.model for row in rows):
        those = [row for row in rows if row.model == model]
        hop, latency = those[0].measured.step.hop, those[0].measured.latency
        heading = f"{model}: frames of {_ms(hop, 3)} ms, algorithmic latency {_ms(latency, 3)} ms"
        console.print(heading, highlight=False, soft_wrap=True)
        table = Table(box=None, pad_edge=False)
        table.add_column("")
        for column in ("p50", "p95", "p99", "busy", whole_rate, "delay"):
            table.add_column(column, justify="right", no_wrap=True)
        if any(row.streams is not None for row in those):
            table.add_column("streams", justify="right", no_wrap=True)
        for row in those:
            step = row.measured.step
            cells = [f"{step.p50 * 1e3:.2f}", f"{step.p95 * 1e3:.2f}", f"{step.p99 * 1e3:.2f}"]
            cells += [f"{step.real_time_factor:.3f}", f"{row.measured.stream.real_time_factor:.3f}"]
            cells += [f"{row.measured.measured_delay * 1e3:.1f}"]
            cells += [] if row.streams is None else [str(row.streams)]
            table.add_row(f"  {_where(row)}", *cells)
        console.print(table)
    note = (
        f"p50, p95, p99: time per frame in ms. busy: share of the time, {whole_rate} with resampling. delay: "
        f"measured through the whole chain {whole_rate}, in ms; with sound card and buffers live audio is heard 50 "
        "to 110 ms after it was spoken, which audio-enh live shows by part."
    )
    if any(row.streams is not None for row in rows):
        note += " streams: so many at once hold real time."
    console.print(note, style="dim", highlight=False)


def _where(row: SpeedRow) -> str:
    if row.device != "cpu":
        return f"{row.backend}, {row.device}"
    return f"{row.backend}, {row.threads} thread{'s' * (row.threads > 1)}"


def _verdict(rows: list[SpeedRow]) -> str:
    """One plain sentence, about the default model if it runs comfortably, else about the fastest."""
    from audio_enh.inference.catalog import DEFAULT_MODEL

    comfortable = [r for r in rows if r.model == DEFAULT_MODEL and r.measured.stream.headroom >= COMFORTABLE]
    best = max(comfortable or rows, key=lambda row: row.measured.stream.headroom)
    if best.measured.stream.headroom <= 1:
        # Single late frames are other programs': live audio holds some milliseconds against them.
        best = min(rows, key=lambda row: row.measured.stream.real_time_factor)
    whole = best.measured.stream
    what = f"{best.model} ({_where(best)})"
    took = (
        f"a frame of {_ms(whole.hop, 3)} ms takes {_ms(whole.p99, 2)} ms, resampling included, "
        f"in the slowest of 100"
    )
    if whole.headroom >= COMFORTABLE:
        return f"This machine can run {what} live: {took}, {whole.headroom:.0f} times less than there is."
    if whole.headroom > 1:
        return f"This machine can only just run {what} live: {took}; other load will be heard."
    busy = whole.real_time_factor
    if busy < LEAST_FREE:
        return (
            f"This machine can run {what} live, {100 * busy:.0f} % of the time busy, but is disturbed: {took}. Close "
            "other programs, or expect gaps until the buffer has grown."
        )
    return f"This machine cannot run any of these live: with {what}, {100 * busy:.0f} % of the time is taken, {took}."


def _ms(seconds: float, digits: int) -> str:
    """Milliseconds without trailing zeros."""
    return f"{round(1000 * seconds, digits):g}"


def _as_dict(row: SpeedRow) -> dict[str, Any]:
    measured = row.measured
    return {
        "model": row.model,
        "backend": row.backend,
        "device": row.device,
        "threads": row.threads,
        "step": _timing(measured.step),
        "stream_48k": _timing(measured.stream),
        "latency_ms": 1000 * measured.latency,
        "stated_delay_ms": 1000 * measured.stated_delay,
        "measured_delay_ms": 1000 * measured.measured_delay,
        "streams": row.streams,
        "streams_step": row.streams_timing and _timing(row.streams_timing),
    }


def _timing(timing: Timing) -> dict[str, float]:
    return {
        "hop_ms": 1000 * timing.hop,
        **{f"{name}_ms": 1000 * getattr(timing, name) for name in ("p50", "p95", "p99", "mean")},
        "real_time_factor": timing.real_time_factor,
        "headroom": timing.headroom,
    }
