"""What visitors may ask of the server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audio_enh.errors import UserError
from audio_enh.io import AudioInfo, probe

#: Draws of a generative model, and steps of its sampler, that a visitor may ask for.
MAX_DRAWS = 8
MAX_STEPS = 100


@dataclass(frozen=True)
class Limits:
    """Bounds on what one visitor takes from the others.

    Attributes:
        megabytes: of a file that is sent to the server.
        minutes: of sound in a file.
        job_minutes: of computing for one job.
        waiting: jobs that wait, of all visitors.
        waiting_each: jobs of one visitor that wait or run.
        live: streams of live sound at a time.
    """

    megabytes: int = 500
    minutes: float = 30.0
    job_minutes: float = 60.0
    waiting: int = 20
    waiting_each: int = 2
    live: int = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise UserError(f"the limit {name} must be above 0, not {value:g}")

    def check(self, path: Path) -> AudioInfo:
        """What a file holds, or a UserError that says why it is not taken."""
        if path.is_file() and path.stat().st_size > self.megabytes * 1e6:
            raise UserError(f"{path.name} is larger than {self.megabytes} MB, the limit of this server")
        info = probe(path)
        if info.duration is not None:
            self.check_seconds(info.duration)
        return info

    def check_seconds(self, seconds: float) -> None:
        """Refuse sound that is too long; of some files only decoding tells how long they are."""
        if seconds > 60 * self.minutes:
            raise UserError(f"the sound is longer than {self.minutes:g} minutes, the limit of this server")
