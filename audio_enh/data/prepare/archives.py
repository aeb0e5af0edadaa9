"""Downloaded archives: checked against published sums, unpacked once."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from audio_enh.digest import file_sha256
from audio_enh.errors import UserError
from audio_enh.io.owned import make_owned, remove_owned

_MOST_GROWTH = 20
_MOST_FILES = 2_000_000


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
            if sha256 is not None and file_sha256(archive) != sha256:
                raise UserError(
                    f"'{archive}' is not the published archive (its SHA-256 differs): fetch it again"
                )
            partial = target.with_name(f".partial-{target.name}")
            remove_owned(partial)
            try:
                make_owned(partial)
            except OSError as error:
                raise UserError(f"cannot make the folder '{partial}': {error.strerror}") from error
            try:
                _unpack(archive, partial)
            except (
                zipfile.BadZipFile,
                tarfile.TarError,
                zlib.error,
                lzma.LZMAError,
                EOFError,
                OSError,
            ) as error:
                raise UserError(f"cannot unpack '{archive}': {error}; fetch it again") from error
            else:
                partial.rename(target)
            finally:  # after Ctrl-C too
                remove_owned(partial)
        folders.append(target)
    return folders


def _unpack(archive: Path, folder: Path) -> None:
    room = _Room(archive, folder)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as content:
            for entry in content.infolist():
                room.take(entry.file_size)
            content.extractall(
                folder
            )  # never outside of the folder nor larger than said, and checks the sums
    else:
        with tarfile.open(archive) as content:
            for member in content:
                room.take(member.size)
                content.extract(member, folder, filter="data")


class _Room:
    """How much of an archive may be unpacked.

    Audio shrinks to a tenth at the most; what grows more is made to fill the disk.
    """

    def __init__(self, archive: Path, folder: Path):
        self._archive = archive
        self._most = min(_MOST_GROWTH * archive.stat().st_size, shutil.disk_usage(folder).free)
        self._size = self._files = 0

    def take(self, size: int) -> None:
        """Note a file of so many bytes.

        Raises:
            UserError: all together are too much.
        """
        self._size += size
        self._files += 1
        if self._size > self._most or self._files > _MOST_FILES:
            raise UserError(
                f"'{self._archive}' unpacks to more than {min(self._size, self._most) / 1e9:.2g} GB, or two million "
                f"files: more than the disk has room for, or than {_MOST_GROWTH} times its size"
            )
