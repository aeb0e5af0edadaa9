"""How a generative model meets a signal of any length: levelled, in windows that share their noise, several times."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from audio_enh.diffusion.noise import mix
from audio_enh.diffusion.times import OnStep
from audio_enh.dsp.high_pass import ZeroPhaseHighPass
from audio_enh.errors import UserError
from audio_enh.inference.leveller import Leveller
from audio_enh.inference.pool import WindowPool
from audio_enh.inference.runners import Progress, WindowRunner
from audio_enh.inference.uncertainty import UncertaintyCurve, UncertaintyMeter
from audio_enh.models.base import EnhancementModel
from audio_enh.models.generative import GenerativeModel
from audio_enh.options import SamplingOptions


def check_sampling(options: SamplingOptions, model: EnhancementModel) -> None:
    """Raise a UserError where the options do not fit the model."""
    if not isinstance(model, GenerativeModel):
        given = [
            option.name
            for option in dataclasses.fields(options)
            if not option.metadata.get("common")
            and (getattr(options, option.name) or option.default) != option.default
        ]
        if given:
            raise UserError(
                f"{' and '.join(given)}: only for models that draw their output, not for {type(model).__name__}"
            )
        return
    if options.sampler is not None and options.sampler not in model.sampler_names:
        raise UserError(f"no sampler {options.sampler!r}: choose {', '.join(model.sampler_names)}")
    if options.steps is not None and options.steps < model.least_steps:
        raise UserError(f"steps must be at least {model.least_steps}, not {options.steps}")
    if options.draws < 1:
        raise UserError(f"draws must be at least 1, not {options.draws}")
    if options.combine not in ("mean", "median"):
        raise UserError(f"combine must be mean or median, not {options.combine!r}")
    try:
        model.check_sampling(sampler_for(options, model), options.sampler_options or {})
    except ValueError as error:
        raise UserError(str(error)) from error


def sampler_for(options: SamplingOptions, model: GenerativeModel) -> str | None:
    """The sampler to use, None for the model's own; a UserError where several draws would all be equal."""
    if options.draws == 1 or model.draws_differ(options.sampler, options.steps):
        return options.sampler
    noisy = [name for name in model.sampler_names if model.draws_differ(name, options.steps)]
    if noisy and options.sampler is None:
        return noisy[0]
    if noisy:
        why = f"sampler {options.sampler!r} draws no noise: choose {', '.join(noisy)}"
    else:
        enough = next(
            (n for n in range(1, 9) if any(model.draws_differ(name, n) for name in model.sampler_names)),
            None,
        )
        why = "this model draws no noise" + (f" in so few steps: add --steps {enough}" if enough else "")
    raise UserError(f"{options.draws} draws would all be equal, {why}")


@dataclass(frozen=True)
class Draws:
    """Draws of a model for windows, as a :class:`~audio_enh.inference.pool.WindowFunction`.

    It gives the combined draws; where there are several, their standard deviation as a second kind.
    """

    model: GenerativeModel
    options: SamplingOptions

    def __call__(self, audio: Tensor, starts: Sequence[int], on_step: OnStep) -> Tensor:
        options = dataclasses.replace(self.options, sampler=sampler_for(self.options, self.model))
        draws = []
        for number in range(options.draws):

            def of_all(done: int, steps: int, earlier: int = number) -> None:
                on_step(earlier * steps + done, options.draws * steps)

            seeded = dataclasses.replace(options, seed=mix(options.seed or 0, number))
            draws.append(self.model.draw(audio, starts, seeded, on_step=of_all))
        drawn = torch.stack(draws)
        if options.draws == 1:
            return drawn
        middle = drawn.mean(dim=0) if options.combine == "mean" else _median(drawn)
        return torch.stack([middle, drawn.std(dim=0)])


class GenerativeRunner:
    """Runs a generative model on a signal of any length; see :mod:`audio_enh.inference.runners`.

    The signal is freed of rumble where the model wants it so, divided by its running level (:class:`Leveller`), cut
    into windows on the model's grid, and multiplied by the level again. All channels share the noise: equal channels
    stay equal, and what the model makes up stands in one place of the stereo image. With several draws the spread
    between them is measured too.

    Args:
        model: the model.
        batch: signals side by side, the channels of a recording.
        options: see :class:`SamplingOptions`.
        window_seconds: about the length of a window.
        overlap_seconds: about that of their overlap.
        pool: where windows are sampled, with those of other signals; by default each at once.
        progress: told after each step of the sampler how many seconds of the signal are done.
    """

    #: The window of a signal shorter than a window is filled up to about a multiple of so many seconds.
    unit_seconds = 0.5
    linked = False

    def __init__(
        self,
        model: GenerativeModel,
        batch: int,
        options: SamplingOptions,
        *,
        window_seconds: float,
        overlap_seconds: float,
        pool: WindowPool | None = None,
        progress: Progress | None = None,
    ):
        self.model = model
        self.batch = batch
        self.options = options
        rate, grid, rest = model.sample_rate, model.grid, model.window_remainder
        # Whole grids, in both the window and what the next one is further on.
        hop = max(1, round((window_seconds - overlap_seconds) * rate / grid))
        least = -(-(2 * model.margin + 1 - rest) // grid)
        shared = max(least, round(overlap_seconds * rate / grid))
        self._windows = WindowRunner(
            Draws(model, options),
            batch,
            window_length=(hop + shared) * grid + rest,
            overlap=shared * grid + rest,
            margin=model.margin,
            grid=grid,
            unit=max(1, round(self.unit_seconds * rate / grid)) * grid,
            pool=pool,
            sample_rate=rate,
            progress=progress,
        )
        self._high_pass = ZeroPhaseHighPass(model.high_pass, rate, batch) if model.high_pass else None
        self._leveller = Leveller(model.level, batch, rate)
        self._levels: deque[Tensor] = deque()  # of the samples that wait for their output
        self._meter = UncertaintyMeter(rate) if options.draws > 1 else None
        self._ended = False
        self.uncertainty: UncertaintyCurve | None = None  # after flush

    @property
    def complete(self) -> bool:
        """See :class:`ModelRunner`."""
        return self._windows.complete

    @property
    def shared_seconds(self) -> float:
        """See :class:`ModelRunner`."""
        return self._windows.shared_seconds

    def process(self, audio: Tensor) -> Tensor:
        """See the module."""
        if self._high_pass is not None:
            audio = self._high_pass.process(audio)
        return self._restore(self._feed(*self._leveller.process(audio)))

    def end(self) -> Tensor:
        """See :class:`ModelRunner`."""
        self._ended = True
        outputs = []
        if self._high_pass is not None:
            rest = self._high_pass.flush()
            outputs.append(self._restore(self._feed(*self._leveller.process(rest))))
        outputs.append(self._restore(self._feed(*self._leveller.flush())))
        return torch.cat([*outputs, self._restore(self._windows.end())], dim=1)

    def flush(self) -> Tensor:
        """See the module."""
        outputs = [] if self._ended else [self.end()]
        outputs.append(self._restore(self._windows.flush()))
        if self._meter is not None:
            self.uncertainty = self._meter.finish()
        return torch.cat(outputs, dim=1)

    def _feed(self, audio: Tensor, levels: Tensor) -> Tensor:
        if levels.shape[1]:
            self._levels.append(levels)
        return self._windows.process(audio / levels)

    def _restore(self, output: Tensor) -> Tensor:
        """Gives the output its level back; ``(rows, n)`` to ``(batch, n)``."""
        samples = output.shape[1]
        if samples == 0:
            return output[: self.batch]
        pieces = []
        while samples:
            levels = self._levels.popleft()
            if levels.shape[1] > samples:
                self._levels.appendleft(levels[:, samples:])
                levels = levels[:, :samples]
            pieces.append(levels)
            samples -= levels.shape[1]
        levels = torch.cat(pieces, dim=1)
        enhanced = output[: self.batch] * levels
        if self._meter is not None:
            deviation = output[self.batch :] * levels
            self._meter.add(enhanced.cpu().numpy(), deviation.cpu().numpy())
        return enhanced


def _median(draws: Tensor) -> Tensor:
    """Over the first dimension; of an even number the mean of the middle two, unlike ``Tensor.median``."""
    ordered = draws.sort(dim=0).values
    return (ordered[(len(draws) - 1) // 2] + ordered[len(draws) // 2]) / 2
