"""Checkpoints of the public SGMSE+ code, as trained by Lightning, read into our model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audio_enh.errors import CheckpointError
from audio_enh.inference.bounded import build_within
from audio_enh.inference.pickles import read_pickle, without_compilation
from audio_enh.models.diffusion import DiffusionEnhancer
from audio_enh.models.diffusion.ncsnpp import NCSNpp
from audio_enh.models.diffusion.reference import from_reference


@dataclass(frozen=True)
class Imported:
    """A converted checkpoint.

    Attributes:
        model: with the averaged weights, where there are any.
        arguments: what it was constructed with.
        averaged: whether there were.
        step: training steps, if known.
        not_taken: settings of the file that the model does without, each with the reason.
    """

    model: DiffusionEnhancer
    arguments: dict[str, Any]
    averaged: bool
    step: int | None
    not_taken: tuple[str, ...] = ()


def import_sgmse(path: str | Path) -> Imported:
    """Convert a checkpoint; nothing in it is run, see :func:`read_pickle`.

    The backbones ``ncsnpp``, ``ncsnpp_v2`` and ``ncsnpp_48k`` with the processes ``ouve``, ``bbed`` and ``sbve`` are
    known. The averaged weights (EMA) are taken where the file has them, as the public code does for enhancing.
    Files of models that were compiled for their training are read as those of plain ones.

    Raises:
        CheckpointError: the file is no such checkpoint, of another kind, or not safe.
    """
    checkpoint = read_pickle(path)
    if not isinstance(checkpoint, Mapping) or not isinstance(checkpoint.get("state_dict"), Mapping):
        raise CheckpointError(f"{path} is not a Lightning checkpoint: it has no state_dict")
    hyper = checkpoint.get("hyper_parameters")
    if not isinstance(hyper, Mapping):
        raise CheckpointError(f"{path} has no hyper_parameters, by which its model could be built")
    state = {
        key.removeprefix("dnn."): value
        for key, value in without_compilation(checkpoint["state_dict"]).items()
        if key.startswith("dnn.") and isinstance(value, Tensor)
    }
    try:
        arguments = _arguments(hyper)
        model = build_within(DiffusionEnhancer, arguments, state)
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())}") from error
    shadow = _shadow(checkpoint.get("ema"), state, str(path))
    network = model.network
    assert isinstance(network, NCSNpp)
    try:
        renamed = from_reference(network, {**state, **shadow})
        network.load_state_dict(renamed)
    except KeyError as error:
        raise CheckpointError(f"{path}: the weight {error} has no place in the model it describes") from error
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its model: {' '.join(str(error).split())}") from error
    broken = [key for key, value in network.state_dict().items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(f"{path}: {broken[0]} holds NaN or infinite values: the training diverged")
    step = checkpoint.get("global_step")
    model.eval()
    not_taken = _not_taken(hyper, arguments)
    return Imported(model, arguments, bool(shadow), step if isinstance(step, int) else None, not_taken)


def _arguments(hyper: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments for hyper-parameters; a ValueError says what is not supported."""
    backbone = _choice(hyper, "backbone", "ncsnpp", ("ncsnpp", "ncsnpp_v2", "ncsnpp_48k"))
    full_band = backbone == "ncsnpp_48k"
    for key, value in _ALWAYS.items():
        _choice(hyper, key, value, (value,))
    progressive = _choice(
        hyper, "progressive", "none" if full_band else "output_skip", ("output_skip", "none")
    )
    of_input = "input_skip" if progressive == "output_skip" else "none"
    _choice(hyper, "progressive_input", of_input, (of_input,))
    n_fft = int(hyper.get("n_fft", 1534 if full_band else 510))
    first_form = backbone != "ncsnpp_v2"
    network = {
        "name": "ncsnpp",
        "bins": n_fft // 2 + 1,
        "channels": int(hyper.get("nf", 128)),
        "multipliers": _whole_numbers(hyper.get("ch_mult", (1, 1, 2, 2, 2, 2, 2))),
        "blocks": int(hyper.get("num_res_blocks", 2)),
        "attention_bins": _whole_numbers(hyper.get("attn_resolutions", () if full_band else (16,))),
        "progressive": progressive == "output_skip",
        "divide_by_t": first_form and bool(hyper.get("scale_by_sigma", True)),
        "divide_last": full_band,
        "negate": first_form,
    }
    arguments: dict[str, Any] = {
        "sample_rate": int(hyper.get("sr", 48000 if full_band else 16000)),
        "n_fft": n_fft,
        "hop_length": int(hyper.get("hop_length", 384 if full_band else 128)),
        "exponent": float(hyper.get("spec_abs_exponent", 0.5)),
        "factor": float(hyper.get("spec_factor", 0.15)),
        "level": "peak" if hyper.get("normalize", "noisy") == "noisy" else "none",
        "network": network,
    }
    if arguments["level"] != "peak":
        raise ValueError(
            f"normalize is {hyper['normalize']!r}; only models of noisy speech at peak 1 are known"
        )
    return {**arguments, **_process(hyper), **_prediction(hyper, first_form)}


def _process(hyper: Mapping[str, Any]) -> dict[str, Any]:
    name = _choice(hyper, "sde", "ouve", ("ouve", "bbed", "sbve"))
    steps = int(hyper.get("N", hyper.get("sde_n", 50 if name == "sbve" else 30)))
    # Early checkpoints keep the 1000 steps of images there, which sampling never used.
    steps = steps if steps < 1000 else 30
    t_eps = float(hyper.get("t_eps", 0.03))
    if name == "ouve":
        process = {"theta": 1.5, "sigma_min": 0.05, "sigma_max": 0.5}
    elif name == "bbed":
        process = {"k": 2.6, "theta": 0.51, "T": 0.999}
        if "T_sampling" in hyper:
            process["T"] = float(hyper["T_sampling"])
    else:
        process = {"k": 2.6, "c": 0.4}
    process = {key: float(hyper.get(key, value)) for key, value in process.items()}
    if name == "sbve":
        sampler = _choice(hyper, "sampler_type", "ode", ("ode", "sde"))
        return {"process": {"name": name, **process}, "sampler": {"name": sampler, "steps": steps}}
    arguments = {"process": {"name": name, **process, "t_eps": t_eps}}
    if _choice(hyper, "sampler_type", "pc", ("pc", "ode")) == "ode":
        return {**arguments, "sampler": {"name": "pf_rk45", "steps": steps}}
    options = {key: int(hyper[key]) for key in ("corrector_steps",) if key in hyper}
    return {
        **arguments,
        "sampler": {"name": "pc", "steps": steps, "snr": float(hyper.get("snr", 0.5)), **options},
    }


def _prediction(hyper: Mapping[str, Any], first_form: bool) -> dict[str, Any]:
    if first_form:
        return {"prediction": "score"}
    loss = _choice(hyper, "loss_type", "score_matching", ("score_matching", "denoiser", "data_prediction"))
    scaling = hyper.get("network_scaling")
    return {
        "prediction": {"score_matching": "score", "denoiser": "denoiser", "data_prediction": "data"}[loss],
        "preconditioning": _preconditioning(hyper, loss),
        "sigma_data": float(hyper.get("sigma_data", 0.1)),
        "network_scaling": "none" if scaling is None else str(scaling),
    }


def _preconditioning(hyper: Mapping[str, Any], loss: str) -> str:
    """Which of our forms the factors around the network are; the public code gives denoisers ``c_in`` alone."""
    c_in = _choice(hyper, "c_in", "1", ("1", "edm"))
    around = str(hyper.get("c_out", "1")), str(hyper.get("c_skip", "0"))
    if loss == "denoiser" or around == ("1", "0"):
        return "none" if c_in == "1" else "edm_input"
    if (c_in, *around) == ("edm", "edm", "edm"):
        return "edm"
    raise ValueError(
        f"c_in, c_out, c_skip are {', '.join((c_in, *around))}; known are c_in alone (1 or edm; 1; 0) and edm for all"
    )


def _not_taken(hyper: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """What of the file's settings has no effect here, and why."""
    told = []
    if arguments["prediction"] == "denoiser" and "edm" in (hyper.get("c_out"), hyper.get("c_skip")):
        told.append("c_out and c_skip: the public code does not apply them to denoisers either")
    if arguments["process"]["name"] == "sbve":
        told.append("eps: only --sampler ode_guarded, the public code's arithmetic, has such a guard")
    return tuple(told)


def _shadow(ema: Any, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Averaged weights under the names of the state dict, in whose order they are listed."""
    if not isinstance(ema, Mapping) or not ema.get("shadow_params"):
        return {}
    shadow = list(ema["shadow_params"])
    names = list(state)
    if len(shadow) != len(names):
        # Old averages leave out what is not trained: the frequencies of the time embedding.
        names = [name for name in names if name != "all_modules.0.W"]
    fits = len(shadow) == len(names) and all(
        isinstance(value, Tensor) and value.shape == state[name].shape
        for name, value in zip(names, shadow, strict=False)
    )
    if not fits:
        raise CheckpointError(
            f"{source}: its {len(shadow)} averaged weights are not those of the {len(state)} weights"
        )
    return dict(zip(names, shadow, strict=True))


# What all published models have in common, and what would make them compute something else.
_ALWAYS = {
    "transform_type": "exponent",
    "window": "hann",
    "centered": "True",
    "conditional": "True",
    "discriminative": "False",
    "embedding_type": "fourier",
    "fir": "True",
    "nonlinearity": "swish",
    "progressive_combine": "sum",
    "resblock_type": "biggan",
    "skip_rescale": "True",
}


def _choice(hyper: Mapping[str, Any], key: str, default: str, known: tuple[str, ...]) -> str:
    value = str(hyper.get(key, default))
    if value not in known:
        raise ValueError(f"{key} is {value!r}; known: {', '.join(known)}")
    return value


def _whole_numbers(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
