"""An environment for each peer, so that none becomes a dependency of this project."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_enh.io.owned import is_owned, make_owned, remove_owned

DEFAULT_FOLDER = Path("~/.cache/audio_enh/benchmark")
# What worker.py needs; each peer says which numpy it goes with.
WORKER_REQUIREMENTS = ("soundfile==0.13.*", "soxr==1.*")
_DONE = "installed.json"


class InstallationFailed(Exception):
    """A peer cannot be had here; the message is one line that says why."""


@dataclass(frozen=True)
class Environment:
    """Where a peer is installed.

    Attributes:
        python: its interpreter.
        packages: what is installed, name to version.
    """

    python: Path
    packages: dict[str, str]


def prepare(
    name: str,
    requirements: Sequence[str],
    without_dependencies: Sequence[str],
    folder: Path,
    base: Path,
    lock: Path | None = None,
) -> Environment:
    """Make a virtual environment, or take the one that an earlier run has made for the same requirements.

    With a lock file exactly what it names is installed, each package only if it has one of the SHA-256 sums there.

    Args:
        name: of the peer, its folder's name.
        requirements: as pip takes them; paths are relative to ``base``.
        without_dependencies: packages of which only what is inside them is wanted.
        folder: holds the environments.
        base: where pip runs.
        lock: every package that is needed, those for ``worker.py`` too, with version and sums, as pip takes it.

    Raises:
        InstallationFailed: pip, or making the environment, failed.
    """
    wanted = [*requirements, *WORKER_REQUIREMENTS]
    locked = None if lock is None else lock.read_text(encoding="utf-8")
    what = json.dumps([wanted, list(without_dependencies), platform.python_version(), str(base), locked])
    key = hashlib.sha256(what.encode()).hexdigest()[:12]
    place = folder.expanduser().resolve() / name / key
    done = place / _DONE
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (is_owned(place) and done.exists()):
        # What another version of the peer, or an interrupted installation, has left takes room only.
        for left in place.parent.iterdir() if place.parent.is_dir() else ():
            remove_owned(left)
        try:
            make_owned(place)
        except FileExistsError:
            raise InstallationFailed(f"{place} is there, and this program did not make it") from None
        except OSError as error:
            raise InstallationFailed(f"cannot write into {place.parent}: {error.strerror}") from error
        _run([sys.executable, "-m", "venv", str(place)], base)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        install = [*pip, "install", "--quiet", "--no-compile"]
        if lock is not None:
            # Those it needs are named, so none is looked for: nothing comes in by the side.
            _run([*install, "--no-deps", "--require-hashes", "-r", str(lock)], base)
        else:
            _run([*install, *wanted], base)
            if without_dependencies:
                _run([*install, "--no-deps", *without_dependencies], base)
        listed = json.loads(_run([*pip, "list", "--format=json"], base))
        packages = {entry["name"]: entry["version"] for entry in listed}
        done.write_text(json.dumps(packages, indent=1), encoding="utf-8")
    return Environment(python, json.loads(done.read_text(encoding="utf-8")))


def _run(command: Sequence[str], folder: Path) -> str:
    """Its standard output."""
    # An environment that is active, or a path of modules, is not the peer's.
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    try:
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    except OSError as error:
        raise InstallationFailed(f"cannot run {command[0]}: {error.strerror}") from error
    if result.returncode:
        lines = [line.strip() for line in (result.stderr or result.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:]
        raise InstallationFailed(errors[-1] if errors else f"exit code {result.returncode}")
    return result.stdout
