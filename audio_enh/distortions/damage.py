"""Random damage for training a universal enhancer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from audio_enh.distortions.base import Audio, Distortion
from audio_enh.distortions.catalog import FAMILIES, Family
from audio_enh.distortions.chain import Applied, Step, apply_chain
from audio_enh.distortions.recordings import Recordings
from audio_enh.dsp.signals import NOMINAL_DB, from_db, rms
from audio_enh.errors import UserError

#: Probability of 1, 2, ... distortions (Serra et al. 2022).
COUNTS = (0.35, 0.45, 0.15, 0.04, 0.01)
#: A random chain, where the name of a family stands for one of its distortions alone.
CHAIN = "chain"
#: Every family alone, then two random chains: what items of test and validation sets are damaged by in turn.
ROUND = (*(family.name for family in FAMILIES), CHAIN, CHAIN)
#: Quieter speech is taken for silence and not turned up, RMS.
_SILENCE = 1e-5


class Damaged(NamedTuple):
    """One training item.

    Attributes:
        audio: what the model gets, ``(channels, samples)`` float32.
        target: what it should give, same shape and aligned.
        record: what was done, in order.
    """

    audio: Audio
    target: Audio
    record: tuple[Applied, ...]


@dataclass(frozen=True)
class RandomDamage:
    """Chains of distortions drawn as in Serra et al. 2022.

    A number of distortions is drawn, then that many families without repetition, then one distortion in each, its
    severity, and their order. Distortions that cannot be had here are left out: see :attr:`missing`.

    Attributes:
        recordings: noises, talkers and rooms.
        counts: probability of 1, 2, ... distortions; any positive numbers.
        severity: from where to where it is drawn, uniformly.
        level_db: RMS level of the target against full scale, channels together; None leaves it as it is.
        without: distortions not to use.

    Raises:
        UserError: a number out of its range.
    """

    recordings: Recordings = field(default_factory=Recordings)
    counts: tuple[float, ...] = COUNTS
    severity: tuple[float, float] = (0.0, 1.0)
    level_db: float | None = NOMINAL_DB
    without: Sequence[type[Distortion]] = ()

    def __post_init__(self) -> None:
        low, high = self.severity
        if not 0 <= low <= high <= 1:
            raise UserError(f"severity must be (low, high) within 0 to 1, got ({low}, {high})")
        if not 1 <= len(self.counts) <= len(FAMILIES) or min(self.counts) < 0 or sum(self.counts) <= 0:
            raise UserError(f"counts must be 1 to {len(FAMILIES)} probabilities, got {self.counts}")

    @cached_property
    def missing(self) -> dict[str, str]:
        """Distortions that cannot be had here, and why."""
        found = {kind.name(): kind.unavailable(self.recordings) for f in FAMILIES for kind, _ in f.members}
        return {name: reason for name, reason in found.items() if reason is not None}

    @cached_property
    def _families(self) -> tuple[Family, ...]:
        left = []
        for family in FAMILIES:
            members = tuple(
                (kind, weight)
                for kind, weight in family.members
                if kind not in self.without and kind.name() not in self.missing
            )
            if members:
                left.append(Family(family.weight, members))
        return tuple(left)

    def draw(self, rng: np.random.Generator, kind: str = CHAIN) -> tuple[Step, ...]:
        """A chain, its order included.

        Args:
            rng: randomness.
            kind: :data:`CHAIN`, or a family of which one distortion is drawn.

        Raises:
            UserError: there is no such family, or nothing of it can be had here.
        """
        families = self._families
        if kind != CHAIN:
            by_name = {family.name: family.members for family in families}
            if kind not in by_name:
                raise UserError(f"no distortion of the family {kind!r} here: there are {', '.join(by_name)}")
            return (self._step(by_name[kind], rng),)
        count = min(1 + _pick(rng, self.counts), len(families))
        taken = rng.choice(len(families), count, replace=False, p=_shares([f.weight for f in families]))
        steps = [self._step(families[index].members, rng) for index in taken]
        # Heavy families tend to be taken first; in the chain any order is as likely.
        return tuple(steps[index] for index in rng.permutation(len(steps)))

    def _step(self, members: Sequence[tuple[type[Distortion], float]], rng: np.random.Generator) -> Step:
        kind = members[_pick(rng, [weight for _, weight in members])][0]
        return Step(kind, float(rng.uniform(*self.severity)))

    def __call__(
        self, clean: Audio, sample_rate: int, rng: np.random.Generator, kind: str = CHAIN
    ) -> Damaged:
        """Damage clean speech.

        Args:
            clean: ``(channels, samples)`` float32, finite.
            sample_rate: in Hz.
            rng: randomness; equal states give equal items.
            kind: see :meth:`draw`.

        Returns:
            Damaged audio and its target at the level asked for. Silence stays at its level.
        """
        level = rms(clean)
        gain = from_db(self.level_db) / level if self.level_db is not None and level > _SILENCE else 1.0
        target = (clean * gain).astype(np.float32)
        audio, record = apply_chain(self.draw(rng, kind), target, sample_rate, rng, self.recordings)
        return Damaged(audio, target, record)


def _shares(weights: Sequence[float]) -> np.ndarray:
    values = np.asarray(weights, np.float64)
    return values / values.sum()


def _pick(rng: np.random.Generator, weights: Sequence[float]) -> int:
    return int(rng.choice(len(weights), p=_shares(weights)))
