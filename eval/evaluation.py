"""An evaluation from folders to report; what ``audio-enh evaluate`` runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any
from typing import Protocol as Interface

import audio_enh
from audio_enh.errors import UserError

from .arrays import select_metrics
from .choice import Material, choose_metrics
from .manifest import Manifest, make_manifest, package_versions
from .measuring import evaluate_tasks, make_tasks, with_transcripts
from .metadata import Metadata, groupable, read_metadata, transcripts
from .outputs import check_output
from .pairing import Group, match_rule, pair_folders
from .processing import LoadingFailed, checkpoint_system, process_set, tasks_of
from .protocols import Protocol, check_baseline, load_protocol, pair_set
from .report import REPORT_NAMES, ReportPaths, write_report
from .rows import NOISY, Row, Settings, Task
from .runs import Processed, System
from .summary import EvaluationSummary, summarise_rows

JOURNAL = "rows.jsonl"
_RESERVED = ("clean", NOISY)


@dataclass(frozen=True)
class Request:
    """What to evaluate.

    Attributes:
        output: folder of the report, the rows and the enhanced files.
        clean, noisy: folders.
        enhanced: folders, one per system.
        models: checkpoints that enhance ``noisy`` first.
        protocol, root: a standard set instead of ``clean`` and ``noisy``.
        metrics: names, ``("all",)`` or empty for the standard ones.
        match: see ``match_rule``.
        settings: of the measuring, but for the metrics.
        metadata: CSV file.
        group_by: columns of it; empty: those that make sense.
        seeds: of generative models; each one is a pass over the set.
        device, threads: for the models.
        workers: processes that measure.
        overwrite: do not go on with an earlier run.
        clips: how many files the page shows with sound.
        command: as typed, for the manifest.
    """

    output: Path
    clean: Path | None = None
    noisy: Path | None = None
    enhanced: tuple[Path, ...] = ()
    models: tuple[str, ...] = ()
    protocol: str | None = None
    root: Path | None = None
    metrics: tuple[str, ...] = ()
    match: str = "path"
    align_ms: float = 0.0
    trim_ms: float = 0.0
    sample_rate: int | None = None
    metadata: Path | None = None
    group_by: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    device: str = "auto"
    threads: int | None = None
    workers: int = 1
    overwrite: bool = False
    clips: int = 10
    command: tuple[str, ...] = ()


@dataclass
class Evaluation:
    """What came out."""

    manifest: Manifest
    summary: EvaluationSummary
    rows: list[Row]
    paths: ReportPaths
    metadata: Metadata = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Rows that lack a score."""
        return sum(bool(row.failures) for row in self.rows)


class Progress(Interface):
    """Who wants to be told how far it is."""

    def stage(self, title: str, total: int) -> None: ...

    def advance(self, text: str) -> None: ...


class Silent:
    """Tells nobody."""

    def stage(self, title: str, total: int) -> None:
        pass

    def advance(self, text: str) -> None:
        pass


def evaluate(request: Request, progress: Progress | None = None) -> Evaluation:
    """Pair, enhance, measure, summarise, and write the report.

    Raises:
        UserError: whatever is wrong with the request as a whole. What is wrong with a single file is in its
            row.
    """
    started = perf_counter()
    tell = progress or Silent()
    _check(request)
    protocol = None if request.protocol is None else load_protocol(request.protocol)
    folders, groups = _pair(request, protocol)
    systems = [role for role in folders if role not in _RESERVED]
    metadata = _metadata(request, protocol, groups)
    settings, notes = _settings(request, protocol, groups, metadata)
    group_by = _columns(request, metadata)
    models = [
        checkpoint_system(
            model,
            Path(__file__).with_name("whole_files.py"),
            {"model": model, "device": request.device, "threads": request.threads},
        )
        for model in request.models
    ]
    _refuse_equal_names([*systems, *(model.name for model in models)])
    enhanced_folders = [_folder(request, model) for model in models]
    check_output(request.output, JOURNAL, REPORT_NAMES, enhanced_folders, request.overwrite)
    try:
        request.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into --output {request.output}: {error.strerror or error}") from error

    # The unprocessed input first: on a standard set it tells whether the rest is worth measuring.
    tasks = with_transcripts(make_tasks(groups, systems, check_swap=protocol is None), settings, metadata)
    ready = [task for task in tasks if task.system == NOISY] if protocol is not None else []
    checked = None
    overwrite = request.overwrite
    if protocol is not None:
        rows = measure_set(ready, settings, request.output, request.workers, tell, "noisy input", overwrite)
        overwrite = False
        means = check_baseline(protocol, summarise_rows(rows).scores[NOISY])
        checked = {
            "name": protocol.name,
            "pairs": len(groups),
            "noisy_baseline": {name: round(mean, 4) for name, mean in means.items()},
        }
    enhanced: dict[str, list[Processed]] = {}
    for model in models:
        more, enhanced[model.name] = _enhance(model, groups, request, tell)
        tasks += with_transcripts(more, settings, metadata)
    rows = measure_set(tasks, settings, request.output, request.workers, tell, "files", overwrite)

    summary = summarise_rows(rows, metadata, group_by, enhanced)
    manifest = make_manifest(
        rows,
        settings,
        command=request.command,
        folders=folders,
        match=protocol.match if protocol is not None else request.match,
        workers=request.workers,
        seconds=perf_counter() - started,
        models={
            model.name: {**model.load, "weights_sha256": model.weights_sha256, "seeds": list(request.seeds)}
            for model in models
        },
        protocol=checked,
        metadata=request.metadata,
    )
    manifest.warnings += notes
    tell.stage("report", 1)
    paths = write_report(request.output, manifest, summary, rows, metadata, request.clips)
    tell.advance("")
    return Evaluation(manifest, summary, rows, paths, metadata)


def _check(request: Request) -> None:
    if request.protocol is not None:
        if request.root is None:
            raise UserError(f"--protocol {request.protocol} needs the folder of the set: give it at the end")
        if request.clean is not None or request.noisy is not None:
            raise UserError("--protocol knows its clean and noisy folder: leave --clean and --noisy out")
        if request.match != "path" or request.sample_rate is not None:
            raise UserError("--protocol fixes the pairs and the rate: leave --match and --sample-rate out")
    elif request.root is not None:
        raise UserError(f"what is {request.root} for? A folder without an option goes with --protocol")
    elif not request.enhanced and not request.models:
        raise UserError("nothing to evaluate: give --enhanced DIR, or --noisy DIR and --model NAME")
    if request.seeds and not request.models:
        raise UserError("--seed is for models that enhance here: give --model NAME")
    if request.models and request.noisy is None and request.protocol is None:
        raise UserError("--model needs something to enhance: give --noisy DIR")


def _pair(request: Request, protocol: Protocol | None) -> tuple[dict[str, Path], list[Group]]:
    named = {_system_name(folder, request.enhanced): folder for folder in request.enhanced}
    if protocol is not None:
        assert request.root is not None
        return pair_set(protocol, request.root, named)
    given = {"clean": request.clean, NOISY: request.noisy}
    folders = {role: folder for role, folder in given.items() if folder is not None} | named
    return folders, pair_folders(folders, match_rule(request.match))


def _system_name(folder: Path, folders: Sequence[Path]) -> str:
    """The folder's name, with its parent's where that tells nothing."""
    name = folder.resolve().name
    same = sum(other.resolve().name == name for other in folders) > 1
    return f"{folder.resolve().parent.name}-{name}" if same or name in _RESERVED else name


def _refuse_equal_names(systems: Sequence[str]) -> None:
    for system in systems:
        if system in _RESERVED or systems.count(system) > 1:
            raise UserError(f"two systems would be called {system!r}: rename a folder")


def _settings(
    request: Request, protocol: Protocol | None, groups: Sequence[Group], metadata: Metadata
) -> tuple[Settings, list[str]]:
    """What to measure with, and notes on what is left out."""
    rate = protocol.sample_rate if protocol is not None else request.sample_rate
    paths = groups[0].paths
    material = Material(
        "clean" in paths, NOISY in paths, bool(transcripts(metadata)), rate or _first_rate(groups[0])
    )
    names, notes = choose_metrics(request.metrics, material)
    if protocol is not None:
        names = tuple(metric.name for metric in select_metrics((*names, *protocol.baseline)))
    return Settings(names, request.align_ms, request.trim_ms, rate), notes


def _first_rate(group: Group) -> int:
    """Rate of a file of the set; that of a readable one, as unreadable ones are told later."""
    from audio_enh.errors import AudioFileError
    from audio_enh.io import probe

    for path in group.paths.values():
        try:
            return probe(path).sample_rate
        except AudioFileError:
            continue
    return 16000


def _metadata(request: Request, protocol: Protocol | None, groups: Sequence[Group]) -> Metadata:
    known: dict[str, dict[str, Any]] = {group.key: {} for group in groups}
    if protocol is not None:
        assert request.root is not None
        for key, values in protocol.describe(request.root, groups).items():
            known[key] |= values
    if request.metadata is not None:
        for key, values in read_metadata(request.metadata, list(known)).items():
            known[key] |= values
    return known


def _columns(request: Request, metadata: Metadata) -> list[str]:
    if not request.group_by:
        return groupable(metadata)
    columns = {column for values in metadata.values() for column in values}
    for column in request.group_by:
        if column not in columns:
            known = ", ".join(sorted(columns)) or "none: give --metadata FILE.csv"
            raise UserError(f"--group-by {column}: no such column; known are {known}")
    return list(request.group_by)


def _folder(request: Request, model: System) -> Path:
    """Of a model's enhanced files."""
    return request.output / "enhanced" / model.folder


def _enhance(
    model: System, groups: Sequence[Group], request: Request, tell: Progress
) -> tuple[list[Task], list[Processed]]:
    seeds = request.seeds or (None,)
    tell.stage(f"enhancing with {model.name}", len(groups) * len(seeds))
    folder = _folder(request, model)

    def on_file(done: Processed) -> None:
        tell.advance(done.file)

    try:
        run = process_set(
            model,
            Path(sys.executable),
            {"audio_enh": audio_enh.__version__, **package_versions()},
            groups,
            folder,
            on_file,
            again=request.overwrite,
            seeds=seeds,
            one_core=False,
            patience=None,
        )
    except LoadingFailed as error:
        told = str(error)
        # Of an error of ours, its words alone, as they would have been told by this process.
        raise UserError(told.partition(": ")[2] if told.startswith("audio_enh.errors.") else told) from error
    return tasks_of(model, run, groups, folder, timed=True), run.files


def measure_set(
    tasks: Sequence[Task],
    settings: Settings,
    output: Path,
    workers: int,
    tell: Progress,
    what: str,
    overwrite: bool = False,
) -> list[Row]:
    """The rows of ``tasks``, with the journal in ``output``; see :func:`evaluate_tasks`.

    Args:
        what: is measured, for the progress.
    """
    tell.stage(f"measuring {what}", len(tasks))
    return evaluate_tasks(
        tasks,
        settings,
        output / JOURNAL,
        extra_settings={"versions": package_versions()},
        workers=workers,
        overwrite=overwrite,
        on_row=lambda row: tell.advance(row.file),
    )
