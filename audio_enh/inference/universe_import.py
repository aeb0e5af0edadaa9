"""Checkpoints of the public UNIVERSE code (open-universe), read into our model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audio_enh.errors import CheckpointError
from audio_enh.inference.bounded import build_within
from audio_enh.inference.pickles import read_pickle, without_compilation
from audio_enh.inference.plain_yaml import read_yaml
from audio_enh.models.universe import Universe
from audio_enh.models.universe.reference import COMPUTED, from_reference

_CONDITION, _DECOUPLING = "condition_model.", "signal_decoupling_layer."
_SCORES = ("_edm_model.", "score_model.")


@dataclass(frozen=True)
class ImportedUniverse:
    """A converted checkpoint.

    Attributes:
        model: with the averaged weights, where there are any beside the plain ones.
        arguments: what it was constructed with.
        averaged: whether there were. Files made for release hold the average as their only weights.
        step: training steps, if known.
        not_taken: settings of the file that the model does without, each with the reason.
    """

    model: Universe
    arguments: dict[str, Any]
    averaged: bool
    step: int | None
    not_taken: tuple[str, ...] = ()


def import_universe(path: str | Path) -> ImportedUniverse | None:
    """Convert a checkpoint; nothing in it is run, see :func:`read_pickle`.

    The networks' sizes are those of the weights; rate, level and noise levels are read from the ``config.yaml`` that
    lies beside the file or in ``../.hydra``, as the public code expects it too.

    The mixture densities' normalisation is averaged over time, to which the public code fixes it: the estimate of
    0 steps and warm starts are therefore near, but not equal, for models of the first UNIVERSE.

    Returns:
        None if the file is a checkpoint of something else.

    Raises:
        CheckpointError: the file is damaged or not safe, its configuration is missing, or it is of an unknown form.
    """
    checkpoint = read_pickle(path)
    state = checkpoint.get("state_dict") if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping):
        return None
    state = {key: value for key, value in without_compilation(state).items() if isinstance(value, Tensor)}
    if not any(key.startswith(_CONDITION) for key in state):
        return None
    score = next((prefix for prefix in _SCORES if any(key.startswith(prefix) for key in state)), None)
    if score is None:
        raise CheckpointError(f"{path} has a condition network but no score network")
    averaged = _averages(checkpoint.get("ema"), state, (score, _CONDITION, _DECOUPLING), str(path))
    parts = {
        prefix: {
            key.removeprefix(prefix): averaged.get(key, value)
            for key, value in state.items()
            if key.startswith(prefix)
        }
        for prefix in (score, _CONDITION, _DECOUPLING, "loss_signal.", "loss_latent.")
    }
    try:
        arguments = {
            **_sizes(parts[score], parts[_CONDITION]),
            **_settings(_read_config(Path(path)), edm=score == "_edm_model."),
            "head": "decoupling" if parts[_DECOUPLING] else "mixture",
        }
        model = build_within(Universe, arguments, state)
        renamed = {
            **_under("score_network.", from_reference(parts[score])),
            **_under("condition.", from_reference(parts[_CONDITION])),
        }
        if parts[_DECOUPLING]:
            decoupling = parts[_DECOUPLING]
            renamed["head.snake.log_alpha"] = decoupling["prelu.act.act.alpha"]
            renamed |= {f"head.conv.{name}": decoupling[f"conv.{name}"] for name in ("weight", "bias")}
        else:
            renamed |= _under("head.", _mixture_head(parts["loss_signal."]))
            renamed |= _under("latent_head.", _mixture_head(parts["loss_latent."]))
        model.load_state_dict(renamed)
    except KeyError as error:
        raise CheckpointError(f"{path} lacks {error}, which models of its kind have") from error
    except (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError) as error:
        raise CheckpointError(f"{path} does not fit its model: {' '.join(str(error).split())}") from error
    broken = [key for key, value in model.state_dict().items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(f"{path}: {broken[0]} holds NaN or infinite values: the training diverged")
    step = checkpoint.get("global_step")
    return ImportedUniverse(model.eval(), arguments, bool(averaged), step if isinstance(step, int) else None)


def _sizes(score: Mapping[str, Tensor], condition: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments that the weights' shapes tell."""
    normalised = "output_conv.conv.weight_g" in score
    weight = "weight_v" if normalised else "weight"
    rates: list[int] = []
    while (key := f"encoder.ds_modules.{len(rates)}.rate_change_conv.conv.{weight}") in score:
        rates.append(score[key].shape[2])
    fourier = score.get("sigma_block.freq")
    features = {} if fourier is None else {"embedding_features": len(fourier)}
    return {
        "channels": score["input_conv.weight"].shape[0],
        "rates": tuple(rates),
        "mel_bands": condition[f"input_mel.conv.{weight}"].shape[1],
        "mel_sample_rate": 24000,
        "embedding": "sinusoid" if fourier is None else "fourier",
        **features,
        "embedding_dimensions": score[f"encoder.cond_proj.0.{weight}"].shape[1],
        "weight_normalised": normalised,
        "antialiasing": any(".low_pass_filter." in key for key in score),
    }


def _settings(config: Mapping[str, Any], edm: bool) -> dict[str, Any]:
    """Constructor arguments that the configuration tells."""
    diffusion, level = config["diffusion"], config.get("normalization_kwargs") or {}
    data_level = (config.get("edm") or {}).get("data_level_db")
    if edm and float(config["edm"]["noise"]) != 0.25:
        raise ValueError(f"edm.noise is {config['edm']['noise']}; known: 0.25")
    for place, known in _ALWAYS.items():
        section: Any = config
        *outer, key = place.split(".")
        for name in outer:
            section = section.get(name) or {}
        value = section.get(key)
        # What is taken from elsewhere in the configuration (${...}) is compared there.
        if value is not None and str(value) != known and not str(value).startswith("${"):
            raise ValueError(f"{place} is {value}; known: {known}")
    return {
        "sample_rate": int(config["fs"]),
        "preconditioning": "edm" if edm else "none",
        "level_db": float(level.get("level_db", 0.0)),
        "data_level_db": float(data_level) if edm and data_level is not None else None,
        # YAML takes 5e-4 for a word.
        "sigma_min": float(diffusion["sigma_min"]),
        "sigma_max": float(diffusion["sigma_max"]),
        "steps": int(diffusion["n_steps"]),
        "epsilon": float(diffusion["epsilon"]),
    }


# Settings that the weights do not show, and by which the networks would compute something else.
_ALWAYS = {
    "normalization_norm": "2",
    "diffusion.schedule": "geometric",
    "condition_model.n_mel_oversample": "4",
    "condition_model.encoder_gru_residual": "True",
    "condition_model.use_antialiasing": "False",
    "condition_model.seq_model": "gru",
    "condition_model.decoder_act_type": "prelu",
    "score_model.seq_model": "gru",
    "score_model.decoder_act_type": "prelu",
    "score_model.encoder_gru_conv_sandwich": "False",
    "transform._target_": "open_universe.layers.dyn_range_comp.IdentityTransform",
}


def _read_config(path: Path) -> Mapping[str, Any]:
    places = [path.parent / "config.yaml", path.absolute().parent.parent / ".hydra" / "config.yaml"]
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        raise CheckpointError(f"{path} needs the config.yaml it was released with: put it into {path.parent}")
    config = read_yaml(place)
    if not isinstance(config, Mapping) or not isinstance(config.get("model"), Mapping):
        raise CheckpointError(f"{place} has no 'model:' section")
    return config["model"]


def _mixture_head(loss: Mapping[str, Tensor]) -> dict[str, Tensor]:
    head = {key: value for key, value in loss.items() if key.startswith("conv.")}
    return head | {f"norm.{name}": loss[f"layer_norm.{name}"].mean(dim=1) for name in ("weight", "bias")}


def _averages(
    ema: Any, state: Mapping[str, Tensor], prefixes: Iterable[str], source: str
) -> dict[str, Tensor]:
    """Averaged weights under the names of the state dict, in whose order each part's are listed."""
    if not isinstance(ema, Mapping) or not ema.get("shadow_params"):
        return {}
    shadow = list(ema["shadow_params"])
    constants = (*COMPUTED, ".sigma_block.freq", ".kernel")
    names = [
        key for prefix in prefixes for key in state if key.startswith(prefix) and not key.endswith(constants)
    ]
    fits = len(shadow) == len(names) and all(
        isinstance(value, Tensor) and value.shape == state[name].shape
        for name, value in zip(names, shadow, strict=False)
    )
    if not fits:
        raise CheckpointError(
            f"{source}: its {len(shadow)} averaged weights are not those of its {len(names)}"
        )
    return dict(zip(names, shadow, strict=True))


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}
