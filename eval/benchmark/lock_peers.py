"""Writes the lock file of every peer's adapter: all packages that it needs, with versions and SHA-256 sums.

For who changes an adapter's requirements, or wants newer packages: ``python -m audio_enh.eval.benchmark.lock_peers
[NAME ...]``. Needs the program uv, and the network.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from ..runs import System
from .environments import WORKER_REQUIREMENTS
from .systems import find_peers

# Of Python; the oldest that the project runs on, but for peers that need a later one.
_OLDEST = {"dpdfnet": "3.11"}
_DEFAULT_OLDEST = "3.10"


def lock(system: System) -> None:
    """Write ``NAME.txt`` beside the adapter ``NAME.py``."""
    name = system.adapter.stem
    text = _compile(name, [*system.requirements, *WORKER_REQUIREMENTS])
    if system.without_dependencies:
        text += _compile(name, system.without_dependencies, "--no-deps")
    system.adapter.with_suffix(".txt").write_text(text, encoding="utf-8")


def _compile(name: str, requirements: Sequence[str], *options: str) -> str:
    command = ["uv", "pip", "compile", "--quiet", "--no-config", "--universal", "--generate-hashes"]
    command += ["--no-annotate", "--no-header", "--python-version", _OLDEST.get(name, _DEFAULT_OLDEST)]
    content = "\n".join(requirements) + "\n"
    result = subprocess.run(
        [*command, *options, "-"], input=content, capture_output=True, text=True, check=True
    )
    return result.stdout


if __name__ == "__main__":
    for peer in {each.adapter: each for each in find_peers(sys.argv[1:] or None)}.values():
        lock(peer)
