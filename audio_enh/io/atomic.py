"""Outputs appear whole or not at all: a temporary name beside the target, renamed on success."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from audio_enh.errors import AudioFileError

#: What :class:`AtomicTarget` calls unfinished files.
_PART = re.compile(r"\.(?P<stem>.*)\.(?P<process>\d+)-[0-9a-f]{8}\.part(\.[^.]*)?")


def write_error(error: OSError, path: Path) -> AudioFileError:
    """Say in one line why ``path`` could not be written, and how to mend it."""
    folder = path.parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = f"no space left on the disk while writing {path}: free some or choose another output folder"
    elif error.errno == errno.EFBIG:
        text = f"{path} would be larger than this system or its file size limit (ulimit -f) allows"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        text = f"no permission to write into {folder}: choose another output folder"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        text = f"{folder} is not a folder: choose another output path"
    elif error.errno == errno.ENAMETOOLONG:
        text = f"the file name is too long for this file system: {path.name}"
    else:
        text = f"cannot write {path}: {error.strerror or error}"
    return AudioFileError(text)


class AtomicTarget:
    """A file to be: written under ``temporary``, then renamed onto ``path``.

    The temporary file is hidden, lies in the target's own folder (a rename is atomic only within one file
    system) and keeps the extension, from which encoders guess the format. A target that is a symbolic link is
    followed, so that the link survives. Missing parent folders are made, and removed again by ``discard``.
    As long as it is written it is locked, which tells it from one that a killed program left.

    Args:
        path: the target.
        mark: word in the temporary name that says what kind of unfinished file it is.

    Attributes:
        path: the target, resolved.
        temporary: where to write; exists and is empty from the start.

    Raises:
        AudioFileError: the target is a folder, or its folder cannot be written.
    """

    def __init__(self, path: Path, mark: str = "part") -> None:
        self._lock: int | None = None
        self._made: list[Path] = []
        try:
            self.path = path.resolve()
            if self.path.is_dir():
                raise AudioFileError(f"{path} is a folder: name an output file")
        except OSError as error:
            raise write_error(error, path) from error
        # 255 bytes is the limit of a name on most file systems; a shortened stem leaves room for the rest.
        name = f".{_short_stem(self.path)}.{os.getpid()}-{secrets.token_hex(4)}.{mark}{self.path.suffix}"
        self.temporary = self.path.with_name(name)
        try:
            self._make_folders()
            # O_EXCL with mode 0o666 gives the permissions the user's umask asks for, as mkstemp would not.
            self._lock = os.open(self.temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            _try_lock(self._lock)
            if os.name == "nt":  # a file that is open can be neither renamed nor removed there
                self._unlock()
            with contextlib.suppress(FileNotFoundError):
                self.temporary.chmod(self.path.stat().st_mode & 0o777)
        except BaseException as error:
            self.discard()
            if isinstance(error, OSError):
                raise write_error(error, self.path) from error
            raise

    def _make_folders(self) -> None:
        missing = []
        folder = self.path.parent
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            self._made.append(each)

    def commit(self) -> None:
        """Flush to the disk and rename.

        Raises:
            AudioFileError: the disk is full, or the target cannot be replaced.
        """
        try:
            handle = os.open(self.temporary, os.O_RDWR)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            self.temporary.replace(self.path)
        except BaseException as error:
            self.discard()
            if isinstance(error, OSError):
                raise write_error(error, self.path) from error
            raise
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def discard(self) -> None:
        """Remove the temporary file and the folders made for it; an existing target is left as it was."""
        with contextlib.suppress(OSError):
            self.temporary.unlink()
        self._unlock()
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):  # not empty: others have written there meanwhile
                folder.rmdir()
        self._made.clear()


def _try_lock(file: int) -> bool:
    """Lock an open file; False where another process has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def remove_leftovers(target: Path) -> list[Path]:
    """Remove what a killed program left of its attempts to write ``target``; nobody can use it.

    Only what :class:`AtomicTarget` named as unfinished (``.NAME.PROCESS-RANDOM.part.wav``) for this target, and what
    no process is writing.

    Returns:
        What was removed.
    """
    removed = []
    with contextlib.suppress(OSError):  # no folder yet, or not ours to look into
        for path in target.resolve().parent.glob(".*.part*"):
            found = _PART.fullmatch(path.name)
            if found is None or found["stem"] != _short_stem(target):
                continue
            if _is_abandoned(path, int(found["process"])):
                with contextlib.suppress(OSError):
                    path.unlink()
                    removed.append(path)
    return removed


def _short_stem(path: Path) -> str:
    """What of a target's name goes into the temporary one; what belongs to an unfinished file is named as that is."""
    found = _PART.fullmatch(path.name)
    return found["stem"] if found is not None else path.stem.lstrip(".")[:32]


def _is_abandoned(path: Path, process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        if os.name != "nt":
            os.kill(process, 0)
            return False  # on this machine; on another one it is another program, and the file stays
    except ProcessLookupError:
        pass
    except OSError:
        return False
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return _try_lock(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def handled_signals(handler: Callable[[int, FrameType | None], None], *names: str) -> Iterator[None]:
    """Have signals handled by ``handler``, and after the block as before it.

    Signals can be handled in the main thread only; elsewhere this does nothing.

    Args:
        handler: called with the number of the signal and the frame it came in.
        names: such as ``SIGTERM``; those that the system does not have are left out (``SIGHUP`` on Windows).
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in previous.items():
            signal.signal(number, former)


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt, so that ``with`` blocks clean up as for Ctrl-C.

    Signals can be handled in the main thread only; elsewhere this does nothing.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    with handled_signals(interrupt, "SIGTERM", "SIGHUP"):
        yield
