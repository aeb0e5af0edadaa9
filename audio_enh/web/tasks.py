"""What the server's processes do: enhance files, score them, and prepare them for the page."""

from __future__ import annotations

import csv
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_enh.errors import AudioFileError, DependencyError, UserError
from audio_enh.io import AudioInfo, AudioReader, AudioWriter, probe
from audio_enh.io.containers import writable_suffix
from audio_enh.io.discover import shorten_name
from audio_enh.options import DEFAULTS, EnhanceOptions, FileOptions
from audio_enh.web.jobs import Report
from audio_enh.web.limits import Limits

if TYPE_CHECKING:
    from audio_enh.inference.enhancer import Enhancer

#: Scores are of so many seconds, those with the most sound: more would take longer than the enhancement.
SCORED_SECONDS = 30
WITHOUT_REFERENCE = ("dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak")
WITH_REFERENCE = ("pesq_wb", "estoi", "si_sdr")


@dataclass(frozen=True)
class ModelInfo:
    """What the page has to know of a model: which of its options mean something, and whether it runs live."""

    name: str
    generative: bool
    causal: bool
    sample_rate: int


@dataclass(frozen=True)
class EnhanceRequest:
    """A file to be enhanced.

    Attributes:
        source: the recording.
        folder: where results go.
        model, device: for :func:`audio_enh.load`.
        options: what was chosen; of several draws their disagreement is told.
        reference: the clean recording, where there is one.
    """

    source: Path
    folder: Path
    model: str
    device: str = "auto"
    options: EnhanceOptions = DEFAULTS
    reference: Path | None = None

    @property
    def uncertain(self) -> bool:
        """Whether there are several draws that can disagree."""
        return self.options.sampling.draws > 1


@dataclass(frozen=True)
class EnhanceResult:
    """What the page shows.

    Attributes:
        seconds: of sound.
        elapsed: seconds that the model and the files took.
        preview: see :class:`audio_enh.web.preview.Preview`, ``config`` of the player.
        downloads: files, the WAV first.
        loudest: first second of the stretch with the most sound, which is scored.
        notes: what a user should be told, one line each.
        uncertainty: times in seconds and values, of several draws.
    """

    seconds: float
    elapsed: float
    preview: dict[str, Any]
    downloads: list[Path]
    loudest: int
    notes: list[str] = field(default_factory=list)
    uncertainty: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Scores:
    """Rows of label, score before, score after, and whether higher is better; and what a user should be told."""

    rows: list[tuple[str, float | None, float | None, bool]]
    notes: list[str]


def load(model: str, device: str) -> Enhancer:
    """The model, loaded once in each process, with as many threads as it can use."""
    import torch

    from audio_enh.models.base import CausalModel

    enhancer = _load(model, device)
    # The steps of a causal model are too small to share among cores.
    torch.set_num_threads(1 if isinstance(enhancer.model, CausalModel) else cores())
    return enhancer


@functools.lru_cache(maxsize=8)
def _load(model: str, device: str) -> Enhancer:
    import audio_enh

    return audio_enh.load(model, device)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_models(report: Report, names: Sequence[str], device: str) -> list[ModelInfo]:
    """Load models and tell what they are."""
    from audio_enh.models.base import CausalModel
    from audio_enh.models.generative import GenerativeModel

    found = []
    for name in names:
        report(f"loading {name}", None)
        enhancer = load(name, device)
        model = enhancer.model
        label = Path(name).name if Path(name).is_dir() else name
        found.append(
            ModelInfo(
                label,
                isinstance(model, GenerativeModel),
                isinstance(model, CausalModel),
                enhancer.sample_rate,
            )
        )
    return found


def enhance(report: Report, request: EnhanceRequest, limits: Limits) -> EnhanceResult:
    """Enhance a file, and make of it what the page shows."""
    report("reading", None)
    info = limits.check(request.source)
    target = request.folder / shorten_name(request.source.stem, "_enhanced.wav")
    stats = enhance_into(report, request, target, info, limits)
    downloads = [target, *_other_formats(report, target, request.source, info)]
    notes = list(dict.fromkeys(stats.warnings))

    from audio_enh.web.preview import make_preview

    preview = make_preview(
        [("Original", request.source), ("Enhanced", target)],
        request.folder,
        frames=stats.frames,
        tell=lambda part: report("drawing", part),
    )
    return EnhanceResult(
        stats.seconds,
        stats.elapsed,
        preview.config,
        downloads,
        _loudest(preview.energies[1]),
        notes,
        _read_curve(target) if request.uncertain else [],
    )


def enhance_into(
    report: Report,
    request: EnhanceRequest,
    target: Path,
    info: AudioInfo,
    limits: Limits,
    phase: str = "enhancing",
) -> Any:
    """Run the model from file to file, within the limits."""
    from audio_enh.inference.files import enhance_file

    enhancer = load(request.model, request.device)

    def progress(seconds: float) -> None:
        limits.check_seconds(seconds)
        report(phase, min(seconds / info.duration, 1.0) if info.duration else None)

    report(phase, 0.0 if info.duration else None)
    options = FileOptions(request.options, uncertainty=request.uncertain)
    return enhance_file(enhancer, request.source, target, options, progress=progress)


def _other_formats(report: Report, enhanced: Path, source: Path, info: AudioInfo) -> list[Path]:
    """FLAC, and what the source was: a video with its picture, if it is one."""
    report("writing", None)
    made = []
    suffixes = dict.fromkeys([".flac", writable_suffix(source.suffix.lower())])
    for suffix in suffixes:
        if suffix in ("", ".wav"):
            continue
        target = enhanced.with_suffix(suffix)
        with AudioReader(enhanced) as reader:
            like = info if suffix != ".flac" or info.format == "FLAC" else reader.info
            with AudioWriter(target, like) as writer:
                for block in reader.blocks():
                    report("writing", None)
                    writer.write(block)
        made.append(target)
    return made


def _loudest(energies: Any) -> int:
    """First second of the stretch of :data:`SCORED_SECONDS` with the most energy."""
    import numpy as np

    sums = np.convolve(energies, np.ones(min(SCORED_SECONDS, len(energies))), "valid")
    return int(np.argmax(sums))


def measure(report: Report, request: EnhanceRequest, enhanced: Path, start: int) -> Scores:
    """Scores of an excerpt before and after; what cannot be measured is told in a note."""
    report("measuring", None)
    from audio_enh.eval.arrays import select_metrics
    from audio_enh.eval.file_scores import measure_file
    from audio_enh.eval.rows import Settings, Task

    names = (*WITHOUT_REFERENCE, *(WITH_REFERENCE if request.reference is not None else ()))
    try:
        metrics = select_metrics(names)
    except DependencyError as error:
        return Scores([], [f"no scores: {error}"])
    paths = {"before": request.source, "after": enhanced, "reference": request.reference}
    cut = {
        role: _excerpt(path, request.folder / f"{role}.wav", start) for role, path in paths.items() if path
    }
    settings = Settings(names, align_ms=0, trim_ms=1000)
    notes = [f"scores of {SCORED_SECONDS} s from {start} s on"] if start else []
    rows = []
    for number, role in enumerate(("before", "after")):
        report("measuring", number / 2)
        rows.append(measure_file(Task("excerpt", role, None, cut[role], cut.get("reference")), settings))
    for path in cut.values():
        path.unlink()
    failures = {failure.detail or failure.reason for row in rows for failure in row.failures.values()}
    notes += sorted(failures)
    before, after = (row.scores for row in rows)
    scored = [(m.label, before.get(m.name), after.get(m.name), m.higher_is_better) for m in metrics]
    return Scores([row for row in scored if row[1] is not None or row[2] is not None], notes)


def _excerpt(source: Path, target: Path, start: int) -> Path:
    """Copy :data:`SCORED_SECONDS` of a file."""
    with AudioReader(source) as reader:
        rate, channels = reader.info.sample_rate, reader.info.channels
        with AudioWriter(target, sample_rate=rate, channels=channels, subtype="FLOAT") as writer:
            for second, block in enumerate(reader.blocks(1.0)):
                if start <= second < start + SCORED_SECONDS:
                    writer.write(block)
                elif second >= start + SCORED_SECONDS:
                    break
            if writer.frames == 0:
                raise AudioFileError(f"{source.name} is shorter than the recording")
    return target


def _read_curve(target: Path) -> list[tuple[float, float]]:
    """What the uncertainty came to, in at most 600 points: of those that share one, the highest."""
    from audio_enh.inference.files import curve_paths

    table, _ = curve_paths(target)
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        points = [(float(row["time"]), float(row["uncertainty"])) for row in csv.DictReader(file)]
    pooled = max(1, -(-len(points) // 600))
    return [max(points[n : n + pooled], key=lambda point: point[1]) for n in range(0, len(points), pooled)]


@dataclass(frozen=True)
class CompareRequest:
    """Recordings to be enhanced by two models; None stands for the recording as it is."""

    sources: list[Path]
    folder: Path
    models: tuple[str | None, ...]
    device: str = "auto"


def compare(report: Report, request: CompareRequest, limits: Limits) -> list[tuple[str, tuple[Path, Path]]]:
    """Enhance every recording by both models.

    Returns:
        Names, and the files of the two.
    """
    made = []
    for number, source in enumerate(request.sources, 1):
        info = limits.check(source)
        files = []
        for side, model in enumerate(request.models, 1):
            if model is None:
                files.append(source)
                continue
            target = request.folder / f"{number}-{side}.wav"
            work = EnhanceRequest(source, request.folder, model, request.device)
            phase = f"recording {number} of {len(request.sources)}, model {side}"
            enhance_into(report, work, target, info, limits, phase)
            files.append(target)
        made.append((source.name, (files[0], files[1])))
    return made


def prepare_trial(report: Report, files: Sequence[Path], folder: Path) -> dict[str, Any]:
    """What the player is told to play A, B and X; the shorter one is filled up with silence."""
    from audio_enh.web.preview import make_preview

    report("preparing", None)
    infos = [probe(path) for path in files]
    # Of some files only decoding tells how long they are exactly.
    frames = max(_frames(path, info) for path, info in zip(files[:2], infos, strict=False))
    return make_preview(list(zip("ABX", files, strict=True)), folder, frames=frames, pictures=False).config


def _frames(path: Path, info: AudioInfo) -> int:
    if info.frames is not None and info.backend != "ffmpeg":
        return info.frames
    with AudioReader(path) as reader:
        return sum(block.shape[1] for block in reader.blocks())


#: Distortions work on whole signals in memory.
DAMAGE_SECONDS = 300.0


@dataclass(frozen=True)
class DamageRequest:
    """A recording to be damaged and repaired.

    Attributes:
        source: the recording.
        folder: where results go.
        chain: names of distortions and severities of 0 to 1, in order.
        model, device: what repairs it, see :class:`EnhanceRequest`.
        options: of the repair; its seed is that of the damage, too.
    """

    source: Path
    folder: Path
    chain: tuple[tuple[str, float], ...]
    model: str
    device: str = "auto"
    options: EnhanceOptions = DEFAULTS


def damage(report: Report, request: DamageRequest, limits: Limits) -> tuple[EnhanceResult, list[str]]:
    """Damage a recording and repair it.

    Returns:
        The result, its first download being the damaged recording, and what was done to it.
    """
    import numpy as np

    from audio_enh.distortions import Step, apply_in_pieces, find_distortion
    from audio_enh.io import read_audio, write_audio
    from audio_enh.web.preview import make_preview

    info = limits.check(request.source)
    if info.duration is None or info.duration > DAMAGE_SECONDS:
        raise UserError(f"this takes recordings of up to {DAMAGE_SECONDS / 60:g} minutes")
    report("damaging", None)
    audio, rate = read_audio(request.source)
    steps = [Step(find_distortion(name), severity) for name, severity in request.chain]
    rng = np.random.default_rng(request.options.sampling.seed or 0)
    damaged, done = apply_in_pieces(steps, audio, rate, rng)
    paths = [
        request.folder / shorten_name(request.source.stem, f"_{kind}.wav") for kind in ("damaged", "repaired")
    ]
    write_audio(paths[0], damaged, rate, subtype="FLOAT")
    work = EnhanceRequest(paths[0], request.folder, request.model, request.device, request.options)
    stats = enhance_into(report, work, paths[1], probe(paths[0]), limits, "repairing")
    tracks = [("Clean", request.source), ("Damaged", paths[0]), ("Repaired", paths[1])]
    preview = make_preview(
        tracks,
        request.folder,
        frames=stats.frames,
        difference=False,
        tell=lambda part: report("drawing", part),
    )
    result = EnhanceResult(
        stats.seconds,
        stats.elapsed,
        preview.config,
        paths,
        _loudest(preview.energies[0]),
        list(dict.fromkeys(stats.warnings)),
    )
    return result, [str(each) for each in done]
