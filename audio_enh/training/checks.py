"""What is checked of a model and an objective before the first step, so that no training is lost at its end."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from audio_enh import registry
from audio_enh.data.datasets import Batch
from audio_enh.errors import UserError
from audio_enh.inference.checkpoint import check_savable
from audio_enh.models.base import EnhancementModel
from audio_enh.models.generative import GenerativeModel
from audio_enh.training.task import Objective

_OURS = ("audio_enh.", "torch.", "lightning.")
# Seconds of the noise that is enhanced for a try.
_SECONDS = 0.5


def use_own_code(config: DictConfig) -> None:
    """Let the recipe name what lies in the user's folders, and have errors in what it names shown as the user's."""
    registry.use_code()
    registry.note_packages(_targets(OmegaConf.to_container(config)))


def check_parts(config: DictConfig, model: nn.Module, objective: Objective) -> None:
    """Try model and objective on two short signals.

    Args:
        config: the recipe.
        model, objective: made by it.

    Raises:
        UserError: training would fail, or end without a checkpoint that can be read.
    """
    name = f"model._target_={config.model._target_}"
    if not isinstance(model, EnhancementModel):
        raise UserError(f"{name} is no audio_enh.models.base.EnhancementModel")
    rate = getattr(model, "sample_rate", None)
    if rate != config.data.get("sample_rate", rate):
        raise UserError(f"{name} has sample_rate {rate}, and data.sample_rate is {config.data.sample_rate}")
    arguments = OmegaConf.to_container(config.model, resolve=True)
    assert isinstance(arguments, dict)
    parts = arguments, OmegaConf.to_container(config.objective, resolve=True)
    # The run's random numbers stay what they were, and so do running averages of normalisation layers.
    with torch.random.fork_rng(devices=[]):
        if not config.get("lora"):  # whose changes are merged into the weights before they are saved
            check_savable(model, {str(k): v for k, v in arguments.items() if not str(k).startswith("_")})
        if all(target.startswith(_OURS) for target in _targets(parts)):
            return  # those are tested
        state = {key: value.clone() for key, value in model.state_dict().items()}
        clean = 0.1 * torch.randn(2, round(_SECONDS * model.sample_rate))
        batch = Batch(clean + 0.05 * torch.randn_like(clean), clean, torch.zeros(2), torch.arange(2))
        with torch.no_grad():  # which may take a generative model minutes
            estimate = clean if isinstance(model, GenerativeModel) else objective.enhance(model, batch)
        if not isinstance(estimate, Tensor) or estimate.shape != clean.shape:
            shape = tuple(estimate.shape) if isinstance(estimate, Tensor) else type(estimate).__name__
            raise UserError(f"{name} makes {shape} of signals {tuple(clean.shape)}: it must keep their shape")
        loss, logged = objective(model, batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise UserError(
                f"objective._target_={config.objective._target_} must give a scalar loss and its parts"
            )
        if not loss.requires_grad:
            raise UserError("the loss does not depend on the model's parameters: nothing would be trained")
        if not bool(loss.isfinite()):
            raise UserError(
                f"the loss of two signals of noise is {float(loss.detach())} before the first step"
            )
        if any(not isinstance(value, Tensor | float) for value in logged.values()):
            raise UserError("the parts of the loss, which are logged, must be numbers")
        model.load_state_dict(state)


def compile_training(model: nn.Module) -> None:
    """Have the network of a model trained by compiled code.

    Raises:
        UserError: it cannot be compiled, or not on this machine.
    """
    compile_network = getattr(getattr(model, "network", None), "compile_training", None)
    if compile_network is None:
        raise UserError("compile=true is for models with the network ncsnpp: leave compile=false")
    compiler = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if shutil.which(compiler) is None:
        raise UserError(f"compile=true needs the C++ compiler {compiler}: install it, or leave compile=false")
    compile_network()


def _targets(values: Any) -> Iterator[str]:
    """All classes that a recipe names."""
    if isinstance(values, dict):
        for key in ("_target_", "name"):
            if isinstance(target := values.get(key), str) and "." in target:
                yield target
        for value in values.values():
            yield from _targets(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _targets(value)
