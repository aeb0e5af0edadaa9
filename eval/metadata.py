"""What is known of the files beside their sound: SNR, noise type, speaker, from a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from audio_enh.errors import UserError

Metadata = Mapping[str, Mapping[str, str]]

# More distinct numbers than this are put into bands.
_MAX_VALUES = 8
# Columns with the words that are said.
_TRANSCRIPT_COLUMNS = ("text", "transcript")
_KEY_COLUMNS = ("file", "path", "name", "id", "filename")


def read_metadata(path: Path, keys: Sequence[str]) -> dict[str, dict[str, str]]:
    """Read a CSV file with a header line.

    Args:
        path: UTF-8; the column that names the files is ``file``, ``path``, ``name``, ``id`` or ``filename``,
            else the first. Files are named by key, relative path or stem; lines of other files are ignored.
        keys: of the files that are evaluated.

    Returns:
        Key to column to value, for every key.

    Raises:
        UserError: unreadable, no header, or files without a line, named.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [column for column in reader.fieldnames or () if column]
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read the metadata {path}: {error}") from error
    if not columns:
        raise UserError(f"{path} has no header line with column names")
    naming = next((column for column in columns if column.lower() in _KEY_COLUMNS), columns[0])
    by_name: dict[str, dict[str, str]] = {}
    for line in lines:
        values = {column: (line.get(column) or "").strip() for column in columns if column != naming}
        name = Path((line.get(naming) or "").strip())
        by_name.setdefault(name.stem, values)
        by_name[name.with_suffix("").as_posix()] = values
        by_name[name.as_posix()] = values
    found = {key: by_name.get(key, by_name.get(Path(key).name)) for key in keys}
    missing = [key for key, values in found.items() if values is None]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UserError(f"{path}, column {naming!r}, has no line for {', '.join(missing[:5])}{more}")
    return {key: values for key, values in found.items() if values is not None}


def transcripts(metadata: Metadata) -> dict[str, str]:
    """What is said, by key: the column ``text`` or ``transcript``, where it is not empty."""
    return {
        key: text
        for key, values in metadata.items()
        for column, text in values.items()
        if column.lower() in _TRANSCRIPT_COLUMNS and text
    }


def spreadsheet_cell(value: object) -> object:
    """A value as a CSV file may hold it: text that a spreadsheet would run as a formula begins with an apostrophe.

    Numbers stay as they are, negative ones and those given as text too.
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("=", "+", "-", "@")):
        return f"'{value}" if isinstance(value, str) and value.startswith(("\t", "\r", "\n")) else value
    return value if _number(value) is not None else f"'{value}"


def group_labels(
    values: Mapping[str, str], band: float = 5.0, max_values: int = _MAX_VALUES
) -> dict[str, str]:
    """Put files into groups by the values of one column.

    Numbers, when there are more than ``max_values`` different ones, are put into bands; other values are the
    groups.

    Args:
        values: by key; empty values are left out.
        band: width of a band.

    Returns:
        Label by key, such as ``bus``, ``2.5`` or ``5 to 10``; the labels of numbers sort by value.
    """
    present = {key: value for key, value in values.items() if value != ""}
    numbers = {key: _number(value) for key, value in present.items()}
    if any(number is None for number in numbers.values()) or len(set(numbers.values())) <= max_values:
        return dict(present)
    labels = {}
    for key, number in numbers.items():
        assert number is not None
        low = math.floor(number / band) * band
        labels[key] = f"{low:g} to {low + band:g}"
    return labels


def sort_labels(labels: set[str]) -> list[str]:
    """Numbers and bands by value, then names by alphabet."""

    def order(label: str) -> tuple[int, float, str]:
        number = _number(label.split(" to ")[0])
        return (1, 0.0, label) if number is None else (0, number, label)

    return sorted(labels, key=order)


def groupable(metadata: Metadata) -> list[str]:
    """Columns worth a table: those that are not a name of their own for nearly every file."""
    columns = dict.fromkeys(column for values in metadata.values() for column in values)
    chosen = []
    for column in columns:
        if column.lower() in _TRANSCRIPT_COLUMNS:
            continue
        labels = group_labels({key: values.get(column, "") for key, values in metadata.items()})
        if 1 < len(set(labels.values())) <= max(2, min(20, len(metadata) // 2)):
            chosen.append(column)
    return chosen


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
