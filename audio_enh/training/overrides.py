"""Command-line overrides whose values are places on the disk: taken as typed, whatever characters they hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

# The last part of the keys that hold one.
_PLACES = ("out", "export", "manifest", "init_from", "cache", "path")


def literal_places(overrides: Sequence[str], sweep: bool) -> list[str]:
    """The overrides with places in quotes, as Hydra wants them, and ``~`` replaced by the home folder.

    Args:
        overrides: ``key=value`` and others.
        sweep: commas may separate values of a sweep.
    """
    return [_literal(word, sweep) for word in overrides]


def parse(word: str) -> Override | None:
    """An override as Hydra understands it; None if it does not."""
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def _literal(word: str, sweep: bool) -> str:
    key, _, value = word.partition("=")
    if key.lstrip("+").rpartition(".")[2] not in _PLACES or value in ("", "null", "???") or "${" in value:
        return word
    quoted = parse(word) if value[0] in "'\"" else None
    if sweep and quoted is None and "," in value:
        return word
    text = quoted.value() if quoted is not None else value
    if not isinstance(text, str):
        return word
    if text == "~" or text.startswith("~/"):
        text = str(Path(text).expanduser())
    return f"{key}={QuotedString(text=text, quote=Quote.single).with_quotes()}"
