"""Downloaded archives: checked against published sums, unpacked once."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from audio_enh.errors import UserError


def unpack_archives(source: Path, known: Mapping[str, str | None], out: Path) -> list[Path]:
    """Unpack the archives of ``source`` that have a known name, each into a folder of its own below ``out``.

    An archive that is unpacked already is left alone; a half-unpacked one is done again.

    Args:
        source: folder with the archives.
        known: name of an archive to its SHA-256, None where none is published (zip files then are checked by
            the CRC of each member, which they hold).
        out: folder for what comes out.

    Returns:
        The folders, one for each archive found.

    Raises:
        UserError: an archive is damaged, or not the published one.
    """
    folders = []
    for name, sha256 in known.items():
        archive = source / name
        if not archive.is_file():
            continue
        target = out / name.split(".")[0]
        if not target.is_dir():
            if sha256 is not None and _sha256(archive) != sha256:
                raise UserError(
                    f"'{archive}' is not the published archive (its SHA-256 differs): fetch it again"
                )
            partial = target.with_name(f".partial-{target.name}")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                _unpack(archive, partial)
            except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
                shutil.rmtree(partial, ignore_errors=True)
                raise UserError(f"cannot unpack '{archive}': {error}; fetch it again") from error
            partial.rename(target)
        folders.append(target)
    return folders


def _unpack(archive: Path, folder: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)  # never outside of the folder, and checks the sums
    else:
        with tarfile.open(archive) as content:
            content.extractall(folder, filter="data")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
