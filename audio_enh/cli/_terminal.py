"""What reaches the terminal: names of files and devices are shown, never obeyed.

A name may hold escape sequences that move the cursor, change the window's title or hide what follows, line breaks,
characters that turn the direction of writing, and bytes that are no text at all.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

#: Turn the direction of what follows, so that ``exe.wav`` can look like ``vaw.exe``.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    r"""Show what a terminal would obey, break or refuse: ``\x1b`` for an escape, ``\n`` for a line break."""
    return text if text.isprintable() else "".join(map(_show, text))


def _show(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is no text
        return f"\\x{ord(character) - 0xDC00:02x}"
    hidden = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _DIRECTIONS
    return repr(character)[1:-1] if hidden else character


def echo(text: str, *, err: bool = False) -> None:
    """Print lines to stdout, or stderr; of the text's own line breaks nothing is lost."""
    typer.echo("\n".join(printable(line) for line in text.split("\n")), err=err)


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console of rich that shows what is no text of ours, wherever it comes from (tables, progress, the view)."""
    from rich.console import Console
    from rich.segment import Segment

    class Printing(Console):
        def render(self, renderable: Any, options: Any = None) -> Any:
            for segment in super().render(renderable, options):
                if segment.control or segment.text.isprintable() or segment.text == "\n":
                    yield segment
                else:
                    text = "\n".join(printable(line) for line in segment.text.split("\n"))
                    yield Segment(text, segment.style)

    return Printing(stderr=stderr, width=width)


def prepare_streams() -> None:
    """Make stdin, stdout and stderr usable, whatever the caller left of them.

    Where one is closed (``>&-``, some schedulers), the next file that is opened would take its place, and messages
    would be written into a recording: nothing is opened there instead. Text that the terminal's encoding lacks is
    shown escaped.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            while (opened := os.open(os.devnull, os.O_RDWR)) < number:
                pass  # those before it were closed, too
            if opened > number:
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
