"""From what the user typed to a list of files, and from that to a list of outputs."""

from __future__ import annotations

import glob
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_enh.errors import AudioFileError, UserError
from audio_enh.io.containers import AUDIO_EXTENSIONS, READ_ONLY, writable_suffix

#: Bytes of the longest name on most file systems.
LONGEST_NAME = 255
#: Transport streams, by their extensions; programmers use the same for TypeScript.
_TRANSPORT = {".ts", ".mts"}


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


@dataclass(frozen=True)
class LeftOut:
    """A file of a folder that is not taken, and why, in a few words."""

    path: Path
    reason: str


def find_audio(
    paths: Iterable[str | Path],
    *,
    exclude: Iterable[str | Path] = (),
    extensions: Iterable[str] | None = None,
    left_out: list[LeftOut] | None = None,
) -> list[FoundAudio]:
    """Expand files, folders (recursively) and globs.

    A name that exists is taken as it is, also when it looks like a glob (``take[1].wav``). Folders and globs
    give known extensions only and skip hidden files and folders (ours under construction too); a file named
    in full is always taken. Each file comes once, sorted by path within each argument.

    Args:
        paths: what the user typed.
        exclude: folders not to search, such as an output folder inside an input folder.
        extensions: what counts as audio, lower case with the dot; ``AUDIO_EXTENSIONS`` if None.
        left_out: gets what folders and globs hold besides.

    Raises:
        AudioFileError: a name that does not exist, or a glob without a match.
        UserError: a folder without audio.
    """
    search = _Search(
        AUDIO_EXTENSIONS if extensions is None else frozenset(extensions),
        {Path(folder).resolve() for folder in exclude},
        [] if left_out is None else left_out,
    )
    found: dict[Path, FoundAudio] = {}
    for argument in paths:
        for item in search.expand(Path(argument)):
            first = found.setdefault(item.path.resolve(), item)
            if first.path.absolute() != item.path.absolute():
                search.left_out.append(LeftOut(item.path, f"the same file as {first.path}"))
    return list(found.values())


@dataclass
class _Search:
    """What counts as audio, folders not to search, and what was left out so far."""

    known: frozenset[str]
    skipped: set[Path]
    left_out: list[LeftOut]

    def expand(self, argument: Path) -> list[FoundAudio]:
        if argument.is_dir():
            items = [FoundAudio(path, path.relative_to(argument)) for path in self._walk(argument)]
            if not items:
                besides = f" ({summarize(self.left_out)})" if self.left_out else ""
                raise UserError(
                    f"no audio files in {argument}: nothing with an extension such as .wav, .flac, .mp3{besides}"
                )
            return sorted(items, key=lambda item: item.path)
        if _exists(argument):
            return [FoundAudio(argument, Path(argument.name))]
        if glob.has_magic(str(argument)):
            items = list(self._glob(argument))
            if not items:
                raise AudioFileError(f"no audio file matches {argument}")
            return sorted(items, key=lambda item: item.path)
        raise AudioFileError(f"{argument}: no such file or folder")

    def _walk(self, folder: Path) -> Iterator[Path]:
        """Audio files below ``folder``; linked folders are entered, each real folder once."""

        def unreadable(error: OSError) -> None:
            self.left_out.append(LeftOut(Path(error.filename), f"cannot be read: {error.strerror}"))

        visited: set[Path] = set()
        for root, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
            here = Path(root)
            real = here.resolve()
            if real in visited or real in self.skipped:
                folders.clear()
                continue
            visited.add(real)
            hidden = [name for name in folders if name.startswith(".")]
            self.left_out.extend(LeftOut(here / name, "hidden") for name in hidden)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (here / name for name in names if self._takes(here / name))

    def _glob(self, pattern: Path) -> Iterator[FoundAudio]:
        parts = pattern.parts
        fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        base = Path(*parts[:fixed])
        # Path.glob cannot take an absolute pattern.
        for match in glob.iglob(str(pattern), recursive=True):  # noqa: PTH207
            path = Path(match)
            if path.is_dir():
                yield from (FoundAudio(each, each.relative_to(base)) for each in self._walk(path))
            elif not any(folder in path.resolve().parents for folder in self.skipped) and self._takes(path):
                yield FoundAudio(path, path.relative_to(base))

    def _takes(self, path: Path) -> bool:
        reason = self._objection(path)
        if reason is not None:
            self.left_out.append(LeftOut(path, reason))
        return reason is None

    def _objection(self, path: Path) -> str | None:
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            return "hidden"
        if suffix not in self.known:
            return path.suffix if path.suffix.isprintable() and path.suffix else "no extension"
        try:
            if not path.is_file():
                return "a broken link" if path.is_symlink() else "a pipe or device"
            if suffix in _TRANSPORT and not _is_transport_stream(path):
                return "no transport stream"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long for one
        return False


def _is_transport_stream(path: Path) -> bool:
    """Packets of 188 bytes (with a time before each: 192) that begin with a ``G``."""
    with path.open("rb") as file:
        head = file.read(3 * 192)
    return any(
        head[start : start + 2 * size + 1 : size] == b"GGG"
        for size in (188, 192)
        for start in range(max(len(head) - 2 * size, 0))
    )


def summarize(left_out: Sequence[LeftOut], most: int = 4) -> str:
    """What was left out in one line: numbers by extension, other files by name."""
    kinds: dict[str, list[LeftOut]] = {}
    for item in left_out:
        kinds.setdefault(item.reason, []).append(item)
    parts = []
    for reason, items in sorted(kinds.items(), key=lambda kind: -len(kind[1])):
        if reason.startswith(".") or reason in ("hidden", "no extension"):
            parts.append(f"{len(items)} {reason}")
        else:
            names = ", ".join(str(item.path) for item in items[:most])
            more = f" and {len(items) - most} more" if len(items) > most else ""
            parts.append(f"{names}{more}: {reason}")
    return "; ".join(parts)


def shorten_name(stem: str, ending: str) -> str:
    """A file name of ``stem`` and ``ending``, with the middle left out where it is too long for a file system.

    A few characters that depend on the whole stem keep two long names apart.
    """
    room = LONGEST_NAME - len(os.fsencode(ending))
    if len(os.fsencode(stem)) <= room:
        return stem + ending
    mark = f"~{zlib.crc32(os.fsencode(stem)):08x}"
    while len(os.fsencode(stem + mark)) > room:
        stem = stem[:-1]
    return stem + mark + ending


def plan_outputs(
    found: Sequence[FoundAudio], folder: str | Path, *, extension: str | None = None
) -> list[tuple[FoundAudio, Path]]:
    """Where each input's output goes below ``folder``.

    Args:
        found: inputs, from ``find_audio``.
        folder: output folder.
        extension: such as ``.wav``, to convert to; each input's own if None, or what stands in for one that can only
            be read.

    Raises:
        UserError: two inputs would be written to the same file, or an output would replace another input.
    """
    inputs = {item.path.resolve(): item for item in found}
    names = {str(item.relative).casefold() for item in found}
    taken: dict[str, FoundAudio] = {}
    plan: list[tuple[FoundAudio, Path]] = []
    for item in found:
        relative = item.relative
        if extension is not None:
            relative = relative.with_suffix(extension if extension.startswith(".") else f".{extension}")
        elif relative.suffix.lower() in READ_ONLY:
            suffix = writable_suffix(relative.suffix)
            relative = relative.with_suffix(suffix)
            if str(relative).casefold() in names:  # talk.ape beside talk.flac
                relative = item.relative.with_name(item.relative.name + suffix)
        target = Path(folder) / relative
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
