"""What a distortion is: a frozen dataclass of parameters with ranges, and a method that applies them."""

from __future__ import annotations

import dataclasses
import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np

from audio_enh.distortions.recordings import Recordings
from audio_enh.dsp.signals import Audio
from audio_enh.errors import UserError

Value: TypeAlias = float | int | str
D = TypeVar("D", bound="Distortion")

#: Shorter signals are extended by silence while a distortion works on them.
_SHORTEST = 2048


@dataclass(frozen=True)
class Range:
    """A number between two ends.

    Attributes:
        mild: at severity 0; where ``of_rate`` is not 0, that fraction of the sample rate instead.
        harsh: at severity 1.
        unit: as printed.
        log: interpolated geometrically.
        whole: an integer.
        free: drawn uniformly between the ends; has nothing to do with severity.
        of_rate: the mild end as a fraction of the sample rate: 0.5 is the Nyquist frequency.
    """

    mild: float
    harsh: float
    unit: str = ""
    log: bool = False
    whole: bool = False
    free: bool = False
    of_rate: float = 0.0

    def at(self, position: float, sample_rate: int) -> float:
        """The value at ``position`` between the mild end (0) and the harsh one (1)."""
        mild = self.of_rate * sample_rate if self.of_rate else self.mild
        if position in (0, 1):  # exactly the ends, whatever rounding makes of them below
            value = self.harsh if position else mild
        elif self.log:
            value = mild * (self.harsh / mild) ** position
        else:
            value = mild + position * (self.harsh - mild)
        return round(value) if self.whole else value

    def problem(self, value: Value) -> str | None:
        """What is wrong with a value, None if nothing."""
        low, high = sorted((self.mild, self.harsh))
        if self.of_rate:
            high = math.inf
        if isinstance(value, (str, bool)) or not math.isfinite(value):
            return f"takes a number, not {value!r}"
        if self.whole and value != int(value):
            return f"takes a whole number, not {value!r}"
        if not low <= value <= high:
            return f"takes {self}, not {value:g}"
        return None

    def __str__(self) -> str:
        """The mild end, then the harsh one."""
        unit = f" {self.unit}" if self.unit else ""
        mild = f"{self.mild:g}"
        if self.of_rate:
            mild = "the sample rate" if self.of_rate == 1 else f"{self.of_rate:g} of the sample rate"
        return f"{mild} to {self.harsh:g}{unit}"


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Attributes:
        options: mildest first, unless ``free``.
        unit: as printed.
        free: drawn uniformly; has nothing to do with severity.
    """

    options: tuple[Value, ...]
    unit: str = ""
    free: bool = False

    def at(self, position: float, sample_rate: int) -> Value:
        """The value at ``position`` between the first option (0) and the last (1)."""
        return self.options[min(int(position * len(self.options)), len(self.options) - 1)]

    def problem(self, value: Value) -> str | None:
        """What is wrong with a value, None if nothing."""
        return None if value in self.options else f"takes {self}, not {value!r}"

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return ", ".join(str(option) for option in self.options) + unit


def ranged(mild: float, harsh: float, unit: str = "", **options: Any) -> Any:
    """A dataclass field with a :class:`Range`; its default is the value in the middle."""
    spec = Range(mild, harsh, unit, **options)
    return dataclasses.field(default=_middle(spec), metadata={"range": spec})


def chosen(*options: Value, unit: str = "", free: bool = False) -> Any:
    """A dataclass field with a :class:`Choice`; its default is the option in the middle."""
    spec = Choice(options, unit, free)
    return dataclasses.field(default=spec.at(0.5, 1), metadata={"range": spec})


def _middle(spec: Range) -> float:
    return spec.at(0.5, round(spec.mild / spec.of_rate) if spec.of_rate else 1)


@dataclass(frozen=True)
class Context:
    """What a distortion may need beside the audio: the rate in Hz, randomness, recordings."""

    sample_rate: int
    rng: np.random.Generator
    recordings: Recordings


@dataclass(frozen=True)
class Distortion(ABC):
    """A kind of damage with its parameters.

    Subclasses declare parameters by :func:`ranged` and :func:`chosen`. An instance does to audio what it says,
    whatever the rate; all it does not say (which noise, which packets) comes from the generator.

    Raises:
        UserError: a parameter out of its range.
    """

    family: ClassVar[str]

    def __post_init__(self) -> None:
        for name, spec in self.parameters().items():
            problem = spec.problem(getattr(self, name))
            if problem is not None:
                raise UserError(f"{name} of {self.name()} {problem}")

    @classmethod
    def name(cls) -> str:
        """The class's name in snake case, by which chains call it: ``low_pass``."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring, plain."""
        return (cls.__doc__ or "").strip().splitlines()[0].rstrip(".").replace("``", "")

    @classmethod
    def parameters(cls) -> dict[str, Range | Choice]:
        """Each parameter's range."""
        return {field.name: field.metadata["range"] for field in dataclasses.fields(cls)}

    @classmethod
    def unavailable(cls, recordings: Recordings) -> str | None:
        """Why it cannot be applied here (a missing program, no recordings), and the remedy; None if it can."""
        return None

    @classmethod
    def at(
        cls: type[D],
        severity: float,
        sample_rate: int,
        rng: np.random.Generator,
        fixed: dict[str, Value] | None = None,
    ) -> D:
        """The distortion at a severity.

        Args:
            severity: 0 (hardly there) to 1.
            sample_rate: of the audio it is for, in Hz.
            rng: draws the parameters that have nothing to do with severity.
            fixed: parameters that are given.

        Raises:
            UserError: a severity or a parameter out of its range.
        """
        if not 0 <= severity <= 1:
            raise UserError(f"severity of {cls.name()} takes 0 to 1, not {severity:g}")
        fixed = fixed or {}
        values: dict[str, Any] = {}
        for name, spec in cls.parameters().items():
            # Drawn also where given, so that fixing one parameter leaves the others as they were.
            position = float(rng.random()) if spec.free else severity
            values[name] = fixed[name] if name in fixed else spec.at(position, sample_rate)
        return cls(**values)

    def __call__(
        self,
        audio: Audio,
        sample_rate: int,
        rng: np.random.Generator,
        recordings: Recordings | None = None,
    ) -> Audio:
        """Apply it.

        Args:
            audio: ``(channels, samples)`` float32, finite; it is not changed.
            sample_rate: in Hz.
            rng: randomness; equal states give equal results.
            recordings: noises, talkers and rooms; the bundled ones if None.

        Returns:
            Same shape, float32, not delayed. It may go beyond full scale.

        Raises:
            DependencyError: it needs a program or package that is not there.
        """
        if audio.ndim != 2:
            raise ValueError(f"audio must be (channels, samples), got shape {audio.shape}")
        length = audio.shape[1]
        if audio.size == 0:
            return audio.astype(np.float32)
        source = np.ascontiguousarray(audio, dtype=np.float32)
        if length < _SHORTEST:
            source = np.pad(source, ((0, 0), (0, _SHORTEST - length)))
        context = Context(sample_rate, rng, recordings if recordings is not None else Recordings())
        out = self._apply(source.copy(), context)
        return np.ascontiguousarray(out[:, :length], dtype=np.float32)

    @abstractmethod
    def _apply(self, audio: Audio, context: Context) -> Audio:
        """Apply it to at least 2048 samples; ``audio`` is the method's own and may be changed."""
