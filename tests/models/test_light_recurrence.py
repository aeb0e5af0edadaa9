"""The light recurrence against its definition, step by step."""

import torch

from audio_enh.models.light_recurrence import LightRecurrence


def by_definition(unit, x, state):
    outputs = []
    for frame in x.unbind(1):
        keep, value, gate = unit.gates(frame).chunk(3, dim=2)
        state = keep.sigmoid() * state + (1 - keep.sigmoid()) * value
        outputs.append(state * gate)
    return torch.stack(outputs, dim=1), state


def example():
    torch.manual_seed(0)
    unit = LightRecurrence(5)
    x = torch.randn(2, 7, 3, 5, requires_grad=True)
    state = torch.randn(2, 3, 5, requires_grad=True)
    return unit, x, state


def test_all_at_once_and_frame_by_frame_are_the_definition():
    unit, x, state = example()
    out, last = unit(x, state)
    expected, expected_last = by_definition(unit, x, state)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(last, expected_last)
    pieces, now = [], state
    for frame in x.split(1, dim=1):
        piece, now = unit(frame, now)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, dim=1), expected)
    torch.testing.assert_close(now, expected_last)


def test_gradients_are_those_of_the_definition():
    unit, x, state = example()
    wanted = (x, state, unit.gates.weight, unit.gates.bias)
    gradients = []
    for function in (unit, lambda *args: by_definition(unit, *args)):
        out, last = function(x, state)
        value = (out * torch.arange(7.0)[:, None, None]).sin().sum() + last.cos().sum()
        gradients.append(torch.autograd.grad(value, wanted))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_half_precision_around_it_is_single_precision_inside():
    unit, x, state = example()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, last = unit(x, state)
        out.float().sum().backward()
    assert last.dtype == torch.float32
    torch.testing.assert_close(out.float(), by_definition(unit, x, state)[0], atol=0.1, rtol=0.1)
    assert x.grad is not None
