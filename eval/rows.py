"""What is measured for one file, how it is asked for, and how it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from audio_enh.errors import UserError

JOURNAL_FORMAT = 1
NOISY = "noisy"
# By so much may an enhanced file be ahead of its reference in DNSMOS OVRL before the two look swapped.
SWAP_MARGIN = 0.3
_WORTH_A_RETRY = frozenset(("unreadable", "crashed", "broke_down", "enhancement_failed"))

Status = Literal["ok", "partial", "failed"]
Identity = tuple[str, str, int | None]


@dataclass(frozen=True)
class Failure:
    """Why there is no score.

    Attributes:
        reason: short stable code; failures are counted by it. Those of ``MetricError``, and of files:
            ``unreadable``, ``rate_mismatch``, ``channel_mismatch``, ``crashed``, ``broke_down``,
            ``enhancement_failed``.
        detail: one line for people.
    """

    reason: str
    detail: str


@dataclass(frozen=True)
class Settings:
    """What every file is measured with.

    Attributes:
        metrics: names from ``METRICS``.
        align_ms: compensate a lag up to so many milliseconds; 0: report only.
        trim_ms: cut both to the shorter when lengths differ by no more.
        sample_rate: resample everything to this rate in Hz before measuring; None: leave the files' own.
    """

    metrics: tuple[str, ...]
    align_ms: float = 0.0
    trim_ms: float = 0.0
    sample_rate: int | None = None


@dataclass(frozen=True)
class Task:
    """One estimate to be judged.

    Attributes:
        file: key of the test item.
        system: ``noisy`` for the unprocessed input, else the system's name.
        seed: of a generative system's sample, else None.
        estimate, reference, noisy: paths; None where there is none.
        transcript: what is said; None where it is not known.
        check_swap: also judge the reference without a reference, to notice swapped arguments.
        failed: set when there is no estimate to judge (the enhancement failed).
        seconds_enhancing: computing time of the enhancement.
    """

    file: str
    system: str
    seed: int | None
    estimate: Path
    reference: Path | None = None
    noisy: Path | None = None
    transcript: str | None = None
    check_swap: bool = False
    failed: Failure | None = None
    seconds_enhancing: float | None = None

    @property
    def identity(self) -> Identity:
        return self.file, self.system, self.seed

    def paths(self) -> tuple[str, str | None, str | None]:
        """Estimate, reference and mixture, as rows name them."""
        reference, noisy = (None if path is None else str(path) for path in (self.reference, self.noisy))
        return str(self.estimate), reference, noisy

    def inputs(self) -> dict[str, list[int]]:
        """Size and modification time of each file: a changed file is measured again."""
        stats = {}
        for role in ("estimate", "reference", "noisy"):
            path: Path | None = getattr(self, role)
            if path is not None and path.exists():
                stat = path.stat()
                stats[role] = [stat.st_size, stat.st_mtime_ns]
        return stats


@dataclass
class Row:
    """Result for one file of one system (and seed).

    Attributes:
        status: ``ok`` all metrics have a score, ``partial`` some, ``failed`` none.
        scores: finite values by metric.
        failures: by metric, why it has no score.
        warnings: codes: ``lag``, ``lag_beyond_limit``, ``aligned``, ``inverted``, ``trimmed``,
            ``identical_to_reference``, ``identical_to_noisy``, ``above_full_scale``, ``maybe_swapped``.
        seconds, sample_rate, channels, peak: of the estimate as it is in the file.
        lag_samples, lag_ms, lag_correlation: of the estimate against the reference, positive when late.
        input_snr_db: SNR of the noisy input, on rows of the system ``noisy``.
        reference_ovrl, estimate_ovrl: DNSMOS OVRL of the first 9 s of both, where ``check_swap`` asked for it.
        metric_seconds: time of each metric, by the first of those computed together.
        sha256: of the files, first 16 digits, by role.
        inputs: see ``Task.inputs``.
        transcript: what was taken to be said.
    """

    file: str
    system: str
    seed: int | None
    status: Status
    scores: dict[str, float] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    estimate: str | None = None
    reference: str | None = None
    noisy: str | None = None
    seconds: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    peak: float | None = None
    lag_samples: int | None = None
    lag_ms: float | None = None
    lag_correlation: float | None = None
    input_snr_db: float | None = None
    reference_ovrl: float | None = None
    estimate_ovrl: float | None = None
    seconds_enhancing: float | None = None
    metric_seconds: dict[str, float] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, list[int]] = field(default_factory=dict)
    transcript: str | None = None

    @property
    def identity(self) -> Identity:
        return self.file, self.system, self.seed

    @property
    def reason(self) -> str | None:
        """The reason most metrics failed for; None when none did."""
        reasons = [failure.reason for failure in self.failures.values()]
        return max(reasons, key=reasons.count) if reasons else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Row:
        failures = {name: Failure(**failure) for name, failure in data["failures"].items()}
        return cls(**{**data, "failures": failures})


class Journal:
    """Rows in a file, one JSON object per line, each on the disk as soon as it is known; a context manager.

    The first line holds the settings. An interrupted evaluation goes on where it stopped; a line cut by the
    interruption is dropped.

    Args:
        path: made if missing.
        settings: rows measured with others are refused.
        overwrite: start anew.

    Attributes:
        rows: what an earlier run has measured, the latest per file, system and seed.

    Raises:
        UserError: the file is of other settings or no journal.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        self.path = path
        self.rows: dict[Identity, Row] = {}
        header = {"format": JOURNAL_FORMAT, "settings": json.loads(json.dumps(settings))}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not overwrite:
            whole = self._load(header)
            self._file = path.open("r+", encoding="utf-8")
            self._file.truncate(whole)
            self._file.seek(whole)
        else:
            whole = 0
            self._file = path.open("w", encoding="utf-8")
        if whole == 0:
            self._write(header)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, row: Row) -> None:
        """Keep a row."""
        self._write(row.to_json())
        self.rows[row.identity] = row

    def done(self, task: Task) -> Row | None:
        """The row of an earlier run, if its files are unchanged and another try would change nothing."""
        row = self.rows.get(task.identity)
        if row is None or row.inputs != task.inputs() or row.seconds_enhancing != task.seconds_enhancing:
            return None
        if (row.estimate, row.reference, row.noisy) != task.paths() or row.transcript != task.transcript:
            return None
        return None if any(failure.reason in _WORTH_A_RETRY for failure in row.failures.values()) else row

    def _write(self, data: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(data, allow_nan=False) + "\n")
        self._file.flush()

    def _load(self, header: Mapping[str, Any]) -> int:
        """Read earlier rows; gives the length in bytes of the whole lines."""
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                try:
                    data = json.loads(line)
                    if number == 0:
                        self._check(data, header)
                    else:
                        row = Row.from_json(data)
                        self.rows[row.identity] = row
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                    raise UserError(
                        f"{self.path}, line {number + 1}, is damaged: start anew with --overwrite"
                    ) from error
                whole += len(line)
        return whole

    def _check(self, found: Any, expected: Mapping[str, Any]) -> None:
        if not isinstance(found, dict) or found.get("format") != JOURNAL_FORMAT:
            raise UserError(f"{self.path} is not of this version: start anew with --overwrite")
        other = found.get("settings", {})
        differing = [
            name
            for name in sorted(set(other) | set(expected["settings"]))
            if other.get(name) != expected["settings"].get(name)
        ]
        if differing:
            raise UserError(
                f"{self.path} was made with other settings ({', '.join(differing)}):"
                " use --overwrite, or another --output"
            )


def failed_row(task: Task, metrics: Iterable[str], failure: Failure) -> Row:
    """A row without any score."""
    estimate, reference, noisy = task.paths()
    return Row(
        file=task.file,
        system=task.system,
        seed=task.seed,
        status="failed",
        failures=dict.fromkeys(metrics, failure),
        estimate=estimate,
        reference=reference,
        noisy=noisy,
        seconds_enhancing=task.seconds_enhancing,
        inputs=task.inputs(),
        transcript=task.transcript,
    )
