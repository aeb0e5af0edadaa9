"""Options that several commands have, and those made of a dataclass's fields."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from audio_enh.cli._terminal import echo
from audio_enh.errors import UserError

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        show_default=False,
        help="A name of `audio-enh models`, a folder, or hf://user/repo; causal-unet-48k if not given, which "
        "up to 16 kHz is causal-unet-16k.",
    ),
]
Device = Annotated[
    str, typer.Option("--device", help="Where the model computes: auto, cpu, cuda, cuda:N or mps.")
]
Strength = Annotated[
    float,
    typer.Option("--strength", min=0.0, max=1.0, help="0 leaves the input as it is, 1 is fully enhanced."),
]
MaxAttenuation = Annotated[
    float | None,
    typer.Option(
        "--max-attenuation",
        min=0.0,
        metavar="DB",
        show_default=False,
        help="Turn no sound down by more than so many dB.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", "-j", min=1, show_default=False, help="Processes that measure; one per core by default."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
QuietTable = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")]


def output_option(metavar: str, help: str) -> Any:
    """``--output`` or ``-o`` of a command: what it writes is its own."""
    return typer.Option("--output", "-o", metavar=metavar, help=help)


def renamed(old: str, new: str, command: Callable[..., Any]) -> Callable[..., Any]:
    """The command under the name that it had in the last release, which it says is another now."""

    @functools.wraps(command)
    def run(*words: Any, **values: Any) -> Any:
        echo(f"warning: the command {old} is now called {new}", err=True)
        return command(*words, **values)

    return run


def with_options_of(
    options_class: type, panel: str | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command an option for each field of the dataclass that one of its parameters is.

    A field's metadata have ``help`` and what else :func:`audio_enh.options._option` names; one without ``help`` has
    no option.

    Args:
        options_class: the dataclass.
        panel: heading of the options in ``--help``.
    """

    options = [each for each in dataclasses.fields(options_class) if "help" in each.metadata]
    types = get_type_hints(options_class)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command, eval_str=True)
        place = next(name for name, each in signature.parameters.items() if each.annotation is options_class)

        @functools.wraps(command)
        def run(**values: Any) -> Any:
            chosen = {}
            for option in options:
                value, former = values.pop(option.name), values.pop(_former(option), None)
                if former is not None:
                    name = option.metadata["formerly"]
                    echo(f"warning: --{name} is now called --{_flag(option)}; use that name", err=True)
                    value = former
                if isinstance(value, Enum):
                    value = value.value
                elif isinstance(value, list):
                    value = _key_values(value, _flag(option))
                chosen[option.name] = value
            return command(**values, **{place: options_class(**chosen)})

        parameters: list[inspect.Parameter] = []
        for name, parameter in signature.parameters.items():
            if name == place:
                for option in options:
                    parameters += _parameters(option, types[option.name], panel)
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _parameters(option: dataclasses.Field[Any], kind: Any, panel: str | None) -> Iterator[inspect.Parameter]:
    """The command's parameter for a field, and a hidden one for its former name."""
    annotation: Any = kind
    default: Any = option.default
    details = {key: option.metadata[key] for key in ("min", "metavar") if key in option.metadata}
    if get_origin(kind) is Literal:
        names = {value.upper(): value for value in get_args(kind)}
        make_enum: Any = Enum  # mypy takes the call for the definition of a class
        annotation = make_enum(option.name, names, type=str)
        default = annotation(default)
    elif any(get_origin(each) is Mapping for each in get_args(kind)):
        annotation, details["metavar"] = list[str] | None, "KEY=VALUE"
    shown = typer.Option(
        f"--{_flag(option)}",
        rich_help_panel=panel,
        show_default=default is not None,
        help=option.metadata["help"],
        **details,
    )
    keyword = inspect.Parameter.KEYWORD_ONLY
    yield inspect.Parameter(option.name, keyword, default=default, annotation=Annotated[annotation, shown])
    if "formerly" in option.metadata:
        hidden = typer.Option(f"--{option.metadata['formerly']}", hidden=True, **details)
        yield inspect.Parameter(
            _former(option), keyword, default=None, annotation=Annotated[annotation | None, hidden]
        )


def _flag(option: dataclasses.Field[Any]) -> str:
    return str(option.metadata.get("flag", option.name.replace("_", "-")))


def _former(option: dataclasses.Field[Any]) -> str:
    return f"former_{option.name}"


def _key_values(words: list[str], flag: str) -> dict[str, int | float | str]:
    """``KEY=VALUE`` words as a dictionary, numbers as such."""
    values: dict[str, int | float | str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not (key and equals and text):
            raise UserError(f"--{flag} {word}: give KEY=VALUE, as in snr=0.4")
        for kind in (int, float, str):
            try:
                values[key] = kind(text)
            except ValueError:
                continue
            break
    return values
