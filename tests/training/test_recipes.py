"""Every experiment composes, every part of it can be made, and the parts fit."""

from importlib.resources import files

import hydra
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from audio_enh.data.datasets import Batch
from audio_enh.models.base import EnhancementModel
from audio_enh.training import recipes  # registers the resolver
from audio_enh.training.task import EnhancementTask

RECIPES = files("audio_enh.recipes")


def names(group: str) -> list[str]:
    return sorted(
        entry.name.removesuffix(".yaml") for entry in (RECIPES / group).iterdir() if entry.is_file()
    )


def composed(*overrides: str):
    assert recipes.RECIPES.endswith("audio_enh.recipes")
    with initialize_config_module("audio_enh.recipes", version_base="1.3"):
        config = compose("train", [*overrides, "out=/tmp/out", "manifest=/data/manifest.csv"])
    OmegaConf.resolve(config)
    return config


def a_batch(rate: int, seconds: float = 0.5) -> Batch:
    clean = 0.1 * torch.randn(2, round(seconds * rate), generator=torch.Generator().manual_seed(0))
    return Batch(clean + 0.1 * torch.randn_like(clean), clean, torch.zeros(2), torch.arange(2))


# As the papers' code has them.
PARAMETERS = {"sgmse_vbdmd": 65_590_822, "sb_vbdmd": 65_590_822, "sgmse_ears_48k": 64_739_854}


@pytest.mark.parametrize("name", names("experiment"))
def test_experiment_composes_and_instantiates(name):
    config = composed(f"experiment={name}")
    assert config.info.name != "custom"
    assert config.data.steps_per_epoch % config.trainer.accumulate_grad_batches == 0
    model = hydra.utils.instantiate(config.model)
    assert isinstance(model, EnhancementModel)
    assert model.sample_rate == config.data.sample_rate
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == PARAMETERS.get(name, count)
    task = hydra.utils.instantiate(config.task)(
        model, hydra.utils.instantiate(config.objective), **hydra.utils.instantiate(config.optim)
    )
    assert isinstance(task, EnhancementTask)
    # Every parameter that learns is in exactly one group of one optimiser.
    made = task.configure_optimizers()
    groups = [
        group
        for entry in (made if isinstance(made, list) else [made])
        for group in entry["optimizer"].param_groups
    ]
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(p) for p in task.parameters() if p.requires_grad)
    hydra.utils.instantiate(config.data)
    hydra.utils.instantiate(config.callbacks)


@pytest.mark.parametrize("name", names("experiment"))
def test_experiment_takes_a_step(name, small_network):
    """The parts fit: loss and gradients are finite, and every parameter that learns has one."""
    config = composed(f"experiment={name}", *small_network(name))
    torch.manual_seed(0)
    model = hydra.utils.instantiate(config.model).train()
    objective = hydra.utils.instantiate(config.objective)
    hydra.utils.instantiate(config.task)(model, objective, **hydra.utils.instantiate(config.optim))
    total, parts = objective(model, a_batch(model.sample_rate))
    total.backward()
    assert total.isfinite()
    assert parts
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize(("group", "name"), [(g, n) for g in ("times", "weights") for n in names(g)])
def test_switches_compose(group, name):
    objective = hydra.utils.instantiate(composed("experiment=sgmse_lite", f"{group}={name}").objective)
    switch = objective.states.times if group == "times" else objective.debiasing
    assert name.replace("_", "") in type(switch).__name__.lower() or name == "debiased"


def rate(config, step: int) -> float:
    """The learning rate at a step of the model's optimiser."""
    given = hydra.utils.instantiate(config.optim)
    weight = torch.nn.Linear(1, 1)
    weight.sample_rate = 16000
    objective = torch.nn.Module()
    objective.trained = ()
    task = hydra.utils.instantiate(config.task)(weight, objective, **given)
    schedule = task.make_schedule(task.make_optimizer(weight.parameters()))["scheduler"]
    return schedule.base_lrs[0] * schedule.lr_lambdas[0](step)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("universe_16k", {24_999: 1e-4, 49_999: 2e-4, 175_000: (2e-4 + 1.6e-6) / 2, 300_000: 1.6e-6}),
        ("universepp_16k", {4_999: 1e-4, 9_999: 2e-4, 200_000: 2e-4, 250_000: 1.008e-4, 300_000: 1.6e-6}),
        ("universepp_24k", {12_499: 5e-5, 24_999: 1e-4, 300_000: 1e-4}),
        ("sgmse_vbdmd", {0: 1e-4, 54_000: 1e-4}),
    ],
)
def test_learning_rates_are_those_of_the_public_code(name, expected):
    config = composed(f"experiment={name}")
    assert {step: rate(config, step) for step in expected} == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", names("sampler"))
def test_every_sampler_can_be_chosen(name):
    """With all its options, which are the defaults."""
    process = "sbve" if name in ("sde", "ode_guarded") else "ouve"
    config = composed("experiment=sgmse_lite", f"process={process}", f"sampler={name}")
    model = hydra.utils.instantiate(config.model)
    assert model.sampler_name == name
    defaults = {"name": name, "steps": config.model.sampler.steps}
    complete = type(model).complete_arguments({**config.model, "sampler": defaults})
    assert complete["sampler"] == OmegaConf.to_container(config.model.sampler)


WAVEFORM_OBJECTIVES = {"supervised", "distillation"}


@pytest.mark.parametrize(
    "name",
    [n for n in names("objective") if n not in WAVEFORM_OBJECTIVES and not n.startswith("universe")],
)
def test_every_diffusion_objective_fits_the_lite_model(name):
    process = "flow" if name == "flow_matching" else "ouve"
    config = composed("experiment=sgmse_lite", f"objective={name}", f"process={process}")
    model = hydra.utils.instantiate(config.model)
    total, _ = hydra.utils.instantiate(config.objective)(model, a_batch(model.sample_rate))
    assert total.isfinite()


@pytest.mark.parametrize("name", sorted(WAVEFORM_OBJECTIVES))
def test_every_waveform_objective_fits_a_causal_model(name):
    config = composed("experiment=frequency_unet_small", f"objective={name}")
    model = hydra.utils.instantiate(config.model)
    total, _ = hydra.utils.instantiate(config.objective)(model, a_batch(model.sample_rate))
    assert total.isfinite()


@pytest.mark.parametrize("name", names("loss"))
def test_every_loss_can_be_made(name):
    loss = hydra.utils.instantiate(composed(f"loss={name}", "data=samples").loss)
    total, parts = loss(*torch.randn(3, 2, 8000))
    assert total.isfinite()
    assert set(parts) == set(loss.terms)
