"""A causal model exported to ONNX, run by ONNX Runtime on the CPU. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import CheckpointError, DependencyError

Audio = NDArray[np.float32]

#: What the graph's inputs and outputs are called; the states are numbered.
INPUT, OUTPUT, STATE, NEW_STATE = "audio", "output", "state_{}", "new_state_{}"
PREFIX = "audio_enh."
FORMAT = 1


@dataclass(frozen=True)
class Metadata:
    """What an exported file says about its model; integers in samples, see `CausalModel`."""

    model: str
    sample_rate: int
    hop_length: int
    delay: int
    latency: int
    weights_sha256: str
    quantized: str = ""

    def to_dict(self) -> dict[str, str]:
        """As the strings that an ONNX file holds."""
        values = {PREFIX + key: str(value) for key, value in vars(self).items()}
        return {PREFIX + "format": str(FORMAT), **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, str], source: Path) -> Metadata:
        """The reverse.

        Raises:
            CheckpointError: something is missing: the file is not of this program.
        """
        if values.get(PREFIX + "format") != str(FORMAT):
            raise CheckpointError(
                f"{source} was not made by this version of `audio-enh export`: make it anew"
            )
        text = {key: values.get(PREFIX + key, "") for key in cls.__dataclass_fields__}
        try:
            numbers = {key: int(text.pop(key)) for key in ("sample_rate", "hop_length", "delay", "latency")}
        except ValueError as error:
            raise CheckpointError(f"{source}: its metadata are damaged: export it anew") from error
        return cls(**text, **numbers)  # type: ignore[arg-type]


class OnnxBackend:
    """See `Backend`.

    Inputs, outputs and the two sets of state buffers, between which steps alternate, are bound once; a step
    allocates nothing of ours.

    Args:
        path: a file made by ``audio-enh export``.
        batch: streams side by side. A file exported for a fixed batch is run as often as needed for each hop.
        threads: of one step.

    Raises:
        CheckpointError: the file is missing, damaged or not ours, or its fixed batch does not divide ``batch``.
        DependencyError: onnxruntime is not installed.
    """

    name = "onnx"

    def __init__(self, path: str | Path, batch: int = 1, *, threads: int = 1):
        path = Path(path)
        self._session = _open_session(path, batch, threads)
        self.metadata = Metadata.from_dict(self._session.get_modelmeta().custom_metadata_map, path)
        self.sample_rate = self.metadata.sample_rate
        self.hop_length = self.metadata.hop_length
        self.delay = self.metadata.delay
        self.latency = self.metadata.latency
        self.batch = batch

        shapes = {node.name: node.shape for node in self._session.get_inputs()}
        fixed = shapes[INPUT][0]
        group = fixed if isinstance(fixed, int) else batch
        if batch % group:
            raise CheckpointError(
                f"{path} is for {group} streams at a time, which does not divide {batch}: "
                "export it with --batch dynamic or another number"
            )
        self._input = np.zeros((batch, self.hop_length), np.float32)
        self._output = np.zeros((batch, self.hop_length), np.float32)
        states = [np.zeros((batch, *shapes[STATE.format(i)][1:]), np.float32) for i in range(len(shapes) - 1)]
        self._states = (states, [state.copy() for state in states])
        rows = [slice(start, start + group) for start in range(0, batch, group)]
        self._bindings = [
            [self._bind(row, self._states[turn], self._states[1 - turn]) for row in rows] for turn in (0, 1)
        ]
        self._turn = 0

    def step(self, audio: Audio) -> Audio:
        """See `Backend`."""
        self._input[:] = audio
        for binding in self._bindings[self._turn]:
            self._session.run_with_iobinding(binding)
        self._turn = 1 - self._turn
        return self._output

    def reset(self, row: int | None = None) -> None:
        """See `Backend`. `export` has made sure that states start from zero."""
        for state in self._states[self._turn]:
            state[slice(None) if row is None else row] = 0

    def _bind(self, rows: slice, old: list[Audio], new: list[Audio]) -> Any:
        binding = self._session.io_binding()
        inputs = {INPUT: self._input, **{STATE.format(i): state for i, state in enumerate(old)}}
        outputs = {OUTPUT: self._output, **{NEW_STATE.format(i): state for i, state in enumerate(new)}}
        for arrays, bind in ((inputs, binding.bind_input), (outputs, binding.bind_output)):
            for name, array in arrays.items():
                part = array[rows]
                bind(name, "cpu", 0, np.float32, part.shape, part.ctypes.data)
        return binding


def read_metadata(path: Path) -> Metadata:
    """The metadata of an exported file.

    Raises:
        CheckpointError: as `OnnxBackend`.
    """
    session = _open_session(path, batch=1, threads=1, optimize=False)
    return Metadata.from_dict(session.get_modelmeta().custom_metadata_map, path)


def _open_session(path: Path, batch: int, threads: int, optimize: bool = True) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError.missing("the onnx backend", "onnxruntime", "live") from error
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: make it with `audio-enh export`")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait for the next frame by spinning would take the core from the sound server.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A state that dies away into numbers too small for the processor's fast path would cost twice the time.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.add_free_dimension_override_by_name("batch", batch)
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime's exceptions have no common base of their own.
        detail = " ".join(str(error).split())
        raise CheckpointError(f"ONNX Runtime cannot read {path}: {detail}; export it anew") from error
