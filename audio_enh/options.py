"""What can be chosen when a signal is enhanced: said once, for Python, for files and for the command line.

A new option of the samplers is a field of :class:`SamplingOptions` and the line of the sampler that reads it. The
command line makes its options from the fields (:mod:`audio_enh.cli._options`), and the library hands the object on
as it is.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

ChannelMode = Literal["auto", "linked", "independent"]
CHANNEL_MODES: tuple[ChannelMode, ...] = get_args(ChannelMode)


def _option(default: Any, help: str, *, hash: bool | None = None, **details: Any) -> Any:
    """A field that the command line offers too.

    Args:
        help: its sentence on the command line.
        hash: as for :func:`dataclasses.field`.
        details: ``min`` and ``metavar`` of the option; ``flag``, its name if not the field's; ``formerly``, the
            name that it had in the last release, which goes on working with a warning; ``common``, whether it may be
            given to models that draw nothing, which then ignore it.
    """
    return field(default=default, hash=hash, metadata={"help": help, **details})


@dataclass(frozen=True)
class SamplingOptions:
    """What can be chosen when a generative model runs.

    Attributes:
        seed: of the noise; the same seed gives the same output. None is 0.
        sampler: one of the model's ``sampler_names``; None is the model's own; for several draws, the first with
            noise where that has none.
        steps: number of steps of the sampler; None is the model's own number.
        draws: number of outputs that are drawn from the model and combined into one.
        combine: whether their mean or their median, sample by sample, is the output.
        sampler_options: further ones of the sampler, such as ``{"snr": 0.4, "corrector_steps": 2}`` of ``pc``; the
            others are the model's.
    """

    seed: int | None = _option(
        None,
        "Seed of the noise that is drawn, 0 if not given. The same seed gives the same output.",
        common=True,
    )
    sampler: str | None = _option(
        None,
        "One of ode, ode_heun, ode_guarded, sde, pc, pf_heun or pf_rk45, as the model's process allows. "
        "By default the model's own.",
        metavar="NAME",
    )
    steps: int | None = _option(
        None,
        "Number of steps of the sampler; fewer are faster. By default the model's own. "
        "UNIVERSE takes 0: its first estimate, in one pass.",
        min=0,
    )
    draws: int = _option(
        1,
        "Number of outputs that are drawn and combined into one. If the model's own sampler draws no noise, one "
        "that does is taken.",
        min=1,
        formerly="samples",
    )
    combine: Literal["mean", "median"] = _option("mean", "How the draws become one output.", common=True)
    # A mapping has no hash, by which calls of one kind are found.
    sampler_options: Mapping[str, Any] | None = _option(
        None,
        "Another option of the sampler, such as snr=0.4, corrector_steps=2 or grid=karras; may be given "
        "several times.",
        hash=False,
        flag="sampler-option",
    )


@dataclass(frozen=True)
class EnhanceOptions:
    """What can be chosen when a signal is enhanced.

    Attributes:
        strength: 0 gives the input back, to the bit; 1 the enhanced signal; between them the output is
            ``input + strength * (enhanced - input)``.
        max_attenuation: let no sound be turned down by more than so many dB, 0 or more. The weight of the enhanced
            signal is at most ``1 - 10 ** (-max_attenuation / 20)``, so that what the model removes stays in the
            output, that much quieter. None sets no limit.
        channel_mode: ``linked`` enhances the channels' sum and does to each of them what that did to the sum, see
            :mod:`audio_enh.inference.linked`; ``independent`` enhances each by itself; ``auto`` links channels that
            have enough in common.
        sampling: of generative models only.
    """

    strength: float = 1.0
    max_attenuation: float | None = None
    channel_mode: ChannelMode = "auto"
    sampling: SamplingOptions = SamplingOptions()

    def changed(self, **changes: Any) -> EnhanceOptions:
        """A copy with other values, of the fields of ``sampling`` too: ``changed(strength=0.7, steps=4)``.

        Raises:
            TypeError: there is no such option.
        """
        for option in dataclasses.fields(SamplingOptions):
            former = option.metadata.get("formerly")
            if former in changes:
                message = f"{former} is now called {option.name}; the old name will go with the next release"
                warnings.warn(message, DeprecationWarning, stacklevel=3)
                changes[option.name] = changes.pop(former)
        own = {option.name for option in dataclasses.fields(self)}
        of_sampling = {name: value for name, value in changes.items() if name not in own}
        changes = {name: value for name, value in changes.items() if name in own}
        if of_sampling:
            sampling = changes.get("sampling", self.sampling)
            changes["sampling"] = dataclasses.replace(sampling, **of_sampling)
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """All values by name, those of ``sampling`` beside the others: what :meth:`changed` takes."""
        values = dataclasses.asdict(self)
        sampling = values.pop("sampling")
        return {**values, **sampling}


@dataclass(frozen=True)
class FileOptions:
    """What can be chosen when files are enhanced.

    Attributes:
        enhance: what is done to the sound.
        uncertainty: write how far the draws of a generative model are apart as well, see
            :func:`audio_enh.inference.files.curve_paths`.
        allow_truncated: use what is there of a source that is cut short or damaged, with a warning.
        track: which sound of a source that has several: its number from 1, title or language, or ``all``, one after
            the other. By default the one that players choose. The others are kept as they are, where the target has
            a place for them.
    """

    enhance: EnhanceOptions = EnhanceOptions()
    uncertainty: bool = False
    allow_truncated: bool = False
    track: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """All values by name, those of ``enhance`` beside the others."""
        values = {option.name: getattr(self, option.name) for option in dataclasses.fields(self)}
        return {**values.pop("enhance").as_dict(), **values}


DEFAULT_SAMPLING = SamplingOptions()
DEFAULTS = EnhanceOptions()
DEFAULT_FILES = FileOptions()
