"""Where checkpoints are: shipped with the package, in a folder, on the Hugging Face Hub. Needs no torch."""

from __future__ import annotations

import difflib
import importlib.resources
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_enh.errors import CheckpointError, DependencyError
from audio_enh.inference.plain_yaml import read_yaml

DEFAULT_MODEL = "causal-unet-16k"
#: The default above 16 kHz. It holds the other one, which does all there is to do up to that rate.
FULL_BAND_MODEL = "causal-unet-48k"
WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
#: The same model for ONNX Runtime, where a checkpoint has it: what live sound runs faster by.
ONNX = "model.onnx"
HUB_PREFIX = "hf://"
_HUB_NAME = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.+-]+))?(/(?P<folder>[\w. +-]+(/[\w. +-]+)*))?/?",
    re.ASCII,
)


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


def default_model(sample_rate: int | None) -> str:
    """The name of the model that is taken where none is named, for live sound of a rate in Hz (None: not known)."""
    return FULL_BAND_MODEL if sample_rate is not None and sample_rate > 16000 else DEFAULT_MODEL


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
    config = read_yaml(path)
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise CheckpointError(f"{path} has no 'model:' section")
    if not isinstance(config.get("info", {}), dict):
        raise CheckpointError(f"{path}: 'info' must be a mapping")
    return config


def is_shipped(folder: Path) -> bool:
    """Whether a checkpoint's folder came with the package."""
    return folder.resolve().parent == _shipped_folder().resolve()


def _shipped_folder() -> Path:
    return Path(str(importlib.resources.files("audio_enh.checkpoints")))


def _fetch(name: str) -> Path:
    found = _HUB_NAME.fullmatch(name)
    if found is None or {".", ".."} & set(re.split("[/@]", name)):
        raise CheckpointError(
            f"{name!r}: a checkpoint on the Hub reads hf://user/repo, hf://user/repo@revision or"
            " hf://user/repo/folder"
        )
    repo, revision, folder = found["repo"], found["revision"], found["folder"]
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
                repo, f"{folder}/{file}" if folder else file, revision=revision
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
