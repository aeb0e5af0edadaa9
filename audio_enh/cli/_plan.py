"""Which file becomes which: from the command line's inputs and ``-o`` to a list of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audio_enh.errors import UserError
from audio_enh.io.containers import AUDIO_EXTENSIONS, writable_suffix
from audio_enh.io.discover import LeftOut, find_audio, plan_outputs, shorten_name
from audio_enh.io.owned import is_there

PIPE = "-"
SUFFIX = "_enhanced"


@dataclass(frozen=True)
class Job:
    """One file to enhance; either side may be ``-``. What is taken away may go to a file of its own, ``removed``."""

    source: Path
    target: Path
    removed: Path | None = None

    @property
    def piped(self) -> bool:
        """Whether stdout carries the result."""
        return str(self.target) == PIPE

    @property
    def done(self) -> bool:
        """Whether the output is there; outputs appear whole or not at all. Devices and pipes never are."""
        try:
            return not self.piped and is_there(self.target)
        except OSError:  # a name that is too long, or a folder that may not be entered: writing will say so
            return False


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        jobs: in the order given, each target once.
        folder: the output folder, where a report has its place; None where outputs are named one by one.
        single: the user named one input file, not a folder or a glob of one.
        left_out: files of folders and globs that are not taken, and why.
    """

    jobs: list[Job]
    folder: Path | None = None
    single: bool = False
    left_out: list[LeftOut] = field(default_factory=list)


def make_plan(inputs: Sequence[str], output: str | None) -> Plan:
    """Decide on outputs.

    - one file: ``-o`` is the output file, or a folder if it is one, ends with a slash or has no extension;
      without ``-o`` the output lies beside the input, ``talk.wav`` becoming ``talk_enhanced.wav``;
    - several files, or a folder: ``-o`` is a folder that mirrors the tree; without ``-o`` a folder ``talks``
      goes to ``talks_enhanced``, files get their outputs beside them;
    - ``-``: stdin, and stdout unless ``-o`` names a file.

    Raises:
        UserError: an input is missing, outputs would collide or replace an input, ``-o`` does not suit.
    """
    if PIPE in inputs or output == PIPE:
        return Plan([_piped(inputs, output)], single=True)
    if output is None:
        return _beside(inputs)
    folders = [Path(name) for name in inputs if Path(name).is_dir()]
    target = Path(output)
    for folder in folders:
        if folder.resolve() == target.resolve():
            raise UserError(f"{output} is the input folder: choose another output folder")
    left_out: list[LeftOut] = []
    found = find_audio(inputs, exclude=[target] if target.is_dir() else [], left_out=left_out)
    single = _is_single(inputs)
    if single and not is_folder(output):
        return Plan(_checked([Job(found[0].path, target)]), single=True)
    if target.is_file():
        raise UserError(f"{output} is a file: name an output folder")
    if not single and not target.is_dir() and target.suffix.lower() in AUDIO_EXTENSIONS:
        raise UserError(f"{output} is a file name: several files or a folder need an output folder")
    plan = plan_outputs(found, target)
    jobs = _checked([Job(item.path, path) for item, path in plan])
    return Plan(jobs, None if single else target, single, left_out)


def _is_single(inputs: Sequence[str]) -> bool:
    return len(inputs) == 1 and Path(inputs[0]).exists() and not Path(inputs[0]).is_dir()


def _piped(inputs: Sequence[str], output: str | None) -> Job:
    if len(inputs) != 1:
        raise UserError("- (stdin or stdout) goes with a single input")
    if inputs[0] == PIPE:
        if output is not None and output != PIPE and is_folder(output):
            raise UserError(f"{output} is a folder: sound from stdin needs a file name, or -o - for stdout")
        return Job(Path(PIPE), Path(output or PIPE))
    found = find_audio(inputs)
    if len(found) != 1:
        raise UserError(f"-o - takes one file, and {inputs[0]} has {len(found)}")
    return Job(found[0].path, Path(PIPE))


def _beside(inputs: Sequence[str]) -> Plan:
    jobs: dict[Path, Job] = {}
    made: set[Path] = set()  # run again on *.wav, the outputs of the last run are among the inputs
    folders: list[Path] = []
    left_out: list[LeftOut] = []
    for name in inputs:
        path = Path(name)
        found = find_audio([path], left_out=left_out)
        if path.is_dir():
            whole = path.resolve()  # "." and ".." have no name of their own
            folders.append(whole.with_name(shorten_name(whole.name, SUFFIX)))
            plan = plan_outputs(found, folders[-1])
        else:
            plan = [(item, _enhanced_name(item.path)) for item in found]
            made.update(target.resolve() for _, target in plan)
        for item, target in plan:
            first = jobs.setdefault(item.path.resolve(), Job(item.path, target))
            if first.source.absolute() != item.path.absolute():
                left_out.append(LeftOut(item.path, f"the same file as {first.source}"))
    fresh = [job for source, job in jobs.items() if source not in made]
    return Plan(_checked(fresh), folders[0] if folders else None, _is_single(inputs), left_out)


def _enhanced_name(path: Path) -> Path:
    return path.with_name(shorten_name(path.stem, SUFFIX + writable_suffix(path.suffix)))


def is_folder(output: str) -> bool:
    """Whether a name is meant as a folder: it is one, ends with a slash, or has no extension."""
    path = Path(output)
    if path.exists() and not path.is_dir() and not path.is_file():
        return False  # a pipe, or a device such as /dev/null
    return output.endswith(("/", "\\")) or path.is_dir() or not path.suffix


def _checked(jobs: list[Job]) -> list[Job]:
    for job in jobs:
        if _same_file(job):
            raise UserError(f"{job.target} is the input itself: choose another output")
    return jobs


def _same_file(job: Job) -> bool:
    try:
        return job.source.resolve() == job.target.resolve() or (
            job.target.exists() and job.target.samefile(job.source)
        )
    except OSError:  # see Job.done
        return False
