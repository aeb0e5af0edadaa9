"""A causal model in PyTorch, one hop at a time: traced on the CPU, as a CUDA graph on a GPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audio_enh.models.base import CausalModel, State

Audio = NDArray[np.float32]
Step = Callable[[Tensor, State], tuple[Tensor, State]]


class TorchBackend:
    """See `Backend`.

    A frame is so small that what PyTorch does around the arithmetic costs as much as the arithmetic. On the CPU
    the step is therefore traced and frozen, which also folds the normalisations into the convolutions; on CUDA it
    is captured once as a graph on static buffers and replayed, one launch per hop. Elsewhere (MPS) it runs as it
    is.

    Args:
        model: in evaluation mode, on its device; it is not changed.
        batch: streams side by side.
        threads: of one step, on the CPU; what the rest of the program uses stays as it is.
        optimize: False runs the model's own ``step``.
    """

    name = "torch"

    def __init__(self, model: CausalModel, batch: int = 1, *, threads: int = 1, optimize: bool = True):
        self.sample_rate = model.sample_rate
        self.hop_length = model.hop_length
        self.delay = model.delay
        self.latency = model.latency
        self.batch = batch
        with torch.inference_mode():
            self._initial = model.init_state(1)
        self.device = self._initial[0].device
        if optimize and self.device.type == "cuda":
            with torch.inference_mode():
                self._runner: _Runner | _GraphRunner = _GraphRunner(model, batch)
        elif optimize and self.device.type == "cpu":
            with _threads(threads):
                self._runner = _Runner(traced_step(model, batch), model, batch)
        else:
            self._runner = _Runner(model.step, model, batch)
        self._thread_count = threads

    def step(self, audio: Audio) -> Audio:
        """See `Backend`."""
        with torch.inference_mode(), _threads(self._thread_count), _no_denormals():
            return self._runner(audio)

    def reset(self, row: int | None = None) -> None:
        """See `Backend`."""
        with torch.inference_mode():
            self._runner.reset(self._initial, row)


class _Runner:
    """Steps with a state that is replaced each time."""

    def __init__(self, step: Step, model: CausalModel, batch: int):
        self._step = step
        with torch.inference_mode():
            self.state = model.init_state(batch)
        self._device = self.state[0].device

    def __call__(self, audio: Audio) -> Audio:
        # A copy, for the state may be a view of what goes in.
        output, self.state = self._step(torch.tensor(audio, device=self._device), self.state)
        return output.cpu().numpy()

    def reset(self, initial: State, row: int | None) -> None:
        # New tensors: those there are may share memory.
        self.state = tuple(state.clone() for state in self.state)
        for state, first in zip(self.state, initial, strict=True):
            state[slice(None) if row is None else row] = first if row is None else first[0]


class StaticStep:
    """The step on buffers that stay where they are, as a graph needs them.

    Args:
        model: on its device.
        batch: streams side by side.
    """

    def __init__(self, model: CausalModel, batch: int):
        self._step = model.step
        self.state = tuple(state.clone() for state in model.init_state(batch))
        self.input = self.state[0].new_zeros(batch, model.hop_length)
        self.output = self.input

    def advance(self) -> None:
        """``input`` and ``state`` to ``output`` and, in place, ``state``."""
        self.output, new = self._step(self.input, self.state)
        # All copied out before the first is overwritten: new ones may be views of old ones.
        copies = [state.clone() for state in new]
        for state, value in zip(self.state, copies, strict=True):
            state.copy_(value)

    def reset(self, initial: State, row: int | None) -> None:
        """Start one stream, or all, anew from the state of one stream."""
        for state, first in zip(self.state, initial, strict=True):
            state[slice(None) if row is None else row].copy_(first if row is None else first[0])


class _GraphRunner:
    """A `StaticStep` captured as one CUDA graph."""

    def __init__(self, model: CausalModel, batch: int):
        self._static = StaticStep(model, batch)
        device = self._static.input.device
        self._host_input = torch.zeros(self._static.input.shape, pin_memory=True)
        self._host_output = torch.zeros(self._static.input.shape, pin_memory=True)
        self._stream = torch.cuda.Stream(device)
        initial = model.init_state(1)
        # Full precision, so that a GPU gives what a CPU gives; the frames are too small to gain from less.
        with (
            torch.cuda.device(device),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            _full_precision_products(),
        ):
            # Libraries choose their kernels and set up their workspaces in the first calls, not in a capture.
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(3):
                    self._static.advance()
            self._stream.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._static.advance()
            self.reset(initial, None)

    def __call__(self, audio: Audio) -> Audio:
        self._host_input.numpy()[:] = audio
        with torch.cuda.stream(self._stream):
            self._static.input.copy_(self._host_input, non_blocking=True)
            self._graph.replay()
            self._host_output.copy_(self._static.output, non_blocking=True)
        self._stream.synchronize()
        return self._host_output.numpy()

    def reset(self, initial: State, row: int | None) -> None:
        with torch.cuda.stream(self._stream):
            self._static.reset(initial, row)
        self._stream.synchronize()


class StepModule(nn.Module):
    """``step`` with the state as separate arguments and results, for tracing and export."""

    def __init__(self, model: CausalModel):
        super().__init__()
        self.model = model

    def forward(self, audio: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        output, new = self.model.step(audio, state)
        return (output, *new)


def traced_step(model: CausalModel, batch: int) -> Step:
    """The model's ``step`` for one hop, traced and frozen; the model's own where that gives other numbers."""
    generator = torch.Generator().manual_seed(0)
    hops = [0.1 * torch.randn(batch, model.hop_length, generator=generator) for _ in range(12)]
    with warnings.catch_warnings(), torch.no_grad():
        # It warns of every decision that depends on a shape (ours are fixed), and that it is no longer developed.
        warnings.simplefilter("ignore")
        state = model.init_state(batch)
        module = torch.jit.trace(StepModule(model).eval(), (hops[0], *state), check_trace=False)
        module = torch.jit.freeze(module)

    def step(audio: Tensor, state: State) -> tuple[Tensor, State]:
        output, *new = module(audio, *state)
        return output, tuple(new)

    with torch.inference_mode():
        theirs = ours = model.init_state(batch)
        for hop in hops:  # which also lets the optimiser of the trace finish
            expected, theirs = model.step(hop, theirs)
            found, ours = step(hop, ours)
            if not torch.allclose(found, expected, atol=1e-5, rtol=1e-4):
                return model.step
    return step


@contextmanager
def _no_denormals() -> Iterator[None]:
    """Numbers too small for the processor's fast path are 0 meanwhile, on this thread."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _full_precision_products() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
