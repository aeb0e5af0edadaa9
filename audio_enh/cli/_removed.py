"""Where goes what a model took away: ``--removed`` beside the outputs of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from audio_enh.cli._plan import PIPE, Job, Plan, is_folder
from audio_enh.errors import UserError


def with_removed(plan: Plan, removed: str) -> Plan:
    """The plan with a second file for each job.

    - one input file: ``removed`` is the file, or a folder if it is one, ends with a slash or has no extension;
    - else it is a folder that mirrors the outputs.

    Raises:
        UserError: ``removed`` does not suit, or would replace an input or an output.
    """
    folder = Path(removed)
    if removed == PIPE:
        raise UserError("--removed - would mix with the output: name a file")
    if plan.single and not is_folder(removed):
        jobs = [replace(plan.jobs[0], removed=folder)]
    elif folder.exists() and not folder.is_dir():
        raise UserError(f"--removed {removed} is a file: several inputs need a folder")
    elif not plan.single and folder.suffix and not folder.is_dir() and not removed.endswith(("/", "\\")):
        raise UserError(f"--removed {removed} is a file name: several inputs need a folder")
    elif plan.jobs[0].piped:
        raise UserError(f"--removed {removed} is a folder: with -o - name a file")
    else:
        jobs = [replace(job, removed=folder / _place(job, plan.folder)) for job in plan.jobs]
    _check(jobs)
    return replace(plan, jobs=jobs)


def _place(job: Job, outputs: Path | None) -> Path:
    if outputs is not None and job.target.is_relative_to(outputs):
        return job.target.relative_to(outputs)
    return Path(job.target.name)


def _check(jobs: Sequence[Job]) -> None:
    used = {path.resolve(): path for job in jobs for path in (job.source, job.target) if str(path) != PIPE}
    for job in jobs:
        assert job.removed is not None
        if (taken := used.setdefault(job.removed.resolve(), job.removed)) is not job.removed:
            raise UserError(f"--removed would write over {taken}: choose another place")
