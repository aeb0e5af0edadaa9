"""Which metrics are measured: those asked for, or those that exist for what is there to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audio_enh.errors import UserError

from .arrays import missing_packages, select_metrics
from .metrics import METRICS, Metric

# What papers print; the others are asked for by name, or with ``all``.
STANDARD_METRICS = (
    *("pesq_wb", "stoi", "estoi", "si_sdr", "seg_snr", "csig", "cbak", "covl"),
    *("dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808"),
)
ALL = ("all",)


@dataclass(frozen=True)
class Material:
    """What there is to measure with, beside the estimates.

    Attributes:
        reference, noisy, transcript: whether there are such.
        sample_rate: of the files, in Hz.
    """

    reference: bool
    noisy: bool
    transcript: bool
    sample_rate: int

    def lacks(self, metric: Metric) -> str | None:
        """What to give for a metric that needs more; None where all is there."""
        if metric.needs_reference and not self.reference:
            return "a reference: give --clean DIR"
        if metric.needs == "noisy" and not self.noisy:
            return "the mixture: give --noisy DIR"
        if metric.needs == "transcript" and not self.transcript:
            return "the words that are said: give --metadata FILE.csv with a column text"
        return None


def metric_names(text: str | None) -> tuple[str, ...]:
    """Names as typed: separated by commas."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def default_metrics(material: Material) -> tuple[str, ...]:
    """The standard metrics that exist for these files."""
    rate = material.sample_rate
    names = STANDARD_METRICS if rate >= 16000 else ("pesq_nb", *STANDARD_METRICS)
    return tuple(
        metric.name
        for metric in METRICS
        if metric.name in names
        and material.lacks(metric) is None
        and (not metric.sample_rates or min(metric.sample_rates) <= rate)
    )


def choose_metrics(
    wanted: Sequence[str], material: Material, standard: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[str]]:
    """Names of the metrics to measure, and notes on what is left out.

    Args:
        wanted: names; ``("all",)``: all that are possible and whose packages are installed; empty: the standard ones.
        standard: what the standard ones are; None: :func:`default_metrics`.

    Raises:
        UserError: an unknown metric, one that needs more than there is, a package that is missing, or none is left.
    """
    notes = []
    if tuple(wanted) == ALL:
        possible = [metric for metric in METRICS if material.lacks(metric) is None]
        absent = [metric.name for metric in possible if missing_packages(metric.name)]
        names = tuple(metric.name for metric in possible if metric.name not in absent)
        if absent:
            notes.append(f"not measured, as their packages are not installed: {', '.join(absent)}")
    else:
        names = tuple(wanted) or (default_metrics(material) if standard is None else tuple(standard))
    if not names:
        raise UserError("no metric exists for these files: without --clean the rate must be 16 kHz at least")
    chosen = select_metrics(names)
    for metric in chosen:
        if lack := material.lacks(metric):
            raise UserError(f"{metric.name} needs {lack}")
    return tuple(metric.name for metric in chosen), notes
