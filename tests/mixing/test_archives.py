"""Archives that unpack to more than they may, and folders of others beside them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from audio_enh.data.prepare.archives import unpack_archives
from audio_enh.errors import UserError
from audio_enh.io.owned import make_owned


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(50_000_000))


def tar_bomb(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("a.wav")
        entry.size = 50_000_000
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))


def lying_zip(path: Path) -> None:
    """Says that it holds a hundred bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(10_000_000))
    size = (10_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (100).to_bytes(4, "little")))


@pytest.mark.parametrize(
    ("make", "name", "match"),
    [
        (zip_bomb, "a.zip", "20 times its size"),
        (tar_bomb, "a.tar.gz", "20 times its size"),
        (lying_zip, "a.zip", "cannot unpack"),
    ],
)
def test_bombs_are_refused_and_leave_nothing(make, name: str, match: str, tmp_path: Path) -> None:
    make(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 60_000
    with pytest.raises(UserError, match=match):
        unpack_archives(tmp_path, {name: None}, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_of_others_is_no_leftover(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    mine = tmp_path / "out" / ".partial-a"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="cannot make the folder"):
        unpack_archives(tmp_path, {"a.zip": None}, tmp_path / "out")
    assert (mine / "thesis.txt").exists()
    (mine / "thesis.txt").unlink()
    mine.rmdir()
    make_owned(mine)  # as an interrupted run leaves it
    assert unpack_archives(tmp_path, {"a.zip": None}, tmp_path / "out") == [tmp_path / "out" / "a"]
    assert (tmp_path / "out" / "a" / "a.txt").read_text() == "hello"
    assert not mine.exists()
