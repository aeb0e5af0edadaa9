"""From what the user typed to a list of files, and from that to a list of outputs."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_enh.errors import AudioFileError, UserError
from audio_enh.io.containers import AUDIO_EXTENSIONS


@dataclass(frozen=True)
class FoundAudio:
    """An input file.

    Attributes:
        path: where it is.
        relative: its place below the folder (or the fixed part of the glob) it was found by, the bare name
            for a file that was named itself. An output folder mirrors these.
    """

    path: Path
    relative: Path


def find_audio(
    paths: Iterable[str | Path],
    *,
    exclude: Iterable[str | Path] = (),
    extensions: Iterable[str] | None = None,
) -> list[FoundAudio]:
    """Expand files, folders (recursively) and globs.

    A name that exists is taken as it is, also when it looks like a glob (``take[1].wav``). Folders and globs
    give known extensions only and skip hidden files and folders (ours under construction too); a file named
    in full is always taken. Each file comes once, sorted by path within each argument.

    Args:
        paths: what the user typed.
        exclude: folders not to search, such as an output folder inside an input folder.
        extensions: what counts as audio, lower case with the dot; ``AUDIO_EXTENSIONS`` if None.

    Raises:
        AudioFileError: a name that does not exist, or a glob without a match.
        UserError: a folder without audio.
    """
    known = AUDIO_EXTENSIONS if extensions is None else frozenset(extensions)
    skipped = {Path(folder).resolve() for folder in exclude}
    found: dict[Path, FoundAudio] = {}
    for argument in paths:
        for item in _expand(Path(argument), known, skipped):
            found.setdefault(item.path.resolve(), item)
    return list(found.values())


def _expand(argument: Path, known: frozenset[str], skipped: set[Path]) -> list[FoundAudio]:
    if argument.is_dir():
        items = [FoundAudio(path, path.relative_to(argument)) for path in _walk(argument, known, skipped)]
        if not items:
            raise UserError(
                f"no audio files in {argument}: nothing with an extension such as .wav, .flac, .mp3"
            )
        return sorted(items, key=lambda item: item.path)
    if argument.exists():
        return [FoundAudio(argument, Path(argument.name))]
    if glob.has_magic(str(argument)):
        items = list(_glob(argument, known, skipped))
        if not items:
            raise AudioFileError(f"no audio file matches {argument}")
        return sorted(items, key=lambda item: item.path)
    raise AudioFileError(f"{argument}: no such file or folder")


def _is_audio(path: Path, known: frozenset[str]) -> bool:
    return path.suffix.lower() in known and not path.name.startswith(".")


def _walk(folder: Path, known: frozenset[str], skipped: set[Path]) -> Iterator[Path]:
    """Audio files below ``folder``; linked folders are entered, each real folder once."""
    visited: set[Path] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        here = Path(root)
        real = here.resolve()
        if real in visited or real in skipped:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            here / name for name in names if _is_audio(here / name, known) and (here / name).is_file()
        )


def _glob(pattern: Path, known: frozenset[str], skipped: set[Path]) -> Iterator[FoundAudio]:
    parts = pattern.parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:fixed])
    # Path.glob cannot take an absolute pattern.
    for match in glob.iglob(str(pattern), recursive=True):  # noqa: PTH207
        path = Path(match)
        if path.is_dir():
            yield from (FoundAudio(each, each.relative_to(base)) for each in _walk(path, known, skipped))
        elif _is_audio(path, known) and not any(folder in path.resolve().parents for folder in skipped):
            yield FoundAudio(path, path.relative_to(base))


def plan_outputs(
    found: Sequence[FoundAudio], folder: str | Path, *, extension: str | None = None
) -> list[tuple[FoundAudio, Path]]:
    """Where each input's output goes below ``folder``.

    Args:
        found: inputs, from ``find_audio``.
        folder: output folder.
        extension: such as ``.wav``, to convert to; each input's own if None.

    Raises:
        UserError: two inputs would be written to the same file, or an output would replace another input.
    """
    inputs = {item.path.resolve(): item for item in found}
    taken: dict[str, FoundAudio] = {}
    plan: list[tuple[FoundAudio, Path]] = []
    for item in found:
        target = Path(folder) / item.relative
        if extension is not None:
            target = target.with_suffix(extension if extension.startswith(".") else f".{extension}")
        # macOS and Windows do not tell Talk.wav from talk.wav; an output folder may be copied there.
        key = str(target).casefold()
        if key in taken:
            raise UserError(
                f"{taken[key].path} and {item.path} would both become {target}: "
                "give their folder as the input, or run them one by one"
            )
        other = inputs.get(target.resolve())
        if other is not None and other.path.resolve() != item.path.resolve():
            raise UserError(
                f"{item.path} would replace another input, {target}: choose another output folder"
            )
        taken[key] = item
        plan.append((item, target))
    return plan
