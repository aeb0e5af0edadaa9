"""Blind listening tests: whether people hear a difference (ABX), and what chance alone would give.

In each trial A and B are one recording from two systems, in an order that is drawn, and X is one of them, drawn too.
Who hears no difference is right half of the time; the exact binomial test says how often chance does as well.
"""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import Literal

from audio_enh.errors import UserError
from audio_enh.io import AtomicTarget

Letter = Literal["A", "B"]
COLUMNS = ("listener", "trial", "file", "a", "b", "x", "answer", "correct", "seconds", "time")
MAX_TRIALS = 200


@dataclass(frozen=True)
class Pair:
    """A test item: its name and the file of each of the two systems."""

    name: str
    files: tuple[Path, Path]


@dataclass(frozen=True)
class Trial:
    """What is played: the systems (0 or 1) behind A and B, and the letter that X is the same as."""

    pair: Pair
    a: int
    x: Letter

    @property
    def order(self) -> tuple[int, int, int]:
        """The systems behind A, B and X."""
        b = 1 - self.a
        return self.a, b, self.a if self.x == "A" else b


@dataclass(frozen=True)
class Answer:
    """What a listener said, after how many seconds."""

    letter: Letter
    seconds: float
    time: str


@dataclass(frozen=True)
class Result:
    """How a test came out.

    Attributes:
        correct, total: answers.
        p_value: how often chance alone gives so many right answers or more.
        low, high: exact 95 % interval of the share of right answers.
    """

    correct: int
    total: int
    p_value: float
    low: float
    high: float


@dataclass
class ListeningTest:
    """One listener's way through the trials.

    Attributes:
        systems: names of the two.
        trials: in the order in which they are played.
        listener: a name for the table, may be empty.
    """

    systems: tuple[str, str]
    trials: Sequence[Trial]
    listener: str = ""
    answers: list[Answer] = field(default_factory=list)

    @classmethod
    def draw(
        cls,
        systems: tuple[str, str],
        pairs: Sequence[Pair],
        repeats: int,
        listener: str = "",
        random: Random | None = None,
    ) -> ListeningTest:
        """A test of every pair so many times, in an order that is drawn.

        Args:
            random: draws; the system's by default, which nobody can foresee.

        Raises:
            UserError: no pairs, or too many trials.
        """
        if not pairs:
            raise UserError("there is nothing to compare")
        if not 1 <= repeats * len(pairs) <= MAX_TRIALS:
            raise UserError(f"{repeats * len(pairs)} trials: a test has 1 to {MAX_TRIALS}")
        draw = random or secrets.SystemRandom()
        letters: tuple[Letter, Letter] = ("A", "B")
        trials = [
            Trial(pair, draw.randrange(2), draw.choice(letters)) for pair in pairs for _ in range(repeats)
        ]
        draw.shuffle(trials)
        return cls(systems, trials, listener)

    @property
    def current(self) -> Trial | None:
        """The trial that waits for an answer; None after the last one."""
        return self.trials[len(self.answers)] if len(self.answers) < len(self.trials) else None

    def answer(self, letter: Letter, seconds: float) -> None:
        """Take the listener's word on the current trial."""
        if self.current is None:
            raise UserError("the test is over")
        self.answers.append(Answer(letter, seconds, datetime.now(timezone.utc).isoformat(timespec="seconds")))

    def result(self) -> Result:
        """Of the answers so far, one at least."""
        from scipy.stats import binomtest

        pairs = list(zip(self.trials, self.answers, strict=False))
        correct = sum(trial.x == answer.letter for trial, answer in pairs)
        interval = binomtest(correct, len(pairs)).proportion_ci(0.95, "exact")
        p_value = binomtest(correct, len(pairs), 0.5, alternative="greater").pvalue
        return Result(correct, len(pairs), float(p_value), float(interval.low), float(interval.high))

    def write_csv(self, path: Path) -> None:
        """Write a line per answer, with the columns of :data:`COLUMNS`; the file appears whole."""
        from audio_enh.eval.metadata import spreadsheet_cell

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for number, (trial, answer) in enumerate(zip(self.trials, self.answers, strict=False), 1):
            a, b, x = (self.systems[system] for system in trial.order)
            row = (
                self.listener,
                number,
                trial.pair.name,
                a,
                b,
                x,
                answer.letter,
                int(trial.x == answer.letter),
                f"{answer.seconds:.1f}",
                answer.time,
            )
            writer.writerow([spreadsheet_cell(value) for value in row])
        target = AtomicTarget(path)
        try:
            target.temporary.write_text(text.getvalue(), encoding="utf-8")
        except BaseException:
            target.discard()
            raise
        target.commit()


def describe(result: Result) -> str:
    """The result in two sentences, for people."""
    share = result.correct / result.total
    interval = f"95 % interval {result.low:.0%} to {result.high:.0%}"
    text = (
        f"{result.correct} of {result.total} right ({share:.0%}; {interval}). "
        f"Guessing gives so many right answers or more with probability {result.p_value:.3g}: "
    )
    if result.p_value < 0.05:
        return text + "a difference was heard."
    if 0.5**result.total >= 0.05:
        return text + "so few trials cannot show a difference; five are the least that can."
    return text + "no difference was shown, which does not say that there is none."
