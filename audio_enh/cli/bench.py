"""``audio-enh bench``: which model this machine can run live, and with what head-room."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audio_enh.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from audio_enh.streaming.measure import Measured, Timing

# A program that runs all day beside others should leave this much of the time to them.
COMFORTABLE = 2.0


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    model: str
    backend: str
    device: str
    threads: int
    measured: Measured
    streams: int | None = None
    streams_timing: Timing | None = None


def bench(
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
    """Measure the installed models live: time per frame, delay, and what this machine can keep up with.

    A frame must be done before the next one comes. "busy" is the share of the time that a model's frames take on
    average (the real-time factor); "of a frame" is how much of a frame's time is gone in the slowest of 100.
    """
    from rich.console import Console

    counts = _numbers(threads)
    if not 0.1 <= seconds <= 600:
        raise UserError(f"--seconds {seconds:g}: 0.1 to 600")
    console = Console(stderr=as_json)
    names = [_checked(name) for name in models or _installed()]
    kinds = _backends(backend, device)
    if (busy := _others_load()) and not as_json:
        console.print(busy, style="yellow", highlight=False)
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
            console.print(_verdict(rows), highlight=False)
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
    return f"other programs are busy (load {load:.1f} on {cores} cores): the slowest frames below show that"


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"--threads {text}: give numbers, as in 1,2")
    return [int(part) for part in parts]


def _backends(backend: str, device: str) -> list[str]:
    if backend not in ("all", "onnx", "torch"):
        raise UserError(f"--backend {backend}: onnx, torch or all")
    if backend == "onnx" and device != "cpu":
        raise UserError(f"--backend onnx runs on the CPU, not on {device}")
    if backend == "all":
        return ["onnx", "torch"] if device == "cpu" else ["torch"]
    return [backend]


def _measure(name: str, kind: str, device: str, threads: int, seconds: float, streams: bool) -> Row:
    from audio_enh.dsp.resample import resample
    from audio_enh.streaming.backend import Backend, open_backend
    from audio_enh.streaming.export import bundled_recordings
    from audio_enh.streaming.measure import DEVICE_RATE, measure, most_streams

    def opened(batch: int) -> Backend:
        return open_backend(name, batch, backend=kind, device=device, threads=threads)

    _, noisy, _, rate = bundled_recordings()[0]
    measured = measure(opened(1), resample(noisy, rate, DEVICE_RATE), seconds)
    count, timing = most_streams(opened, min(seconds, 1.0)) if streams else (None, None)
    return Row(name, kind, device, threads, measured, count, timing)


def _print_table(console: Console, rows: list[Row]) -> None:
    from rich.table import Table

    from audio_enh.streaming.measure import DEVICE_RATE

    table = Table(box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("runs on", no_wrap=True)
    whole_rate = f"at {DEVICE_RATE // 1000} kHz"
    for column in ("frame", "p50", "p95", "p99", "of a frame", "busy", whole_rate, "latency", "delay"):
        table.add_column(column, justify="right", no_wrap=True)
    if any(row.streams is not None for row in rows):
        table.add_column("streams", justify="right")
    for row in rows:
        step, whole = row.measured.step, row.measured.stream
        cells = [
            row.model,
            f"{row.backend}, {row.threads} thread{'s' * (row.threads > 1)}"
            if row.device == "cpu"
            else row.device,
            _ms(step.hop, 0),
            *(_ms(value, 2) for value in (step.p50, step.p95, step.p99)),
            f"{100 * step.p99 / step.hop:.0f} %",
            f"{step.real_time_factor:.3f}",
            f"{whole.real_time_factor:.3f}",
            _ms(row.measured.latency, 0),
            _ms(row.measured.measured_delay, 1),
        ]
        if row.streams is not None:
            cells.append(str(row.streams))
        table.add_row(*cells)
    console.print(table)
    console.print(
        f"times in ms; latency: frame + stride + look-ahead; delay: measured through model and resamplers at "
        f"{DEVICE_RATE // 1000} kHz, sound card not counted",
        style="dim",
        highlight=False,
    )


def _verdict(rows: list[Row]) -> str:
    """One plain sentence."""
    best = max(rows, key=lambda row: row.measured.stream.headroom)
    whole = best.measured.stream
    what = f"{best.model} with {best.backend}"
    where = (
        f"on {best.threads} thread{'s' * (best.threads > 1)}" if best.device == "cpu" else f"on {best.device}"
    )
    took = (
        f"a frame of {1000 * whole.hop:.0f} ms, resampling included, takes {1000 * whole.p99:.2f} ms "
        f"in the slowest of 100"
    )
    if whole.headroom >= COMFORTABLE:
        return f"This machine can run {what} live {where}: {took}, {whole.headroom:.0f} times less than there is."
    if whole.headroom > 1:
        return f"This machine can only just run {what} live {where}: {took}; other load will be heard."
    return f"This machine cannot run any of these live: with {what} {where}, {took}."


def _ms(seconds: float, digits: int) -> str:
    return f"{1000 * seconds:.{digits}f}"


def _as_dict(row: Row) -> dict[str, Any]:
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
