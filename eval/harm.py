"""What a mean hides: files that a system made worse than they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .metrics import BY_NAME, Metric, in_order
from .statistics import LEVEL

# So many of the files that lost most are named.
NAMED = 3


@dataclass(frozen=True)
class Harm:
    """Files that got worse by one metric, of those with a score before and after.

    A loss within the metric's tolerance is rounding and counts as none.

    Attributes:
        count: files compared.
        worse: files that lost.
        low, high: Wilson's 95 % interval of the share of such files (Journal of the American Statistical
            Association, 1927).
        loss: mean loss over the files that lost, in the metric's unit, positive; None when none did.
        worst: file, score before, score after, of the files that lost most, the largest loss first.
    """

    count: int
    worse: int
    low: float
    high: float
    loss: float | None
    worst: tuple[tuple[str, float, float], ...]

    @property
    def share(self) -> float:
        return self.worse / self.count


def harm_by_metric(
    before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]
) -> dict[str, Harm]:
    """Harm for each metric that both have on some file.

    Args:
        before, after: metric, file: score of the noisy input and of a system; see ``scores_by_file``.
    """
    result = {}
    for name in in_order(before):
        harm = _harm(BY_NAME[name], before[name], after.get(name, {}))
        if harm is not None:
            result[name] = harm
    return result


def _harm(metric: Metric, before: Mapping[str, float], after: Mapping[str, float]) -> Harm | None:
    from scipy.stats import binomtest

    sign = 1 if metric.higher_is_better else -1
    losses = {file: sign * (score - after[file]) for file, score in before.items() if file in after}
    if not losses:
        return None
    lost = sorted(
        (file for file, loss in losses.items() if loss > metric.tolerance),
        key=lambda file: (-losses[file], file),
    )
    interval = binomtest(len(lost), len(losses)).proportion_ci(LEVEL, method="wilson")
    return Harm(
        count=len(losses),
        worse=len(lost),
        low=float(interval.low),
        high=float(interval.high),
        loss=sum(losses[file] for file in lost) / len(lost) if lost else None,
        worst=tuple((file, before[file], after[file]) for file in lost[:NAMED]),
    )
