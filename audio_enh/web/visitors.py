"""Who is there: a folder for what was made for each, gone when the page is closed or an hour after the last use."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_PREFIX = "audio-enh-web-"


@dataclass
class Visitor:
    """One open page. ``name`` is the page's, ``folder`` has a name of ours that nobody can guess."""

    name: str
    folder: Path
    seen: float = field(default_factory=time.monotonic)

    def fresh(self, what: str) -> Path:
        """A new folder for a result; the former one of the same kind is removed."""
        for old in self.folder.glob(f"{what}-*"):
            shutil.rmtree(old, ignore_errors=True)
        folder = self.folder / f"{what}-{secrets.token_urlsafe(8)}"
        folder.mkdir()
        return folder


class Visitors:
    """The visitors of a server and their folders below ``root``.

    Args:
        root: an empty folder.
        idle_seconds: after which a visitor's files are removed.
    """

    def __init__(self, root: Path, idle_seconds: float = 3600) -> None:
        self.root = root
        self.idle_seconds = idle_seconds
        self._visitors: dict[str, Visitor] = {}
        self._lock = threading.Lock()

    def visit(self, name: str) -> Visitor:
        """The visitor of this name, who is new or was here before."""
        with self._lock:
            self._forget_idle()
            visitor = self._visitors.get(name)
            if visitor is None:
                folder = self.root / secrets.token_urlsafe(16)
                folder.mkdir()
                visitor = self._visitors[name] = Visitor(name, folder)
            visitor.seen = time.monotonic()
            return visitor

    def leave(self, name: str) -> None:
        """Remove what was made for a visitor."""
        with self._lock:
            visitor = self._visitors.pop(name, None)
        if visitor is not None:
            shutil.rmtree(visitor.folder, ignore_errors=True)

    def _forget_idle(self) -> None:
        limit = time.monotonic() - self.idle_seconds
        for name, visitor in list(self._visitors.items()):
            if visitor.seen < limit:
                del self._visitors[name]
                shutil.rmtree(visitor.folder, ignore_errors=True)


@contextlib.contextmanager
def temporary_root() -> Iterator[Path]:
    """A folder for all that a server writes, removed with it; what killed servers left is removed as well."""
    _remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


def _remove_abandoned(parent: Path) -> None:
    if os.name == "nt":  # asking whether a process runs would end it there
        return
    for folder in parent.glob(f"{_PREFIX}*-*"):
        process = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if not process.isdigit() or folder.is_symlink() or not folder.is_dir():
            continue
        with contextlib.suppress(OSError):
            # Of another user, or another machine that shares the folder: not ours to remove.
            if folder.stat().st_uid == os.getuid() and not _is_running(int(process)):
                shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
