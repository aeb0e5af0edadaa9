"""Every command in the documents names commands, options, recipes and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from audio_enh import registry
from audio_enh.cli import app
from tests.docs.commands import PAGES, ROOT, blocks

COMMANDS = [
    pytest.param(words, id=f"{page.relative_to(ROOT)}: {' '.join(words)}")
    for page in PAGES
    for block in blocks(page)
    for words in block
]


def parse(words: list[str]) -> Any:
    """What the command line makes of ``words``, down to the command that would run."""
    context: Any = None
    command: Any = typer.main.get_command(app)
    name = "audio-enh"
    while True:
        context = command.make_context(name, list(words), parent=context)
        if not hasattr(command, "resolve_command"):
            return context
        words = [*context._protected_args, *context.args]
        name, command, words = command.resolve_command(context, words)


@pytest.mark.parametrize("words", COMMANDS)
def test_the_command_line_understands_it(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] == "--code":
        monkeypatch.setenv(registry.CODE, str(Path(__file__).parents[2] / words[1]))
    context = parse(words)
    if context.info_name in ("train", "mix"):
        compose(context.info_name, context.params["overrides"] or [])


def compose(name: str, overrides: list[str]) -> None:
    hydra = pytest.importorskip("hydra")
    from audio_enh.training import recipes  # noqa: F401 (its resolver)

    settings = [
        word for word in overrides if not word.startswith("-") and word not in ("job", "[the row's change]")
    ]
    with hydra.initialize_config_module("audio_enh.recipes", version_base="1.3"):
        hydra.compose(name, overrides=settings, return_hydra_config=True)


def test_there_are_commands_in_every_guide() -> None:
    assert len(COMMANDS) > 50
    with_commands = {page.name for page in PAGES if any(blocks(page))}
    assert {
        "README.md",
        "live.md",
        "evaluation.md",
        "training.md",
        "universe.md",
        "diffusion.md",
    } <= with_commands


def test_every_link_leads_somewhere() -> None:
    """Links between the documents, to pictures and to headings."""

    missing = []
    for page in [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            if not file.exists() or (anchor and anchor not in headings(file)):
                missing.append(f"{page.name}: {target}")
    assert missing == []


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""

    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
