"""Where checkpoints are: shipped with the package, in a folder, on the Hugging Face Hub. Needs no torch."""

from __future__ import annotations

import difflib
import importlib.resources
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from audio_enh.errors import CheckpointError, DependencyError

DEFAULT_MODEL = "causal-unet-16k"
WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
#: The same model for ONNX Runtime, where a checkpoint has it: what live sound runs faster by.
ONNX = "model.onnx"
HUB_PREFIX = "hf://"


@dataclass(frozen=True)
class CheckpointInfo:
    """An installed checkpoint: its name, folder, the ``info`` of its configuration, size on disk in bytes."""

    name: str
    path: Path
    info: dict[str, Any]
    size: int


def available() -> list[CheckpointInfo]:
    """The checkpoints that came with the package, by name. A damaged configuration is a CheckpointError."""
    found = []
    for folder in sorted(_shipped_folder().iterdir()):
        if (folder / CONFIG).is_file():
            size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
            found.append(CheckpointInfo(folder.name, folder, read_config(folder).get("info", {}), size))
    return found


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint, fetched from the Hub when it is an ``hf://`` name."""
    name = str(name_or_path)
    if name.startswith(HUB_PREFIX):
        return _fetch(name)
    shipped = _shipped_folder() / name
    # A plain name is a shipped checkpoint first, so that a folder of that name does not change a command.
    if isinstance(name_or_path, str) and Path(name).name == name and (shipped / CONFIG).is_file():
        return shipped
    folder = Path(name).expanduser()
    if folder.is_file():
        raise CheckpointError(f"{folder} is a file: give the folder that holds {WEIGHTS} and {CONFIG}")
    if not folder.is_dir():
        names = [checkpoint.name for checkpoint in available()]
        close = difflib.get_close_matches(name, names, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise CheckpointError(
            f"no checkpoint {name!r}: {meant}installed: {', '.join(names) or 'none'}; "
            f"or give a folder or {HUB_PREFIX}user/repo"
        )
    missing = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise CheckpointError(f"{folder} is not a checkpoint: it has no {' and no '.join(missing)}")
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the outline of ``config.yaml``."""
    path = folder / CONFIG
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid YAML: {one_line(error)}") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise CheckpointError(f"{path} has no 'model:' section")
    if not isinstance(config.get("info", {}), dict):
        raise CheckpointError(f"{path}: 'info' must be a mapping")
    return config


def _shipped_folder() -> Path:
    return Path(str(importlib.resources.files("audio_enh.checkpoints")))


def _fetch(name: str) -> Path:
    parts = name.removeprefix(HUB_PREFIX).strip("/").split("/")
    if len(parts) < 2 or not all(parts):
        raise CheckpointError(
            f"{name!r}: a checkpoint on the Hub reads hf://user/repo or hf://user/repo/folder"
        )
    repo, _, revision = "/".join(parts[:2]).partition("@")
    try:
        import huggingface_hub
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise DependencyError(
            "hf:// checkpoints need huggingface_hub: pip install huggingface-hub"
        ) from error
    paths = []
    for file in (CONFIG, WEIGHTS, ONNX):
        try:
            path = huggingface_hub.hf_hub_download(
                repo, "/".join([*parts[2:], file]), revision=revision or None
            )
        except EntryNotFoundError as error:
            if file == ONNX:
                continue
            if isinstance(error, LocalEntryNotFoundError):
                problem = f"cannot fetch {name}: the Hub is out of reach and {file} not cached"
            else:
                problem = f"{name} is not a checkpoint: it has no {file}"
            raise CheckpointError(problem) from error
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise CheckpointError(f"cannot fetch {file} of {name}: {one_line(error)}") from error
        paths.append(Path(path))
    return paths[0].parent


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
