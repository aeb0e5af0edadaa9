"""A benchmark from a set to tables; what ``audio-enh benchmark`` runs."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import audio_enh
from audio_enh.errors import UserError

from ..choice import Material, choose_metrics
from ..evaluation import JOURNAL, Progress, Silent, measure_set
from ..manifest import make_manifest, package_versions
from ..measuring import make_tasks, with_transcripts
from ..metadata import Metadata, groupable, read_metadata, transcripts
from ..outputs import check_output
from ..pairing import Group, match_rule, pair_folders
from ..processing import LoadingFailed, process_set, tasks_of
from ..report import COMPARED, REPORT_NAMES, write_report, write_text
from ..rows import NOISY, Settings, Task
from ..runs import Processed, System
from ..summary import EvaluationSummary, summarise_rows
from .environments import DEFAULT_FOLDER, Environment, InstallationFailed, prepare
from .plot import draw
from .results import Participant, cost_of, overview, to_json, to_markdown, troubles
from .systems import find_models, find_peers

METRICS = ("pesq_wb", "estoi", "si_sdr", "dnsmos_ovrl")
PLOTTED = ("pesq_wb", "dnsmos_ovrl")
# Beside those of the report.
_NAMES = ("benchmark.json", "table.md", "plot.png")


@dataclass(frozen=True)
class BenchmarkRequest:
    """What to compare.

    Attributes:
        folder: the set, with ``clean``, ``noisy`` and perhaps ``metadata.csv``.
        output: folder of the tables, the picture, the report and the enhanced files.
        models, peers: see ``find_models`` and ``find_peers``; None: all.
        metrics: names, ``("all",)``, or empty for :data:`METRICS`.
        limit: only the first so many files.
        every: before that, only one file of so many, the first of them.
        environments: folder of the peers' virtual environments.
        workers: processes that measure.
        time_again: enhance everything anew, so that all times are of this run; scores of files that come out
            the same are kept.
        overwrite: do not go on with an earlier run's scores.
        command: as typed, for the report.
    """

    folder: Path
    output: Path
    models: tuple[str, ...] | None = None
    peers: tuple[str, ...] | None = None
    metrics: tuple[str, ...] = ()
    limit: int | None = None
    every: int = 1
    environments: Path = DEFAULT_FOLDER
    workers: int = 1
    time_again: bool = False
    overwrite: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """What came out.

    Attributes:
        table: head and rows of the overview, for a terminal.
        troubles: a line for each system that is not in the table, or not with all files.
        plot: the picture; None when there was nothing to draw.
    """

    entries: list[Participant]
    summary: EvaluationSummary
    table: list[list[str]]
    troubles: list[str]
    plot: Path | None
    warnings: list[str]


def run_benchmark(request: BenchmarkRequest, progress: Progress | None = None) -> Benchmark:
    """Enhance the set with every system, one after the other on one core, measure, and write the tables.

    A peer that cannot be installed or loaded is told with its reason and does not stop the others.

    Raises:
        UserError: whatever is wrong with the request as a whole.
    """
    began = perf_counter()
    tell = progress or Silent()
    groups = _pairs(request)
    rate = _rate(groups[0].paths[NOISY])
    systems = [*find_models(request.models, rate), *find_peers(request.peers)]
    _check_names(systems)
    metadata = _metadata(request.folder, groups)
    material = Material(True, True, bool(transcripts(metadata)), rate)
    names, notes = choose_metrics(request.metrics, material, METRICS)
    settings = Settings(names)
    folders = [_folder(request, system) for system in systems]
    check_output(request.output, JOURNAL, (*REPORT_NAMES, *_NAMES), folders, request.overwrite)
    try:
        request.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into --output {request.output}: {error.strerror or error}") from error

    # The input first: a missing package, or scores of other settings, are to be told before the long part.
    entries, tasks = [], with_transcripts(make_tasks(groups, ()), settings, metadata)
    measure_set(tasks, settings, request.output, request.workers, tell, "noisy input", request.overwrite)
    for system in systems:
        entry, more = _enhance(system, groups, request, tell)
        entries.append(entry)
        tasks += with_transcripts(more, settings, metadata)
    rows = measure_set(tasks, settings, request.output, request.workers, tell, "files")

    tell.stage("report", 1)
    columns = [name for name in groupable(metadata) if name.startswith("snr")] or groupable(metadata)
    summary = summarise_rows(rows, metadata, columns)
    manifest = make_manifest(
        rows,
        settings,
        command=request.command,
        folders={name: request.folder / name for name in ("clean", NOISY)},
        match="path",
        workers=request.workers,
        seconds=perf_counter() - began,
    )
    manifest.warnings += notes
    manifest.models = {entry.system.name: _described(entry) for entry in entries}
    write_report(request.output, manifest, summary, rows, metadata, clips=0, compared=COMPARED)
    numbers, text, plot = (request.output / name for name in _NAMES)
    write_text(numbers, to_json(entries, summary, manifest, _machine()))
    write_text(text, to_markdown(entries, summary, _machine()))
    drawn = draw(entries, summary, PLOTTED, plot)
    tell.advance("")
    return Benchmark(
        entries,
        summary,
        overview(entries, summary),
        troubles(entries, summary),
        plot if drawn else None,
        manifest.warnings,
    )


def _pairs(request: BenchmarkRequest) -> list[Group]:
    folders = {"clean": request.folder / "clean", NOISY: request.folder / NOISY}
    if not all(folder.is_dir() for folder in folders.values()):
        inside = sorted(str(found.parent) for found in request.folder.glob("*/clean") if found.is_dir())
        hint = f"; sets are {', '.join(inside)}" if inside else ": make one with `audio-enh mix`"
        raise UserError(f"{request.folder} has no folders clean and noisy{hint}")
    return pair_folders(folders, match_rule("path"))[:: request.every][: request.limit]


def _rate(path: Path) -> int:
    from audio_enh.io import probe

    return probe(path).sample_rate


def _metadata(folder: Path, groups: Sequence[Group]) -> Metadata:
    path = folder / "metadata.csv"
    keys = [group.key for group in groups]
    return read_metadata(path, keys) if path.exists() else {key: {} for key in keys}


def _check_names(systems: Sequence[System]) -> None:
    names = [system.folder for system in systems]
    for system in systems:
        if names.count(system.folder) > 1 or system.name in ("clean", NOISY):
            raise UserError(f"two systems would be called {system.name!r}: give each once, or rename a file")


def _folder(request: BenchmarkRequest, system: System) -> Path:
    """Of a system's enhanced files."""
    return request.output / "enhanced" / system.folder


def _enhance(
    system: System, groups: Sequence[Group], request: BenchmarkRequest, tell: Progress
) -> tuple[Participant, list[Task]]:
    folder = _folder(request, system)
    environment = Environment(Path(sys.executable), {})
    try:
        if system.kind == "peer":
            tell.stage(f"installing {system.name}", 1)
            environment = prepare(
                system.adapter.stem,
                system.requirements,
                system.without_dependencies,
                request.environments,
                system.adapter.parent,
                system.lock,
            )
            tell.advance("")
        versions = environment.packages or {"audio_enh": audio_enh.__version__, **package_versions()}
        tell.stage(system.name, len(groups))

        def on_file(done: Processed) -> None:
            tell.advance(done.file)

        run = process_set(
            system, environment.python, versions, groups, folder, on_file, again=request.time_again
        )
    except InstallationFailed as error:
        return Participant(system, {}, failure=f"cannot be installed: {error}"), []
    except LoadingFailed as error:
        return Participant(system, environment.packages, failure=f"does not run: {error}"), []
    failed = {done.file: done.error for done in run.files if done.error is not None}
    return Participant(system, environment.packages, cost_of(run), failed_files=failed), tasks_of(
        system, run, groups, folder
    )


def _described(entry: Participant) -> dict[str, Any]:
    system = entry.system
    facts: dict[str, Any] = {"licence": system.licence, "source": system.source}
    if system.kind == "peer":
        facts["requirements"] = [*system.requirements, *system.without_dependencies]
    else:
        facts |= {**system.load, "weights_sha256": system.weights_sha256}
    return facts


def _machine() -> str:
    """The processor, as the system calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or f"{os.cpu_count()} processors"
