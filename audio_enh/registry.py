"""Classes that are not ours: which of them checkpoints, recipes and options may name, and how they are found.

A name is followed only where the user has brought that about:

- an installed package registers it, by an entry point of the group ``audio_enh.models`` (enhancement models),
  ``audio_enh.networks`` (backbones of :class:`DiffusionEnhancer`) or ``audio_enh.metrics``;
- the running program has registered it, see :func:`register`;
- its module lies in a folder that the user names: ``audio-enh --code FOLDER``, or the environment variable
  ``AUDIO_ENH_CODE``.

Nothing else is ever imported because a file names it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from traceback import FrameSummary, extract_tb
from typing import Any, TypeVar

from audio_enh.errors import UserError

#: Environment variable with the user's folders of code, separated as in PATH.
CODE = "AUDIO_ENH_CODE"
MODELS = "audio_enh.models"
NETWORKS = "audio_enh.networks"
METRICS = "audio_enh.metrics"

Named = TypeVar("Named")

_registered: dict[str, Any] = {}
# Top-level packages whose code is the user's.
_packages: set[str] = set()


def register(named: Named) -> Named:
    """Let checkpoints, recipes and options name a class or function of the running program; also a decorator.

    Returns:
        What was given.
    """
    thing: Any = named
    _registered[f"{thing.__module__}.{thing.__qualname__}"] = thing
    note_packages([thing.__module__])
    return named


def code_folders() -> list[Path]:
    """The folders of code that the user names; a UserError where there is none of a name."""
    folders = [
        Path(word).expanduser().absolute() for word in os.environ.get(CODE, "").split(os.pathsep) if word
    ]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"--code {folder}: there is no such folder")
    return folders


def use_code() -> None:
    """Let Python import from the user's folders of code; what is installed goes before them."""
    for folder in code_folders():
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def find(name: str, group: str) -> Any:
    """What a file or an option names; None where nobody has named it before.

    Args:
        name: ``module.Class``, or the name of an entry point.
        group: of the entry points.

    Raises:
        UserError: the user's folder has the module, but not what is named, or another module hides it.
    """
    if name in _registered:
        return _registered[name]
    for point in entry_points(group=group):
        if name in (point.name, point.value.replace(":", ".")):
            note_packages([point.module])
            return point.load()
    module, _, attribute = name.rpartition(".")
    parts = module.split(".")
    if not all(part.isidentifier() for part in (*parts, attribute)):
        return None
    for folder in code_folders():
        path = folder.joinpath(*parts)
        if not path.with_suffix(".py").is_file() and not (path / "__init__.py").is_file():
            continue
        use_code()
        loaded = importlib.import_module(module)
        if folder.resolve() not in Path(str(loaded.__file__)).resolve().parents:
            raise UserError(f"{module} of {folder} is hidden by {loaded.__file__}: give it another name")
        if not hasattr(loaded, attribute):
            raise UserError(f"{loaded.__file__} has no {attribute}")
        return getattr(loaded, attribute)
    return None


def how_to_name(group: str) -> str:
    """What to do so that a name is followed, for error messages."""
    return f"name its folder (audio-enh --code FOLDER ...), or install a package that has it as entry point {group}"


def note_packages(modules: Iterable[str]) -> None:
    """Errors in these modules' packages are the user's to mend, and are shown with their traceback."""
    _packages.update(module.partition(".")[0] for module in modules)
    _packages.difference_update(("audio_enh", "torch", "lightning"))


def users_frame(error: BaseException) -> FrameSummary | None:
    """The innermost place in the user's code that an error came through; None if it never was there."""
    found = None
    for place, module in _places(error):
        if module.partition(".")[0] in _packages or _in_code_folder(place.filename):
            found = place
    return found


def _places(error: BaseException) -> Iterator[tuple[FrameSummary, str]]:
    trace = error.__traceback__
    for place in extract_tb(trace):
        assert trace is not None
        yield place, str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        yield FrameSummary(error.filename, error.lineno, "<module>"), ""


def _in_code_folder(file: str) -> bool:
    words = [word for word in os.environ.get(CODE, "").split(os.pathsep) if word]
    return any(Path(word).expanduser().absolute() in Path(file).absolute().parents for word in words)
