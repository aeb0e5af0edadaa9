"""Demucs for speech: a U-Net on the waveform with an LSTM at the bottom, offline.

Defossez, Synnaeve, Adi, "Real time speech enhancement in the waveform domain", Interspeech 2020,
https://arxiv.org/abs/2006.12847. `CausalDemucs` is the same network on a live signal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_enh.errors import CheckpointError
from audio_enh.models.base import EnhancementModel
from audio_enh.models.demucs.sinc import Downsample2, Upsample2
from audio_enh.models.level import RunningLevel

Normalize = Literal["none", "utterance", "running"]


class Encoder(nn.Module):
    """One level down: strided convolution, ReLU, 1x1 convolution, GLU (or ReLU)."""

    def __init__(self, channels_in: int, channels: int, kernel_size: int, stride: int, glu: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels, kernel_size, stride)
        self.pointwise = nn.Conv1d(channels, 2 * channels if glu else channels, 1)
        self.glu = glu

    def forward(self, x: Tensor) -> Tensor:
        return self.after_conv(self.conv(x))

    def after_conv(self, x: Tensor) -> Tensor:
        return _gate(self.pointwise(F.relu(x)), self.glu)


class Decoder(nn.Module):
    """One level up: 1x1 convolution, GLU (or ReLU), transposed convolution, ReLU except at the last level."""

    def __init__(
        self, channels: int, channels_out: int, kernel_size: int, stride: int, glu: bool, last: bool
    ) -> None:
        super().__init__()
        self.pointwise = nn.Conv1d(channels, 2 * channels if glu else channels, 1)
        self.conv = nn.ConvTranspose1d(channels, channels_out, kernel_size, stride)
        self.glu = glu
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.after_conv(self.conv(self.before_conv(x)))

    def before_conv(self, x: Tensor) -> Tensor:
        return _gate(self.pointwise(x), self.glu)

    def after_conv(self, x: Tensor) -> Tensor:
        return x if self.last else F.relu(x)


def _gate(x: Tensor, glu: bool) -> Tensor:
    return F.glu(x, dim=1) if glu else F.relu(x)


class Demucs(EnhancementModel):
    """The waveform U-Net of Defossez et al. 2020, any variant of it, on whole signals.

    The signal is scaled to unit level, padded with zeros to a length that every convolution divides
    (`valid_length`), sampled up, encoded, run through the LSTM, decoded with the encoder's outputs added
    level by level, sampled down, cut and scaled back. The defaults are the paper's H=48 model (18,867,937
    parameters).

    Args:
        sample_rate: in Hz; the paper's is 16000.
        hidden: channels of the first level.
        depth: levels of the U-Net.
        kernel_size, stride: of the (transposed) convolutions; ``kernel_size >= stride``.
        resample: 1, 2 or 4: the network works at so many times ``sample_rate``.
        growth: level ``i + 1`` has ``growth`` times the channels of level ``i``, rounded down,
        max_hidden: but not more than this.
        glu: gated linear units after the 1x1 convolutions, otherwise ReLU.
        normalize: what the input's level is divided, and the output multiplied by: ``"utterance"``, the
            standard deviation of the whole signal (the paper's; looks ahead to the end); ``"running"``, the
            causal level of `RunningLevel`; or ``"none"``.
        time_constant: of the running level, in seconds.
        causal: a one-directional LSTM; otherwise a bidirectional one and a linear layer.
        lstm_layers: layers of the LSTM.
        rescale: at initialisation, the parameters of every convolution are divided by the square root of the
            weights' standard deviation over this; 0 leaves them as they are.

    Raises:
        ValueError: for arguments out of range.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        hidden: int = 48,
        depth: int = 5,
        kernel_size: int = 8,
        stride: int = 4,
        resample: int = 4,
        growth: float = 2.0,
        max_hidden: int = 10_000,
        glu: bool = True,
        normalize: Normalize = "utterance",
        time_constant: float = 1.0,
        causal: bool = True,
        lstm_layers: int = 2,
        rescale: float = 0.1,
    ) -> None:
        super().__init__()
        if resample not in (1, 2, 4):
            raise ValueError(f"resample must be 1, 2 or 4, not {resample}")
        if not 1 <= stride <= kernel_size:
            raise ValueError(f"need 1 <= stride <= kernel_size, not {stride} and {kernel_size}")
        if min(hidden, max_hidden, depth, lstm_layers, sample_rate) < 1:
            raise ValueError("hidden, max_hidden, depth, lstm_layers and sample_rate must be at least 1")
        if normalize not in get_args(Normalize):
            raise ValueError(f"normalize must be one of {get_args(Normalize)}, not {normalize!r}")
        self.sample_rate = sample_rate
        self.depth = depth
        self.kernel_size = kernel_size
        self.stride = stride
        self.resample = resample
        self.normalize = normalize
        self.floor = 1e-3

        self.encoder = nn.ModuleList()
        decoders: list[nn.Module] = []
        below, channels = 1, hidden
        for level in range(depth):
            self.encoder.append(Encoder(below, channels, kernel_size, stride, glu))
            decoders.append(Decoder(channels, below, kernel_size, stride, glu, last=level == 0))
            below, channels = channels, min(int(growth * channels), max_hidden)
        self.decoder = nn.ModuleList(reversed(decoders))
        self.lstm = nn.LSTM(below, below, lstm_layers, batch_first=True, bidirectional=not causal)
        self.linear = nn.Identity() if causal else nn.Linear(2 * below, below)

        doublings = resample.bit_length() - 1
        self.upsample = nn.ModuleList(Upsample2() for _ in range(doublings))
        self.downsample = nn.ModuleList(Downsample2() for _ in range(doublings))
        # A hop is what one frame of the LSTM advances by; also where that is not a whole number of samples
        # (then the network cannot be streamed), the level is tracked at about that pace.
        self.running_level = (
            RunningLevel(math.ceil(stride**depth / resample), sample_rate, time_constant)
            if normalize == "running"
            else None
        )
        if rescale:
            _rescale(self, rescale)

    # nn.ModuleList has no element type.
    @property
    def _encoders(self) -> list[Encoder]:
        return cast(list[Encoder], list(self.encoder))

    @property
    def _decoders(self) -> list[Decoder]:
        return cast(list[Decoder], list(self.decoder))

    @property
    def _upsamplers(self) -> list[Upsample2]:
        return cast(list[Upsample2], list(self.upsample))

    @property
    def _downsamplers(self) -> list[Downsample2]:
        return cast(list[Downsample2], list(self.downsample))

    def forward(self, audio: Tensor) -> Tensor:
        samples = audio.shape[-1]
        if samples == 0:
            return audio.clone()
        if self.normalize != "none":
            level = self._level(audio)
            audio = audio / (level + self.floor)
        x = F.pad(audio, (0, self.valid_length(samples) - samples))
        for upsample in self.upsample:
            x = upsample(x)
        x = self._unet(x.unsqueeze(1)).squeeze(1)
        for downsample in self.downsample:
            x = downsample(x)
        x = x[:, :samples]
        return x if self.normalize == "none" else x * level

    def valid_length(self, samples: int) -> int:
        """The length a signal of ``samples`` is padded to.

        It is the shortest one for which, at the network's rate, all convolutions fit without remainder,
        divided by ``resample`` and rounded up to whole samples.
        """
        length = samples * self.resample
        for _ in range(self.depth):
            length = math.ceil((length - self.kernel_size) / self.stride) + 1
        length = max(length, 1)
        for _ in range(self.depth):
            length = (length - 1) * self.stride + self.kernel_size
        return math.ceil(length / self.resample)

    def _level(self, audio: Tensor) -> Tensor:
        """What the audio is divided by: ``(batch, 1)`` or ``(batch, samples)``."""
        if self.running_level is not None:
            return self.running_level(audio)
        # The unbiased estimate, which a single sample has none of.
        return audio.std(dim=-1, keepdim=True, correction=min(1, audio.shape[-1] - 1))

    def _unet(self, x: Tensor) -> Tensor:
        skips = []
        for encoder in self.encoder:
            x = encoder(x)
            skips.append(x)
        x = self.linear(self.lstm(x.transpose(1, 2))[0]).transpose(1, 2)
        for decoder in self.decoder:
            # Rounding up in `valid_length` can leave an encoder one frame more than the next level takes in.
            x = decoder(x + skips.pop()[..., : x.shape[-1]])
        return x

    @classmethod
    def from_reference(cls, state_dict: Mapping[str, Tensor], kwargs: Mapping[str, Any]) -> Demucs:
        """Build the model from weights trained with the paper's public code.

        Args:
            state_dict: tensors under that code's names (``encoder.0.0.weight``, ``lstm.lstm.weight_ih_l0``).
            kwargs: the arguments its ``Demucs`` was constructed with, as its checkpoints hold them; what is
                left out has its default there.

        Raises:
            CheckpointError: an argument or tensor is unknown, missing, or has the wrong shape; it is named.
        """
        model = cls(**reference_arguments(kwargs))
        model.load_reference_state_dict(state_dict)
        return model

    def load_reference_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Load weights that go by the names of the paper's public code; see `from_reference`."""
        own = self.state_dict()
        names = {_reference_name(name): name for name in own}
        missing, unknown = names.keys() - state_dict.keys(), state_dict.keys() - names.keys()
        if missing or unknown:
            what = [f"{kind} {', '.join(sorted(keys))}" for kind, keys in
                    (("missing", missing), ("unknown", unknown)) if keys]  # fmt: skip
            raise CheckpointError(f"the weights do not fit this Demucs: {'; '.join(what)}")
        for theirs, ours in names.items():
            if state_dict[theirs].shape != own[ours].shape:
                raise CheckpointError(
                    f"the weights do not fit this Demucs: {theirs} has shape "
                    f"{tuple(state_dict[theirs].shape)}, not {tuple(own[ours].shape)}"
                )
        self.load_state_dict({ours: state_dict[theirs] for theirs, ours in names.items()})


def reference_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `Demucs` for those of the public reference implementation.

    They are the same but for ``normalize``, a bool there, and what is fixed here: one channel in and out, and
    a floor of 1e-3 under the level.

    Raises:
        CheckpointError: an argument is unknown, or asks for what `Demucs` has not.
    """
    arguments: dict[str, Any] = {
        "sample_rate": 16000, "hidden": 48, "depth": 5, "kernel_size": 8, "stride": 4, "causal": True,
        "resample": 4, "growth": 2, "max_hidden": 10_000, "normalize": True, "glu": True, "rescale": 0.1,
    }  # fmt: skip
    fixed = {"chin": 1, "chout": 1, "floor": 1e-3}
    for name, value in kwargs.items():
        if name in fixed and value != fixed[name]:
            raise CheckpointError(f"Demucs has no {name}={value} here, only {name}={fixed[name]}")
        if name not in arguments and name not in fixed:
            raise CheckpointError(f"unknown argument {name!r} of the reference Demucs")
        if name in arguments:
            arguments[name] = value
    arguments["normalize"] = "utterance" if arguments["normalize"] else "none"
    return arguments


def _reference_name(name: str) -> str:
    """The reference's name of one of our tensors: it numbers the layers of a level, ReLUs included."""
    module, _, rest = name.partition(".")
    if module in ("lstm", "linear"):
        return f"lstm.{name}"
    level, layer, parameter = rest.split(".")
    first = "conv" if module == "encoder" else "pointwise"
    return f"{module}.{level}.{0 if layer == first else 2}.{parameter}"


@torch.no_grad()
def _rescale(model: nn.Module, reference: float) -> None:
    """Defossez et al., "Music source separation in the waveform domain", section 4.3: bring the standard
    deviation of each convolution's weights, ``std``, to ``sqrt(std * reference)``."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            scale = (module.weight.std() / reference).sqrt()
            for parameter in module.parameters():
                parameter.div_(scale)
