"""What one must know to repeat an evaluation, or to trust it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import audio_enh

from .metrics import BY_NAME
from .metrics.signals import RESAMPLER_QUALITY
from .rows import NOISY, SWAP_MARGIN, Row, Settings
from .statistics import LEVEL, RESAMPLES

_PACKAGES = (
    "numpy",
    "scipy",
    "pesq",
    "pystoi",
    "speechmos",
    "onnxruntime",
    "librosa",
    "soxr",
    "soundfile",
    "torch",
)
DEFINITIONS = {
    "pesq_wb": "ITU-T P.862.2 wide band, MOS-LQO",
    "pesq_nb": "ITU-T P.862 narrow band, MOS-LQO by P.862.1",
    "composite": "Hu and Loizou 2008 with PESQ-WB, LLR unlimited, 95 % of frames",
    "dnsmos": "P.835 sig_bak_ovr.onnx and P.808 model_v8.onnx, not personalised",
    "plcmos": "plcmos_v2, 15 raters drawn with seed 0",
    "si_sdr": "Le Roux et al. 2019, means not removed",
}


@dataclass
class Manifest:
    """Where the numbers come from.

    Attributes:
        command: as typed.
        folders: by role.
        match: how files were paired.
        settings: see ``Settings``.
        workers: processes that measured.
        seconds: from start to end, the part of an interrupted run before its last start not counted.
        models: by system, which weights and how they were run.
        protocol: name and what was checked, for a standard set.
        metadata: the CSV file.
        created: when it ended, UTC, ISO 8601.
        references_sha256: of the reference files' names and contents: two evaluations with the same value
            were made against the same references.
        swap_check: DNSMOS OVRL of the references and of what was judged, on a few files.
        warnings: what one should know before quoting a number.
    """

    command: list[str]
    folders: dict[str, str]
    match: str
    settings: dict[str, Any]
    workers: int
    seconds: float
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    protocol: dict[str, Any] | None = None
    metadata: str | None = None
    created: str = ""
    audio_enh: str = ""
    python: str = ""
    platform: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    resampler: str = f"soxr {RESAMPLER_QUALITY}"
    interval: str = f"studentised bootstrap, {LEVEL:.0%}, {RESAMPLES} resamples of files, seed 0"
    definitions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    references_sha256: str | None = None
    swap_check: dict[str, float] | None = None
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def make_manifest(
    rows: Sequence[Row],
    settings: Settings,
    *,
    command: Sequence[str],
    folders: Mapping[str, Path],
    match: str,
    workers: int,
    seconds: float,
    models: Mapping[str, Mapping[str, Any]] | None = None,
    protocol: Mapping[str, Any] | None = None,
    metadata: Path | None = None,
) -> Manifest:
    """Describe an evaluation that has ended."""
    manifest = Manifest(
        command=list(command),
        folders={role: str(folder) for role, folder in folders.items()},
        match=match,
        settings=asdict(settings),
        workers=workers,
        seconds=round(seconds, 1),
        models={name: dict(facts) for name, facts in (models or {}).items()},
        protocol=None if protocol is None else dict(protocol),
        metadata=None if metadata is None else str(metadata),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        audio_enh=audio_enh.__version__,
        python=platform.python_version(),
        platform=platform.platform(terse=True),
        packages=package_versions(),
        definitions=DEFINITIONS,
        metrics={
            metric.name: {
                "label": metric.label,
                "unit": metric.unit,
                "bounds": list(metric.bounds),
                "higher_is_better": metric.higher_is_better,
                "needs": metric.needs,
                "sample_rates": list(metric.sample_rates),
            }
            for metric in (BY_NAME[name] for name in settings.metrics)
        },
        references_sha256=_references(rows),
        swap_check=_swap_check(rows),
    )
    manifest.warnings = warnings_of(rows, manifest)
    return manifest


def warnings_of(rows: Sequence[Row], manifest: Manifest) -> list[str]:
    """In plain words, what is odd about an evaluation."""
    found = []
    swap = manifest.swap_check
    if swap is not None and swap["judged"] > swap["reference"] + swap["margin"]:
        found.append(
            f"the clean files sound worse (DNSMOS OVRL {swap['reference']:.2f}) than what is judged against"
            f" them ({swap['judged']:.2f}): were the folders swapped?"
        )
    for system in dict.fromkeys(row.system for row in rows):
        mine = [row for row in rows if row.system == system]

        def count(code: str, mine: Sequence[Row] = mine) -> int:
            return sum(code in row.warnings for row in mine)

        lagging = count("lag") + count("lag_beyond_limit")
        if lagging:
            found.append(f"{system}: {lagging} of {len(mine)} files lag their reference (see --align)")
        if inverted := count("inverted"):
            found.append(f"{system}: {inverted} of {len(mine)} files have inverted polarity")
        if same := count("identical_to_reference"):
            found.append(f"{system}: {same} of {len(mine)} files are the reference itself")
        if system != NOISY and (same := count("identical_to_noisy")):
            found.append(f"{system}: {same} of {len(mine)} files are the noisy input itself")
        failed = sum(bool(row.failures) for row in mine)
        if failed:
            found.append(f"{system}: {failed} of {len(mine)} files lack a score; they are not in its mean")
    return found


def package_versions() -> dict[str, str]:
    """Versions of what computes the numbers, as far as installed."""
    return {name: version for name in _PACKAGES if (version := _version(name)) is not None}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _references(rows: Sequence[Row]) -> str | None:
    known = sorted({(row.file, row.sha256["reference"]) for row in rows if "reference" in row.sha256})
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16] if known else None


def _swap_check(rows: Sequence[Row]) -> dict[str, float] | None:
    pairs = [
        (row.reference_ovrl, row.estimate_ovrl)
        for row in rows
        if row.reference_ovrl is not None and row.estimate_ovrl is not None
    ]
    if not pairs:
        return None
    checked_noisy = any(row.system == NOISY and row.reference_ovrl is not None for row in rows)
    return {
        "files": len(pairs),
        "reference": round(sum(pair[0] for pair in pairs) / len(pairs), 4),
        "judged": round(sum(pair[1] for pair in pairs) / len(pairs), 4),
        "margin": 0.0 if checked_noisy else SWAP_MARGIN,
    }
