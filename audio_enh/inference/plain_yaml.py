"""YAML as configurations have it: plain values, of a size and depth that no honest one comes near."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from audio_enh.errors import CheckpointError

MAX_BYTES = 1 << 18
MAX_DEPTH = 32
MAX_NODES = 20_000
# Whole numbers of more digits are no sizes of anything; base 60 makes long ones slow to read.
_MAX_NUMBER = 100


def read_yaml(path: Path) -> Any:
    """What a small YAML file holds; no object is made but plain ones, and no alias is followed.

    Time and memory stay small whatever the file holds: an alias can stand for a thousand times what it is short for,
    and depth for as many calls of Python.

    Raises:
        CheckpointError: the file cannot be read, is not valid, or is larger, deeper or more than such a file may be.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise CheckpointError(f"{path} is larger than {MAX_BYTES >> 10} kB: a configuration is not")
    try:
        text = data.decode()
        _check(text, path)
        return yaml.safe_load(text)
    # Dates, numbers and binary data out of range fail in Python's own ways.
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is not valid YAML: {' '.join(str(error).split())[:500]}") from error


def _check(text: str, path: Path) -> None:
    """Look at the document piece by piece; the parser keeps none of it and does not recurse."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise CheckpointError(f"{path} has the alias *{event.anchor}: write out what it stands for")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise CheckpointError(f"{path} is nested deeper, or holds more, than a configuration does")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > _MAX_NUMBER and event.implicit[0]:
            kind = yaml.SafeLoader.resolve(_RESOLVER, yaml.ScalarNode, event.value, (True, False))
            if kind != "tag:yaml.org,2002:str":
                raise CheckpointError(f"{path} has a value of {len(event.value)} digits")


_RESOLVER = yaml.SafeLoader("")
