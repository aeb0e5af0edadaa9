"""Which of a device's inputs is listened to.

An interface has a microphone on one of its inputs, a headset says the same on both channels, some with opposite
signs, and two people on a desk have one channel each. A mean of the channels makes the first quiet and the second
silent, so it is never taken as it comes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import UserError

Audio = NDArray[np.float32]
#: An input's number, from 1, or how to find it.
Channel = int | Literal["auto", "mix"]

FADE_SECONDS = 0.05
# Powers are smoothed over so long. What is 6 dB above the quietest of late (which is let rise by 3 dB a second) is
# sound that comes and goes, as speech does; hum and hiss are not.
SMOOTH_SECONDS = 0.05
RISE_DB = 3.0
ACTIVE = 4.0
# An input on which the sound is 6 dB louder than on all others has a talker of its own.
DOMINANT = 4.0
# It is taken after so much of that, and given up when it had none for a minute while others did.
JOIN_SECONDS = 0.1
RECENT_SECONDS = 0.5
LEAVE_SECONDS = 60.0
MOST = 2
# Which inputs are in phase, and how loud they are, for a mix.
MIX_SECONDS = 1.0


def parse_channel(text: str) -> Channel:
    """Of the command line.

    Raises:
        UserError: neither a number nor ``auto`` or ``mix``.
    """
    if text == "auto":
        return "auto"
    if text == "mix":
        return "mix"
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise UserError(f"--channel {text}: name an input by its number, 1 for the first, or auto or mix")


class Chooser:
    """Makes the engine's channels of a device's inputs; used by one thread.

    ``auto`` takes the one or two inputs that carry speech: of a stereo microphone one channel, which nothing can
    cancel; of two people with a microphone each, the sum. Until somebody has spoken it is the loudest input.
    ``mix`` weighs the inputs by their power and turns round those of opposite sign, so that a voice keeps its level
    however many inputs are empty.

    Args:
        sample_rate: in Hz.
        inputs: rows of the blocks.
        outputs: of what is made of them, 1 or 2.
        wanted: see `Channel`; with two inputs and two outputs ``auto`` takes them as they are.

    Raises:
        UserError: ``wanted`` is a number beyond ``inputs``.
    """

    def __init__(self, sample_rate: int, inputs: int, outputs: int, wanted: Channel = "auto"):
        if isinstance(wanted, int) and wanted > inputs:
            raise UserError(f"there is no input {wanted}: the microphone has {inputs}")
        self._rate = sample_rate
        self._inputs, self._outputs = inputs, outputs
        self._wanted = wanted
        self.fixed = isinstance(wanted, int) or inputs == 1 or (inputs == outputs and wanted == "auto")
        self._members: list[int] = []
        self._loudest = 0
        self._smooth = np.zeros(inputs)
        self._floor = np.full(inputs, np.inf)
        self._recent = np.zeros(inputs)
        self._since = np.zeros(inputs)  # an input's last turn, in seconds
        self._covariance = np.zeros((inputs, inputs))
        self._weights = self._target()

    @property
    def description(self) -> str | None:
        """What is listened to, in words; None if there is nothing to choose from."""
        if self._inputs == 1 or (self.fixed and self._wanted == "auto"):
            return None
        if self._wanted == "mix":
            return f"mix of {self._inputs} inputs"
        chosen = [self._wanted] if isinstance(self._wanted, int) else [i + 1 for i in self._chosen()]
        return f"input{'s' * (len(chosen) > 1)} {' and '.join(map(str, chosen))} of {self._inputs}"

    def process(self, audio: Audio) -> Audio:
        """Finite samples ``(inputs, n)`` to ``(outputs, n)``."""
        if not self.fixed and audio.shape[1] > 1:
            self._listen(audio)
        target = self._target()
        if np.array_equal(target, self._weights):
            return self._weights @ audio
        step = 1.0 if self._wanted == "mix" else audio.shape[1] / (FADE_SECONDS * self._rate)
        before = self._weights
        self._weights = (before + np.clip(target - before, -step, step)).astype(np.float32)
        ramp = np.linspace(0, 1, audio.shape[1], dtype=np.float32)
        return (before @ audio) * (1 - ramp) + (self._weights @ audio) * ramp

    def _chosen(self) -> list[int]:
        return sorted(self._members) or [self._loudest]

    def _target(self) -> Audio:
        weights = np.zeros((self._outputs, self._inputs), np.float32)
        if self._wanted == "mix":
            weights[:] = self._mixture()
        elif isinstance(self._wanted, int):
            weights[:, self._wanted - 1] = 1
        elif self._inputs == 1:
            weights[:] = 1
        elif self.fixed:
            weights[:] = np.eye(self._outputs, self._inputs)
        else:
            chosen = self._chosen()
            if self._outputs == 1:
                weights[0, chosen] = 1
            else:
                weights[0, chosen[0]] = weights[1, chosen[-1]] = 1
        return weights

    def _mixture(self) -> NDArray[np.float64]:
        powers = np.diag(self._covariance)
        total = powers.sum()
        if total <= 0:
            return np.eye(self._inputs)[0]
        signs = np.where(self._covariance[np.argmax(powers)] < 0, -1.0, 1.0)
        return signs * powers / total

    def _listen(self, audio: Audio) -> None:
        # Differences from sample to sample: without hum, rumble and offset.
        sharp = np.diff(audio.astype(np.float64), axis=1)
        seconds = audio.shape[1] / self._rate
        if self._wanted == "mix":
            share = min(1.0, seconds / MIX_SECONDS)
            now = sharp @ sharp.T / sharp.shape[1]
            # The first sound counts at once.
            self._covariance += (share if self._covariance.any() else 1.0) * (now - self._covariance)
            return
        powers = np.mean(sharp**2, axis=1)
        first = not np.isfinite(self._floor[0])
        self._smooth += (1.0 if first else min(1.0, seconds / SMOOTH_SECONDS)) * (powers - self._smooth)
        self._floor = np.minimum(self._floor * 10 ** (RISE_DB / 10 * seconds), self._smooth)
        active = np.maximum(self._smooth - ACTIVE * self._floor, 0)
        if self._smooth.max() > DOMINANT / 2 * self._smooth[self._loudest]:
            self._loudest = int(np.argmax(self._smooth))
        self._recent *= max(0.0, 1 - seconds / RECENT_SECONDS)
        if active.max() > 0:
            self._give_turn(self._turn(active), seconds)

    def _turn(self, active: NDArray[np.float64]) -> int:
        """Whose sound it is: the loudest's, unless one that is listened to has it nearly as loud."""
        first = int(np.argmax(active))
        members = [member for member in self._members if active[member] * DOMINANT > active[first]]
        return first if first in members or not members else max(members, key=lambda each: active[each])

    def _give_turn(self, turn: int, seconds: float) -> None:
        self._recent[turn] += seconds
        self._since += seconds
        if self._recent[turn] < JOIN_SECONDS:
            return
        self._since[turn] = 0
        if turn not in self._members:
            self._members.append(turn)
        kept = [each for each in self._members if self._since[each] < LEAVE_SECONDS]
        self._members = sorted(kept, key=lambda each: self._since[each])[:MOST]
