"""The command lines that README, guides and model cards show, as a reader would copy them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("checkpoints/*/README.md")),
]


def blocks(page: Path) -> Iterator[list[list[str]]]:
    """Every block of commands in a page: the words of each `audio-enh` command, without the program's name."""
    for block in re.findall(r"^```(?:bash|sh)?\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        commands = [
            words(line) for line in block.replace("\\\n", " ").splitlines() if line.startswith("audio-enh ")
        ]
        if commands:
            yield commands


def words(line: str) -> list[str]:
    """The words of one line, without comments and pipes; of what is in brackets, only options are kept."""
    line = re.sub(r" \[(--[^\]]*)\]", r" \1", line.split(" | ")[0])
    line = re.sub(r" \[[^\]=]* [^\]=]*\]", "", line)
    return shlex.split(line, comments=True)[1:]
