"""Several distortions in a row, written down and applied."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from audio_enh.distortions.base import Audio, Distortion, Value
from audio_enh.distortions.catalog import find_distortion
from audio_enh.distortions.recordings import Recordings
from audio_enh.errors import UserError

#: Of a distortion that is named without one.
DEFAULT_SEVERITY = 0.5
_LEAD_SECONDS = 2.0
_FADE_SECONDS = 0.05


@dataclass(frozen=True)
class Step:
    """One distortion of a chain before its parameters are settled.

    Attributes:
        kind: which distortion.
        severity: 0 to 1; parameters that are not fixed follow from it or are drawn.
        fixed: parameters that are given.
    """

    kind: type[Distortion]
    severity: float = DEFAULT_SEVERITY
    fixed: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Applied:
    """What was done: enough to do it again with the same generator.

    Attributes:
        name, family: of the distortion.
        severity: from which the parameters were derived, other than those that were fixed or drawn; None if all
            that depend on it were fixed.
        parameters: all of them.
    """

    name: str
    family: str
    severity: float | None
    parameters: dict[str, Value]

    def as_json(self) -> dict[str, Any]:
        """Plain values, numbers to six digits."""
        rounded = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in self.parameters.items()}
        severity = None if self.severity is None else float(f"{self.severity:.6g}")
        return {**dataclasses.asdict(self), "severity": severity, "parameters": rounded}

    def __str__(self) -> str:
        """As :func:`parse_chain` reads it: ``mp3(bitrate=16)``."""
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.as_json()['parameters'].items())})"


def apply_chain(
    steps: Sequence[Step],
    audio: Audio,
    sample_rate: int,
    rng: np.random.Generator,
    recordings: Recordings | None = None,
) -> tuple[Audio, tuple[Applied, ...]]:
    """Apply distortions one after the other.

    Args:
        steps: in order.
        audio: ``(channels, samples)`` float32.
        sample_rate: in Hz.
        rng: randomness.
        recordings: noises, talkers and rooms; the bundled ones if None.

    Returns:
        The damaged audio, same shape and not delayed, and what was done.

    Raises:
        UserError: a parameter out of its range, or something a distortion needs is missing.
    """
    done = []
    for step in steps:
        distortion = step.kind.at(step.severity, sample_rate, rng, step.fixed)
        audio = distortion(audio, sample_rate, rng, recordings)
        parameters = {name: getattr(distortion, name) for name in distortion.parameters()}
        derived = any(
            not spec.free for name, spec in distortion.parameters().items() if name not in step.fixed
        )
        severity = step.severity if derived else None
        done.append(Applied(step.kind.name(), step.kind.family, severity, parameters))
    return audio, tuple(done)


def apply_in_pieces(
    steps: Sequence[Step],
    audio: Audio,
    sample_rate: int,
    rng: np.random.Generator,
    recordings: Recordings | None = None,
    piece_seconds: float = 300.0,
) -> tuple[Audio, tuple[Applied, ...]]:
    """:func:`apply_chain` for long recordings: the working memory is that of one piece.

    All pieces have the same parameters. Each begins two seconds early, so that filters and rooms have settled and
    the tail of what came before is there, and is cross-faded in. What is relative to a peak or a loudness is relative
    to that of the piece. Audio of one piece is treated exactly as by :func:`apply_chain`.
    """
    piece, lead = max(1, int(piece_seconds * sample_rate)), int(_LEAD_SECONDS * sample_rate)
    out, record = apply_chain(steps, audio[:, :piece], sample_rate, rng, recordings)
    if audio.shape[1] <= piece:
        return out, record
    result = np.empty(audio.shape, np.float32)
    result[:, :piece] = out
    settled = [Step(s.kind, s.severity, each.parameters) for s, each in zip(steps, record, strict=True)]
    for start in range(piece, audio.shape[1], piece):
        early = min(lead, start)
        part = audio[:, start - early : start + piece]
        out, _ = apply_chain(settled, part, sample_rate, rng, recordings)
        fade = min(int(_FADE_SECONDS * sample_rate), early)
        ramp = np.linspace(0, 1, fade, dtype=np.float32)
        before = result[:, start - fade : start]
        before += ramp * (out[:, early - fade : early] - before)
        result[:, start : start + piece] = out[:, early:]
    return result, record


def parse_chain(text: str) -> tuple[Step, ...]:
    """Read a chain such as ``mp3(bitrate=16), low_pass(cutoff=3000), hum``.

    A name alone stands for severity 0.5; ``severity=0.8`` among the parameters sets another. Words may stand
    without quotes.

    Raises:
        UserError: it cannot be read; a name or parameter is unknown; a value is out of its range.
    """
    try:
        # low-pass is a subtraction to Python.
        plain = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", "_", text)
        items = ast.parse(f"[{plain}]", mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise UserError(_unreadable(text)) from error
    if not isinstance(items, ast.List) or not items.elts:
        raise UserError(_unreadable(text))
    return tuple(_step(item, text) for item in items.elts)


def _unreadable(text: str) -> str:
    return f'cannot read the chain {text!r}: write it like "mp3(bitrate=16), low_pass(cutoff=3000)"'


def _step(item: ast.expr, text: str) -> Step:
    if isinstance(item, ast.Name):
        return Step(find_distortion(item.id))
    if not isinstance(item, ast.Call) or not isinstance(item.func, ast.Name) or item.args:
        raise UserError(_unreadable(text))
    kind = find_distortion(item.func.id)
    severity: Any = DEFAULT_SEVERITY
    fixed: dict[str, Value] = {}
    for keyword in item.keywords:
        value = _value(keyword.value, text)
        if keyword.arg == "severity":
            if isinstance(value, str) or not 0 <= value <= 1:
                raise UserError(f"severity of {kind.name()} takes 0 to 1, not {value!r}")
            severity = value
        else:
            fixed[_parameter(kind, keyword.arg)] = value
    for name, value in fixed.items():
        problem = kind.parameters()[name].problem(value)
        if problem is not None:
            raise UserError(f"{name} of {kind.name()} {problem}")
    return Step(kind, severity, fixed)


def _value(node: ast.expr, text: str) -> Value:
    if isinstance(node, ast.Name):
        return node.id
    try:
        value = ast.literal_eval(node)
    except ValueError as error:
        raise UserError(_unreadable(text)) from error
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise UserError(_unreadable(text))
    return value


def _parameter(kind: type[Distortion], name: str | None) -> str:
    known = kind.parameters()
    if name in known:
        return str(name)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join((*known, 'severity'))}"
    raise UserError(f"{kind.name()} has no parameter {str(name)!r}: {hint}")
