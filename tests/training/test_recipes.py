"""Every experiment composes and every part of it can be made."""

from importlib.resources import files

import hydra
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from audio_enh.models.base import EnhancementModel
from audio_enh.training import recipes  # registers the resolver

EXPERIMENTS = sorted(
    entry.name.removesuffix(".yaml") for entry in (files("audio_enh.recipes") / "experiment").iterdir()
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_composes_and_instantiates(name, tmp_path):
    assert recipes.RECIPES.endswith("audio_enh.recipes")
    with initialize_config_module("audio_enh.recipes", version_base="1.3"):
        config = compose("train", [f"experiment={name}", f"out={tmp_path}", "manifest=/data/manifest.csv"])
    assert config.info.name != "custom"
    OmegaConf.resolve(config)
    model = hydra.utils.instantiate(config.model)
    assert isinstance(model, EnhancementModel)
    estimate = model.train()(torch.randn(2, 4000))
    total, parts = hydra.utils.instantiate(config.loss)(estimate, torch.randn(2, 4000), torch.randn(2, 4000))
    assert total.isfinite()
    assert set(parts) == set(config.loss.terms)
    hydra.utils.instantiate(config.optim)["optimizer"](model.parameters())
    hydra.utils.instantiate(config.data)
    hydra.utils.instantiate(config.callbacks)
