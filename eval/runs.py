"""A system, and what came of running it over a set: plain data, read by reports without what made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .rows import Failure


@dataclass(frozen=True)
class System:
    """Something that enhances files.

    Attributes:
        name: in rows, tables and as folder.
        kind: ``model`` of this project or ``peer``.
        adapter: file with ``load``, see ``worker.py``.
        load: what ``load`` is called with.
        sample_rate: at which it gets its audio, in Hz; not used by adapters that read files themselves.
        delay: by how many samples at this rate its output is late; taken out.
        latency_ms: algorithmic latency; None: it wants to see the whole recording.
        parameters: None where there are none, or their number is not known.
        licence: of the code and the weights.
        source: paper or project.
        requirements: what pip installs for it; empty for this project's own.
        without_dependencies: what pip installs too, but not what that needs.
        weights_sha256: of a checkpoint of this project.
    """

    name: str
    kind: Literal["model", "peer"]
    adapter: Path
    load: Mapping[str, Any]
    sample_rate: int = 0
    delay: int = 0
    latency_ms: float | None = None
    parameters: int | None = None
    licence: str = ""
    source: str = ""
    requirements: tuple[str, ...] = ()
    without_dependencies: tuple[str, ...] = ()
    weights_sha256: str | None = None

    @property
    def folder(self) -> str:
        """The name as a folder's."""
        return self.name.replace(":", "-").replace("/", "-")

    @property
    def lock(self) -> Path | None:
        """Versions and sums of all that a peer needs, in a file of its adapter's name; None where there is none."""
        path = self.adapter.with_suffix(".txt")
        return path if self.kind == "peer" and path.is_file() else None


@dataclass(frozen=True)
class Processed:
    """What came of one file.

    Attributes:
        file: key of the test item.
        input: size and modification time of the noisy file.
        error: why there is no output; None when there is.
        seconds_audio: length of the file.
        seconds_wall, seconds_processor: time inside the system and the resampling to and from its rate, by the
            clock and of the processor.
        peak_memory_mb: largest resident size of the process so far, with the libraries and the weights; on CUDA
            the largest amount of device memory allocated.
        seed: of the pass over the set, for systems with noise of their own.
        device: where it was computed.
        reason: short code for ``error``.
    """

    file: str
    input: tuple[int, int] = (0, 0)
    error: str | None = None
    seconds_audio: float = 0.0
    seconds_wall: float = 0.0
    seconds_processor: float = 0.0
    peak_memory_mb: float = 0.0
    seed: int | None = None
    device: str = "cpu"
    reason: str = "enhancement_failed"

    @property
    def failure(self) -> Failure | None:
        """The error, as rows tell it."""
        return None if self.error is None else Failure(self.reason, self.error)


@dataclass(frozen=True)
class Run:
    """A system on a set.

    Attributes:
        files: in the order of the seeds, and for each of the groups.
        weight_bytes: size of the files with the weights; None where they are part of a program.
    """

    files: list[Processed]
    weight_bytes: int | None
