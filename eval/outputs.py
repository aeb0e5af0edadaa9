"""What an evaluation may write over: files of an earlier evaluation, and nothing else unless the user says so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from audio_enh.errors import UserError
from audio_enh.io.owned import is_owned, is_there

# Of what was enhanced, beside the files; the second is that of the last release's evaluations.
JOURNAL = "processed.jsonl"
FORMER_JOURNAL = "enhanced.jsonl"


def check_output(
    folder: Path, journal: str, names: Iterable[str], systems: Iterable[Path], overwrite: bool
) -> None:
    """Refuse a folder in which a run would write over files of others, or through links.

    Args:
        folder: of the report.
        journal: name of the file that tells an earlier run's folder from others.
        names: of the files that are to be written into ``folder``.
        systems: folders of enhanced files.
        overwrite: the user allows it.

    Raises:
        UserError: there is such a file, and ``overwrite`` is not given.
    """
    if overwrite:
        return
    known = (folder / journal).is_file()
    for path in (folder / name for name in (journal, *names)):
        if path.is_symlink():
            raise UserError(f"{path} is a link: remove it, add --overwrite, or choose another --output")
        if is_there(path) and not known:
            raise UserError(
                f"{path} is there, and {folder} holds no earlier run ({journal}): add --overwrite, or choose another"
                " --output"
            )
    for place in systems:
        ours = is_owned(place) or any((place / name).is_file() for name in (JOURNAL, FORMER_JOURNAL))
        if place.is_symlink() or (place.is_dir() and any(place.iterdir()) and not ours):
            raise UserError(
                f"{place} holds files of no earlier run ({JOURNAL}): add --overwrite, or choose another --output"
            )
