"""The GRU that reads from both ends at once is PyTorch's."""

import pytest
import torch
from torch import nn

from audio_enh.models.universe.gru import BidirectionalGRU


@pytest.mark.parametrize(("layers", "frames"), [(1, 7), (2, 7), (2, 1)])
def test_values_and_gradients_are_those_of_pytorch(layers: int, frames: int) -> None:
    torch.manual_seed(0)
    ours = BidirectionalGRU(6, 5, layers)
    theirs = nn.GRU(6, 5, layers, batch_first=True, bidirectional=True)
    theirs.load_state_dict(ours.state_dict())
    inputs = [torch.linspace(-2, 2, 3 * frames * 6).reshape(3, frames, 6).requires_grad_() for _ in range(2)]
    found, expected = ours.read(inputs[0]), theirs(inputs[1])[0]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    weight = torch.randn_like(expected)
    for out in (found, expected):
        (out * weight).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-5, rtol=1e-4)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad, atol=1e-5, rtol=1e-4)


def test_half_precision_stays_outside() -> None:
    """Rounding would add up from frame to frame."""
    torch.manual_seed(0)
    gru = BidirectionalGRU(6, 5)
    x = torch.randn(2, 9, 6)
    with torch.autocast("cpu", torch.bfloat16):
        out = gru.read(x)
    out.sum().backward()
    torch.testing.assert_close(out.float(), gru.read(x), atol=0.02, rtol=0)
