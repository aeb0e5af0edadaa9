"""What turns the condition network's features into its own estimate of the clean signal."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_enh.models.universe.blocks import PReLUConv


class Mixture(NamedTuple):
    """Normal mixtures, one for each of ``channels * frames`` values.

    Attributes:
        mean, sigma: ``(batch, components, channels, frames)``.
        logits: of the components' weights, ``(batch, components, 1, frames)`` or ``(batch, components, 1, 1)``.
    """

    mean: Tensor
    sigma: Tensor
    logits: Tensor

    def expectation(self) -> Tensor:
        """``(batch, channels, frames)``."""
        return (self.logits.softmax(dim=1) * self.mean).sum(dim=1)


class Head(nn.Module):
    """What all heads have: an estimate of the clean signal."""

    def estimate(self, features: Tensor, latent: Tensor, audio: Tensor) -> Tensor:
        """The estimate, ``(batch, 1, samples)``.

        Args:
            features: ``(batch, in_channels, samples)``.
            latent: ``(batch, latent_channels, frames)``.
            audio: the damaged signal, ``(batch, 1, samples)``.
        """
        return self(features).float()


class MixtureHead(Head):
    """Mixture density network (Bishop 1994) on features, as in UNIVERSE.

    Features are normalised by mean and variance over channels and frames together, so that no length is built in.

    Args:
        in_channels: of the features.
        channels: of what is described.
        components: of the mixtures.
        weights_by_frame: each frame has weights of its own; otherwise a signal has one set.
    """

    def __init__(self, in_channels: int, channels: int, components: int = 3, weights_by_frame: bool = True):
        super().__init__()
        self.channels = channels
        self.components = components
        self.weights_by_frame = weights_by_frame
        self.norm = nn.GroupNorm(1, in_channels)
        self.conv = PReLUConv(in_channels, 3 * components * channels, 3, weight_normalised=False)

    def forward(self, features: Tensor) -> Mixture:
        """``(batch, in_channels, frames)`` to mixtures."""
        out = self.conv(self.norm(features)).unflatten(1, (3, self.components, self.channels))
        mean, raw_sigma, raw_logits = out.float().unbind(dim=1)
        logits = raw_logits.mean(dim=2 if self.weights_by_frame else (2, 3), keepdim=True)
        # No component may get so unlikely that it learns nothing any more.
        return Mixture(mean, F.elu(raw_sigma) + (1 + 1e-5), logits.clamp(min=-10))

    def estimate(self, features: Tensor, latent: Tensor, audio: Tensor) -> Tensor:
        """See :class:`Head`: the mixtures' expectation."""
        return self(features).expectation()


class DecouplingHead(Head):
    """Snake without aliasing, then a convolution to one channel: the signal decoupling of UNIVERSE++.

    Args:
        in_channels: of the features.
    """

    def __init__(self, in_channels: int):
        super().__init__()
        self.snake = AliasFreeSnake(in_channels)
        self.conv = nn.Conv1d(in_channels, 1, 3, padding="same")

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, in_channels, samples)`` to ``(batch, 1, samples)``."""
        return self.conv(self.snake(features))


class MaskingHead(Head):
    """A complex mask on the damaged signal's spectrum, from the latent, plus a :class:`DecouplingHead`. Ours.

    At first the estimate is the damaged signal. What only has to be attenuated need not be made anew from features:
    short trainings get much further than with the other heads.

    Args:
        in_channels: of the features.
        latent_channels: of the latent representation.
        hop_length: samples per frame of it. Frames lie as those of the mel spectrogram, four hops long.
    """

    window: Tensor

    def __init__(self, in_channels: int, latent_channels: int, hop_length: int):
        super().__init__()
        self.hop_length = hop_length
        self.n_fft = 4 * hop_length
        self.mask = PReLUConv(latent_channels, 2 * (self.n_fft // 2 + 1), 3, weight_normalised=False)
        self.rest = DecouplingHead(in_channels)
        self.register_buffer("window", torch.hann_window(self.n_fft).sqrt(), persistent=False)
        assert self.rest.conv.bias is not None
        with torch.no_grad():
            for parameter in (*self.mask.conv.parameters(), *self.rest.conv.parameters()):
                parameter.mul_(0.01)

    def forward(self, features: Tensor, latent: Tensor, audio: Tensor) -> Tensor:
        """Features ``(batch, in_channels, samples)``, latent ``(batch, latent_channels, frames)`` and damaged signal
        ``(batch, 1, samples)`` to ``(batch, 1, samples)``."""
        change = self.mask(latent)
        rest = self.rest(features)
        with torch.autocast(audio.device.type, enabled=False):
            real, imaginary = change.float().transpose(1, 2).chunk(2, dim=2)
            around = self.n_fft - self.hop_length
            padded = F.pad(audio[:, 0].float(), (around // 2, around - around // 2))
            frames = padded.unfold(1, self.n_fft, self.hop_length) * self.window
            masked = torch.fft.irfft(torch.fft.rfft(frames) * torch.complex(1 + real, imaginary), self.n_fft)
            gain = self.window.square().expand(1, frames.shape[1], -1)
            masked = self._overlap(masked * self.window) / self._overlap(gain)
            return masked[:, None] + rest.float()

    def estimate(self, features: Tensor, latent: Tensor, audio: Tensor) -> Tensor:
        """See :class:`Head`."""
        return self(features, latent, audio)

    def _overlap(self, frames: Tensor) -> Tensor:
        """``(batch, frames, n_fft)`` added up, without what lies around the signal: ``(batch, samples)``."""
        hop, count = self.hop_length, frames.shape[1]
        parts = frames.unflatten(2, (4, hop))
        total = sum(F.pad(parts[:, :, i], (0, 0, i, 3 - i)) for i in range(4))
        assert isinstance(total, Tensor)
        before = (self.n_fft - hop) // 2
        return total.flatten(1)[:, before : before + count * hop]


class AliasFreeSnake(nn.Module):
    r"""The periodic activation ``x + sin^2(a x) / a`` of Ziyin et al. 2020 (arXiv 2006.08195) at twice the rate.

    At twice the rate the harmonics that it makes find room up to the old rate, and are filtered out on the way back
    (Lee et al. 2022, BigVGAN, arXiv 2206.04658). Both filters are windowed sincs.

    Args:
        channels: each has its ``a``, learnt by its logarithm.
    """

    up: Tensor
    down: Tensor

    # Frames that the filters make in one matrix product, from as many and those that the taps reach.
    block = 16

    def __init__(self, channels: int):
        super().__init__()
        self.log_alpha = nn.Parameter(torch.zeros(channels))
        # Even output samples of the interpolation lie on input samples, odd ones between two.
        reach = torch.arange(-7, 9, dtype=torch.float64)
        interpolation = torch.stack([_low_pass(reach - k / 2, 1) for k in (0, 1)])
        decimation = _low_pass(torch.arange(-13, 14, dtype=torch.float64), 2)[None]
        self.register_buffer("up", _shifted(interpolation, self.block, 1), persistent=False)
        self.register_buffer("down", _shifted(decimation, self.block, 2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, samples)`` to the same."""
        samples = x.shape[2]
        rest = -samples % self.block
        around = F.pad(x, (7, 8 + rest)).unfold(2, self.up.shape[0], self.block)
        doubled = _Snake.apply((around @ self.up.to(x.dtype)).flatten(2), self.log_alpha)
        if rest:  # what is beyond the end does not count
            doubled = doubled[..., : 2 * samples]
        around = F.pad(doubled, (13, 13 + 2 * rest)).unfold(2, self.down.shape[0], 2 * self.block)
        return (around @ self.down.to(doubled.dtype)).flatten(2)[..., :samples]


class _Snake(torch.autograd.Function):
    """The activation and its gradient in as few passes over memory as may be."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, log_alpha: Tensor) -> Tensor:
        alpha = log_alpha.exp()[:, None]
        y = (alpha * x).sin_().square_().div_(alpha).add_(x)
        ctx.save_for_backward(x, y, alpha)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, y, alpha = ctx.saved_tensors
        # dy/dx = 1 + sin(2 a x); dy/d(log a) = x sin(2 a x) - sin^2(a x) / a = x dy/dx - y
        of_x = (2 * alpha * x).sin_().add_(1).mul_(grad)
        of_alpha = (of_x * x).addcmul_(grad, y, value=-1).sum(dim=(0, 2))
        return of_x.to(x.dtype), of_alpha


def _shifted(taps: Tensor, count: int, stride: int) -> Tensor:
    """Filters as a matrix that makes ``count`` outputs of each, one after another, ``stride`` inputs apart.

    Args:
        taps: ``(filters, length)``.

    Returns:
        ``(inputs, count * filters)``.
    """
    filters, length = taps.shape
    matrix = taps.new_zeros((count - 1) * stride + length, count, filters)
    for i in range(count):
        matrix[i * stride : i * stride + length, i] = taps.T
    return matrix.flatten(1)


def _low_pass(time: Tensor, factor: int) -> Tensor:
    """Windowed sinc at ``time`` (in samples), cut-off at 0.99 of the Nyquist frequency divided by ``factor``."""
    cut_off = 0.99 / factor
    place = (time * cut_off).clamp(-6, 6)
    return (cut_off * torch.sinc(place) * torch.cos(place * (math.pi / 12)).square()).float()
