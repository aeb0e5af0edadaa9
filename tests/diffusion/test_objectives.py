"""Objectives: zero for a model that knows the answer, right in size for one that is wrong by a known amount."""

import pytest
import torch
from torch import nn

from audio_enh.diffusion.objectives import DataPrediction, Debiasing, Denoising, FlowMatching, ScoreMatching
from audio_enh.diffusion.sdes import OUVE, SBVE, Flow
from audio_enh.diffusion.training_states import TrainingStates
from audio_enh.losses import WaveformL1Loss, WeightedLoss
from tests.diffusion.toys import Oracle, batch

CASES = [
    (ScoreMatching, OUVE()),
    (ScoreMatching, SBVE()),
    (Denoising, OUVE()),
    (DataPrediction, SBVE()),
    (DataPrediction, OUVE()),
    (FlowMatching, Flow()),
]


def states(**arguments):
    return TrainingStates(t_max=0.95, **arguments)


@pytest.mark.parametrize(("objective", "process"), CASES)
@pytest.mark.parametrize("switches", [{}, {"own": 1.0}, {"assign": True}])
def test_zero_for_a_model_that_knows_the_answer(objective, process, switches):
    loss = objective(states=states(**switches))
    total, _ = loss(Oracle(process), batch())
    assert float(total.detach()) == pytest.approx(0, abs=1e-5)
    wrong, _ = loss(Oracle(process, 0.5), batch())
    assert float(wrong) > 1e-3


@pytest.mark.parametrize(("objective", "process"), CASES)
def test_loss_of_a_batch_is_the_mean_over_its_items(objective, process):
    """Each item weighted by its own time: the weight of one must not multiply the others."""
    loss = objective(states=states(), debiasing=Debiasing())
    model = Oracle(process, 0.3)
    together, _ = loss(model, batch(7, 4))
    each = [float(loss(model, batch(7 + i, 1))[0]) for i in range(4)]
    assert float(together) == pytest.approx(sum(each) / 4, rel=1e-4)


def test_score_matching_by_hand():
    """Half the squared error of the noise, summed over coefficients: here of an estimate wrong by 0.3 in each."""
    process, model, items = OUVE(), Oracle(OUVE(), 0.3), batch(0, 1)
    loss = ScoreMatching(states=states())
    total, _ = loss(model, items)
    y, x0, _ = model.analyse(items.noisy, items.clean)
    t = loss.states(process, model.denoise, x0, y, items.item).t
    expected = 0.5 * 50 * (torch.exp(-1.5 * t) * 0.3 / process.std(t)) ** 2
    assert float(total) == pytest.approx(float(expected), rel=1e-3)


def test_denoising_weights_are_those_of_karras():
    process, model, items = OUVE(), Oracle(OUVE(), 0.3), batch(0, 1)
    loss = Denoising(sigma_data=0.2, states=states())
    total, _ = loss(model, items)
    y, x0, _ = model.analyse(items.noisy, items.clean)
    t = loss.states(process, model.denoise, x0, y, items.item).t
    sigma = process.std(t)
    weight = (sigma**2 + 0.2**2) / (sigma * 0.2) ** 2
    expected = 0.5 * weight * 50 * (torch.exp(-1.5 * t) * 0.3) ** 2
    assert float(total) == pytest.approx(float(expected), rel=1e-3)


def test_data_prediction_adds_the_waveform():
    waveform = WeightedLoss({"l1": WaveformL1Loss()}, {"l1": 2.0}, normalise=False)
    loss = DataPrediction(waveform, weight=3.0, states=states())
    total, parts = loss(Oracle(SBVE(), 0.3), batch())
    assert float(total) == pytest.approx(0.5 * 3 * 0.3**2 + 2 * 0.3, rel=1e-4)
    assert float(parts["l1"]) == pytest.approx(0.3, rel=1e-4)


def test_flow_target_is_noisy_minus_clean():
    class Constant(Oracle):
        def velocity(self, x_t, y, t):
            clean = torch.stack([self.clean[tuple(row.flatten().tolist())] for row in y])
            return y - clean

    total, _ = FlowMatching(states=states())(Constant(Flow()), batch())
    assert float(total) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("process", [OUVE(), SBVE()])
def test_own_states_are_where_the_models_error_leads(process):
    """Li and van der Schaar 2024: what is trained on carries the error of the step before, the target does not."""
    model, items = Oracle(process, 0.5), batch()
    y, x0, _ = model.analyse(items.noisy, items.clean)
    plain, own = (states(own=part)(process, model.denoise, x0, y, items.item) for part in (0.0, 1.0))
    assert torch.equal(plain.t, own.t)
    assert not torch.isclose(plain.x_t, own.x_t).any()
    rebuilt = process.mean(x0, y, own.t) + process.std(own.t)[:, None, None] * own.z
    torch.testing.assert_close(rebuilt, own.x_t)
    some = states(own=0.5)(process, model.denoise, x0, y, items.item)
    kinds = [torch.equal(a, b) for a, b in zip(some.x_t, plain.x_t, strict=True)]
    assert 0 < sum(kinds) < len(kinds)


def test_input_perturbation_is_seen_but_not_the_target():
    """Ning et al. 2023: the state has the variance of z + 0.5 z', the target is z."""
    process, items = OUVE(), batch(0, 60, 400)
    items.noisy, items.clean = torch.zeros(60, 400), torch.zeros(60, 400)
    x0 = torch.zeros(60, 1, 400, dtype=torch.complex64)
    maker = states(perturbation=0.5)
    state = maker(process, None, x0, x0, items.item)
    seen = state.x_t / process.std(state.t)[:, None, None]
    assert float(seen.abs().square().mean()) == pytest.approx(1 + 0.5**2, rel=0.02)
    assert float(state.z.abs().square().mean()) == pytest.approx(1, rel=0.02)
    calm = maker.eval()(process, None, x0, x0, items.item)
    torch.testing.assert_close(calm.x_t / process.std(calm.t)[:, None, None], calm.z)


def test_debiasing_weights():
    """Yu et al. 2024: 1 / sqrt(SNR) on the noise's error, sqrt(SNR) on the clean estimate's; 1 on average."""
    process, t = OUVE(), torch.linspace(0.1, 0.9, 9)
    root_snr = torch.exp(-1.5 * t) / process.std(t)
    of_noise, of_clean = (Debiasing(limit=100)(process, t, (0.03, 1.0), kind) for kind in (False, True))
    torch.testing.assert_close(of_noise * root_snr, (of_noise * root_snr)[:1].expand(9))
    torch.testing.assert_close(of_clean / root_snr, (of_clean / root_snr)[:1].expand(9))
    grid = torch.linspace(0.03, 1.0, 1000)
    for limit in (2.0, 100.0):
        assert float(Debiasing(limit)(process, grid, (0.03, 1.0), False).mean()) == pytest.approx(1, abs=0.01)
    assert float(Debiasing(2.0)(process, grid, (0.03, 1.0), False).max()) < 2.5
    assert Debiasing()(SBVE(), torch.tensor([0.03, 1.0]), (0.03, 1.0), True).isfinite().all()


@pytest.mark.parametrize("part", [0.0, 1.0])
def test_weights_get_their_gradient_under_autocast(part):
    """The pass without gradient for a model's own states leaves no cast weights behind for the one that has it."""

    class Net(Oracle):
        def __init__(self):
            super().__init__(SBVE())
            self.layer = nn.Linear(50, 50)

        def denoise(self, x_t, y, t):
            return torch.complex(self.layer(x_t.real).float(), self.layer(x_t.imag).float())

    model = Net()
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = DataPrediction(states=states(own=part))(model, batch())
    total.backward()
    assert model.layer.weight.grad is not None
    assert float(model.layer.weight.grad.abs().sum()) > 0


def test_switches_out_of_range_are_refused():
    with pytest.raises(ValueError, match="perturbation"):
        TrainingStates(perturbation=-1)
    with pytest.raises(ValueError, match="own"):
        TrainingStates(own=2)
