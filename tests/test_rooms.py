"""The rooms of the house import downwards only, nowhere in a circle, and old names lead to the new ones."""

from __future__ import annotations

import ast
import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from audio_enh import renamed
from audio_enh.training.run_folder import differences

ROOT = Path(__file__).parents[1]
FOLDERS = {"audio_enh": "audio_enh", "eval": "audio_enh.eval", "streaming": "audio_enh.streaming"}
#: From below: a room may import those on the lines before its own. Single files beside the rooms count as rooms.
LAYERS = (
    ("errors", "digest", "renamed", "plots"),
    ("options", "registry"),
    ("io", "dsp", "diffusion"),
    ("models", "losses", "sources"),
    ("inference", "distortions"),
    ("data", "streaming"),
    ("eval",),
    ("training",),
    ("web",),
    ("cli",),
)
#: The front door imports what it hands out when it is asked for. Those that knock are far above all that.
FRONT_DOOR = "audio_enh"
MAY_KNOCK = {"eval", "web", "cli"}


def module_names() -> dict[str, Path]:
    names = {}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            names[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return names


MODULES = module_names()


def imports(name: str, path: Path, top: bool = False) -> Iterator[str]:
    """Modules of this project that a module imports, anywhere or at its top level only."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top else ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found = [
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names
            ]
        else:
            continue
        yield from (each for each in found if each in MODULES and each != name)


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else FRONT_DOOR


def test_every_room_has_its_place() -> None:
    placed = {name for layer in LAYERS for name in layer}
    assert {room(module) for module in MODULES} - placed == {FRONT_DOOR}
    assert placed <= {room(module) for module in MODULES}


def test_rooms_import_downwards_only() -> None:
    height = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    upwards = []
    for module, path in MODULES.items():
        mine = room(module)
        if mine == FRONT_DOOR:
            continue
        for other in imports(module, path):
            theirs = room(other)
            allowed = (
                mine in MAY_KNOCK if theirs == FRONT_DOOR else mine == theirs or height[theirs] < height[mine]
            )
            if not allowed:
                upwards.append(f"{module} imports {other}")
    assert upwards == []


def test_no_circles_among_modules() -> None:
    """Of what is imported when a module is loaded; imports within functions come later."""
    graph = {module: set(imports(module, path, top=True)) for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("old", renamed.MODULES)
def test_old_names_are_the_new_modules(old: str) -> None:
    new = importlib.import_module(renamed.MODULES[old])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert importlib.import_module(old) is new
    assert new.__spec__ is not None
    assert new.__spec__.name == new.__name__ == renamed.MODULES[old]
    assert all(each.category is DeprecationWarning for each in caught)
    assert renamed.present_name(f"{old}.Thing") == f"{renamed.MODULES[old]}.Thing"


def test_a_run_whose_recipe_has_an_old_name_is_resumed() -> None:
    old, new = (
        OmegaConf.create({"speech": {"_target_": f"audio_enh.{room}.packed.AudioFolder", "path": "x"}})
        for room in ("data", "sources")
    )
    assert differences(old, new) == []
    new.speech.path = "y"
    assert differences(old, new) == ["speech.path: x -> y"]


def test_a_checkpoint_with_an_old_class_name_loads() -> None:
    from audio_enh.inference.checkpoint import build_model

    arguments = {"hidden": 4, "depth": 2, "resample": 1}
    old = build_model({"_target_": "audio_enh.models.causal_demucs.CausalDemucs", **arguments}, "old")
    assert type(old).__module__ == "audio_enh.models.demucs.causal"
