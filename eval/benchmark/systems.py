"""What takes part: the checkpoints of this project, and what a user would pick instead."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from audio_enh.errors import UserError

from ..processing import checkpoint_system
from ..runs import System

PEERS = Path(__file__).with_name("peers")
# Steps of the samplers that are tried when no model is named.
DEFAULT_STEPS = (1, 4, 16)
LIVE = "live"
_GENERATIVE = ("audio_enh.models.diffusion.DiffusionEnhancer", "audio_enh.models.universe.Universe")


@dataclass(frozen=True)
class Variant:
    """One way to run a peer; what is None is the peer's.

    Attributes:
        load: arguments of the adapter's ``load``.
    """

    load: Mapping[str, Any] = field(default_factory=dict)
    sample_rate: int | None = None
    delay: int | None = None
    latency_ms: float | None = None
    parameters: int | None = None


def find_models(names: Sequence[str] | None, sample_rate: int) -> list[System]:
    """Checkpoints of this project.

    Args:
        names: each ``NAME``, ``NAME:STEPS`` for a generative model, or ``NAME:live`` for a causal one hop by hop;
            a folder or a hub address instead of the name will do. None: all that are installed, generative ones
            with ``DEFAULT_STEPS`` unless their own number is 0, causal ones both ways.
        sample_rate: of the set, in Hz.

    Raises:
        CheckpointError: there is no such checkpoint.
        UserError: the model does not take steps, or cannot run live.
    """
    from audio_enh.inference.catalog import available

    if names is None:
        names = []
        for checkpoint in available():
            if _makes_no_steps(checkpoint.path):
                names += [checkpoint.name]
            elif _is_generative(checkpoint.path):
                names += [f"{checkpoint.name}:{steps}" for steps in DEFAULT_STEPS]
            else:
                names += [checkpoint.name]
                names += [f"{checkpoint.name}:{LIVE}"] if "latency_ms" in checkpoint.info else []
    return [_model(name, sample_rate) for name in names]


def find_peers(names: Sequence[str] | None) -> list[System]:
    """Other people's systems.

    Args:
        names: each ``NAME``, ``NAME:VARIANT``, or the path of an adapter, ``FILE.py[:VARIANT]``; without a variant
            all of them. None: all that this project has an adapter for.

    Raises:
        UserError: there is no such peer or variant, or an adapter does not describe itself.
    """
    known = {path.stem: path for path in sorted(PEERS.glob("*.py")) if path.stem != "__init__"}
    systems = []
    for name in known if names is None else names:
        stem, _, variant = name.rpartition(":") if ":" in name else (name, "", "")
        adapter = known.get(stem) or Path(stem)
        if not (adapter.suffix == ".py" and adapter.is_file()):
            raise UserError(
                f"no peer {stem!r}: known are {', '.join(known)}; or give the path of an adapter.py"
            )
        systems += read_adapter(adapter.resolve(), variant)
    return systems


def read_adapter(path: Path, variant: str = "") -> list[System]:
    """What an adapter says of itself, in a literal ``PEER`` that is read without running the file.

    Args:
        path: the Python file.
        variant: one of its variants; empty: all.

    Raises:
        UserError: there is no ``PEER``, or it is not as it should be.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        peer = next(
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and [ast.unparse(each) for each in node.targets] == ["PEER"]
        )
        variants = {name: Variant(**each) for name, each in peer.pop("variants", {"": {}}).items()}
        requirements = tuple(peer.pop("requirements"))
        alone = tuple(peer.pop("without_dependencies", ()))
        general = Variant(**{key: peer.pop(key) for key in tuple(peer) if key in Variant.__annotations__})
        found = [
            System(
                name=f"{path.stem}:{name}" if name else path.stem,
                kind="peer",
                adapter=path,
                load={**general.load, **each.load},
                sample_rate=each.sample_rate or general.sample_rate or 0,
                delay=(general.delay or 0) if each.delay is None else each.delay,
                latency_ms=general.latency_ms if each.latency_ms is None else each.latency_ms,
                parameters=general.parameters if each.parameters is None else each.parameters,
                requirements=requirements,
                without_dependencies=alone,
                **peer,
            )
            for name, each in variants.items()
        ]
    except StopIteration:
        raise UserError(f"{path} has no PEER = {{...}}: see an adapter in {PEERS}") from None
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: PEER is not as it should be: {error!r}") from error
    if not all(system.sample_rate for system in found):
        raise UserError(f"{path}: PEER has no sample_rate")
    if variant and variant not in variants:
        raise UserError(f"{path.stem} has no variant {variant!r}: known are {', '.join(variants)}")
    return [system for system, name in zip(found, variants, strict=True) if not variant or name == variant]


def _model(name: str, sample_rate: int) -> System:
    from audio_enh.inference.catalog import find_checkpoint, read_config

    stem, _, option = name.rpartition(":") if ":" in name else (name, "", "")
    if option != LIVE and not option.isdecimal():
        stem, option = name, ""  # the colon of hf://
    folder = find_checkpoint(stem)
    info = read_config(folder).get("info", {})
    if option == LIVE and "latency_ms" not in info:
        raise UserError(f"{name}: only a causal model runs live")
    if option.isdecimal() and not (_is_generative(folder) and int(option) > 0):
        raise UserError(f"{name}: only a generative model takes steps, 1 or more")
    load: dict[str, Any] = {"model": stem, "sample_rate": sample_rate}
    if option:
        load |= {"live": True} if option == LIVE else {"steps": int(option)}
    system = checkpoint_system(stem, Path(__file__).with_name("shipped.py"), load, option)
    return replace(system, sample_rate=sample_rate)


def _is_generative(folder: Path) -> bool:
    from audio_enh.inference.catalog import read_config

    return read_config(folder)["model"].get("_target_") in _GENERATIVE


def _makes_no_steps(folder: Path) -> bool:
    """Whether a generative model by itself gives its estimate in one pass."""
    from audio_enh.inference.catalog import read_config

    return read_config(folder)["model"].get("steps") == 0
