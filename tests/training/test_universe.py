"""Objectives of UNIVERSE, and adversarial training from recipe to checkpoint."""

from types import SimpleNamespace

import hydra
import numpy as np
import pytest
import torch
from scipy.stats import norm
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import audio_enh
from audio_enh.diffusion.training_times import CentralTimes
from audio_enh.distortions.damage import CHAIN, ROUND
from audio_enh.errors import UserError
from audio_enh.losses.mixture_density import mixture_nll
from audio_enh.training import recipes
from tests.training.test_recipes import a_batch, composed

SMALL = ("model.channels=2", "model.mel_bands=16", "model.embedding_dimensions=16")
PLUS_PLUS = (
    "experiment=universepp_16k",
    *SMALL,
    "data=samples",
    "data.batch_size=2",
    "data.seconds=0.5",
    "data.valid_seconds=1.0",
    "data.valid_items=2",
    "data.steps_per_epoch=3",
    "trainer=debug",
    "trainer.max_steps=6",
    "trainer.gradient_clip_val=null",
    "objective.discriminators.width=0.05",
    "model.steps=1",
    "optim.warmup_steps=1",
    "optim.optimizer.lr=1e-3",
)


def made(name, *overrides):
    config = composed(f"experiment={name}", *SMALL, *overrides)
    torch.manual_seed(0)
    return hydra.utils.instantiate(config.model).train(), hydra.utils.instantiate(config.objective)


@pytest.mark.parametrize("name", ["universe_16k", "universe_lite"])
def test_loss_falls(name):
    """Twenty steps on one batch."""
    model, objective = made(name)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    values = []
    for _ in range(20):
        total, _ = objective(model, a_batch(16000))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(float(total.detach()))
    assert np.mean(values[-3:]) < np.mean(values[:3]) - 0.05 * abs(np.mean(values[:3]))


@pytest.mark.parametrize("name", ["universe_16k", "universe_lite"])
def test_loss_does_not_depend_on_how_items_are_shared_out(name):
    model, objective = made(name)
    model.eval()
    batch = a_batch(16000)
    whole, _ = objective(model, batch)
    parts = [objective(model, type(batch)(*(field[i : i + 1] for field in batch[:4])))[0] for i in range(2)]
    assert float(whole.detach()) == pytest.approx(float(sum(parts).detach()) / 2, rel=1e-3)


def test_the_latent_is_to_tell_the_mel_spectrogram_of_norm_one():
    """As in the public code; ``mixture_nll`` is checked against its numbers on its own."""
    model, objective = made("universe_16k")
    batch = a_batch(16000)
    outcome = objective.run(model, batch)
    _, parts = objective.total(model, outcome)
    mel = model.condition.input_mel.mel_spec(outcome.clean)
    norm_of_one = mel / mel.flatten(1).norm(dim=1)[:, None, None]
    expected = mixture_nll(norm_of_one, *model.latent_head(outcome.latent)).mean()
    torch.testing.assert_close(parts["latent"], expected)
    assert not torch.allclose(
        expected, mixture_nll(mel, *model.latent_head(outcome.latent)).mean(), rtol=1e-3
    )


@pytest.mark.parametrize("form", ["universepp_24k", "universepp_48k"])
def test_wide_band_models_have_frames_of_ten_milliseconds(form):
    rate = 1000 * int(form[-3:-1])
    config = composed(f"model={form}", "data=samples", f"data.sample_rate={rate}")
    with torch.device("meta"):
        model = hydra.utils.instantiate(config.model)
    assert model.sample_rate == rate
    assert model.grid == rate // 100


def test_exact_score_has_no_loss():
    model, objective = made("universe_16k")
    batch = a_batch(16000)
    clean = model.normalise(batch.clean)[:, None]
    model.score = lambda x, sigma, conditions: (clean - x) / sigma[:, None, None] ** 2
    assert objective.run(model, batch).score < 1e-4


def test_residual_score_is_trained_on_what_the_estimate_lacks():
    model, objective = made("universe_lite")
    model.eval()
    batch = a_batch(16000)
    outcome = objective.run(model, batch)
    lacking = model.lacking(outcome.clean, outcome.estimate)[:, None].detach()
    model.score = lambda x, sigma, conditions: (lacking - x) / sigma[:, None, None] ** 2
    assert objective.run(model, batch).score < 1e-4


@pytest.mark.parametrize(("level", "same"), [("own", True), ("noisy", False)])
def test_target_levels(level, same):
    model, objective = made("universe_16k", f"objective.target_level={level}")
    batch = a_batch(16000)
    outcome = objective.run(model, batch._replace(noisy=10 * batch.noisy))
    normal = objective.run(model, batch)
    torch.testing.assert_close(outcome.noisy, normal.noisy)
    assert torch.allclose(outcome.clean, normal.clean, rtol=1e-3) == same


def test_central_times_are_the_middle_of_a_normal_distribution():
    times = CentralTimes(0.95)
    t = times(torch.linspace(0, 1, 10001, dtype=torch.float64), lambda t: t, 0.0, 1.0).numpy()
    assert t[0] == pytest.approx(0, abs=1e-6)
    assert t[-1] == pytest.approx(1)
    deviation = 0.5 / norm.ppf(0.975)
    for quantile in (0.1, 0.3, 0.5, 0.8):
        inside = norm.cdf(quantile, 0.5, deviation) - 0.025
        assert np.mean(t < quantile) == pytest.approx(inside / 0.95, abs=2e-3)


@pytest.fixture(scope="module")
def adversarial_run(tmp_path_factory, debug_run):
    out = tmp_path_factory.mktemp("adversarial")
    common = [*PLUS_PLUS, f"data.cache={debug_run / 'cache'}"]
    recipes.train([*common, f"out={out / 'whole'}", f"export={out / 'model'}"])
    recipes.train([*common, f"out={out / 'broken'}", "+trainer.max_epochs=1"])
    recipes.train([*common, f"out={out / 'broken'}"])
    return out


def last(run):
    return torch.load(run / "weights" / "last.ckpt", weights_only=False)


def test_adversarial_run_counts_its_steps_once(adversarial_run):
    content = last(adversarial_run / "whole")
    assert content["global_step"] == 6
    for optimizer in content["optimizer_states"]:
        assert {int(state["step"]) for state in optimizer["state"].values()} == {6}


def test_every_parameter_is_trained_discriminators_and_decoupling_too(adversarial_run):
    config = composed(*PLUS_PLUS)
    content = last(adversarial_run / "whole")["current_model_state"]
    torch.manual_seed(0)
    model, objective = (hydra.utils.instantiate(part) for part in (config.model, config.objective))
    names = [f"model.{n}" for n, _ in model.named_parameters()]
    names += [f"objective.{n}" for n, _ in objective.named_parameters()]
    states = last(adversarial_run / "whole")["optimizer_states"]
    assert sum(len(state["state"]) for state in states) == len(names)
    moments = [value["exp_avg_sq"] for state in states for value in state["state"].values()]
    assert all(moment.abs().max() > 0 for moment in moments)
    assert set(names) <= set(content)
    assert any("of_periods" in name for name in names)
    assert any("head.conv" in name for name in names)


def test_resumed_adversarial_run_goes_on_as_the_unbroken_one(adversarial_run):
    whole, broken = last(adversarial_run / "whole"), last(adversarial_run / "broken")
    assert broken["global_step"] == 6
    for states in ("current_model_state", "state_dict"):
        for key, value in whole[states].items():
            torch.testing.assert_close(broken[states][key], value, atol=1e-5, rtol=1e-4, msg=key)


def test_exported_model_enhances(adversarial_run):
    enhancer = audio_enh.load(adversarial_run / "model", device="cpu")
    audio = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 0.1
    for steps in (0, 2):
        enhanced = enhancer.enhance(audio, 16000, steps=steps)
        assert enhanced.shape == audio.shape
        assert np.isfinite(enhanced).all()


@pytest.mark.parametrize(
    ("precision", "processes", "advice"), [("16-mixed", 1, "bf16-mixed"), ("32-true", 2, "devices=1")]
)
def test_what_adversarial_training_cannot_do_is_refused(precision, processes, advice):
    config = composed(*PLUS_PLUS)
    model, objective = (hydra.utils.instantiate(part) for part in (config.model, config.objective))
    task = hydra.utils.instantiate(config.task)(model, objective, **hydra.utils.instantiate(config.optim))
    task.trainer = SimpleNamespace(precision=precision, world_size=processes)
    with pytest.raises(UserError, match=advice):
        task.on_fit_start()


def on_damage(cache, *overrides):
    """Overrides: damage of the bundled speech."""
    others = ["noise", "valid_noise", "rooms", "valid_rooms", "talkers"]
    return (
        "experiment=universe_lite",
        *(f"~data.{name}.where" for name in ("speech", "valid_speech")),
        *(f"data.{name}.path='${{samples:clean}}'" for name in ("speech", "valid_speech")),
        *(f"data.{name}=null" for name in others),
        f"data.cache={cache}",
        *overrides,
    )


def test_damage_data_is_drawn_by_number(debug_run):
    data = hydra.utils.instantiate(composed(*on_damage(debug_run / "cache")).data)
    data.setup()
    item, again, other = data.train_set[3], data.train_set[3], data.train_set[4]
    for a, b in zip(item[:2], again[:2], strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.equal(item.clean, other.clean)
    assert item.noisy.shape == item.clean.shape == (32000,)
    assert not torch.equal(item.noisy, item.clean)
    assert 20 * float(item.clean.square().mean().sqrt().log10()) == pytest.approx(-26, abs=0.1)


def test_validation_takes_the_families_in_turn(debug_run):
    data = hydra.utils.instantiate(composed(*on_damage(debug_run / "cache")).data)
    data.setup()
    assert list(data.valid_groups) == [kind.replace(" ", "_") for kind in ROUND]
    done = []

    def noting(clean, sample_rate, rng, kind):
        done.append(damage(clean, sample_rate, rng, kind))
        return done[-1]

    damage = data.valid_set.damage
    data.valid_set.damage = noting
    for item in range(len(ROUND), 2 * len(ROUND)):
        data.valid_set[item]
    families = [[applied.family for applied in item.record] for item in done]
    assert families[:-2] == [[kind] for kind in ROUND if kind != CHAIN]
    done.clear()
    for item in range(5 * len(ROUND)):
        if ROUND[item % len(ROUND)] == CHAIN:
            data.valid_set[item]
    assert {len(item.record) for item in done} >= {1, 2}


def test_validation_has_scores_of_each_family(debug_run, tmp_path):
    recipes.train(
        on_damage(
            debug_run / "cache",
            *SMALL,
            "model.steps=1",
            "data.seconds=0.5",
            "data.valid_items=3",
            "data.steps_per_epoch=2",
            "data.workers=0",
            "data.batch_size=2",
            "trainer=debug",
            "trainer.max_steps=2",
            "optim.warmup_steps=1",
            f"out={tmp_path}",
        )
    )
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()

    def value(tag):
        (event,) = events.Scalars(f"valid/{tag}")
        return event.value

    tags = {tag for tag in events.Tags()["scalars"] if tag.startswith("valid/")}
    names, families = ("pesq", "stoi", "si_sdr", "dnsmos_ovrl"), ("band_limiting", "codecs", "distortion")
    # An item may lack a score: a stretch of little speech has no STOI.
    of_items = {f"valid/{name}/{family}" for name in names for family in families}
    assert tags - of_items == {f"valid/{name}" for name in (*names, "loss", "quality", "unscored")}
    assert {f"valid/dnsmos_ovrl/{family}" for family in families} <= tags
    for name in names:
        scored = [family for family in families if f"valid/{name}/{family}" in tags]
        assert np.mean([value(f"{name}/{family}") for family in scored]) == pytest.approx(
            value(name), rel=1e-5
        )
    assert 1 <= value("dnsmos_ovrl") <= 5
