"""Every metric with what it needs: the one place that the evaluator, the report and the documents read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from audio_enh import registry
from audio_enh.errors import UserError

from .composite import composite, seg_snr
from .mos import dnsmos, plcmos
from .naturalness import distillmos
from .perceptual import estoi, pesq_nb, pesq_wb, stoi
from .sdr import sd_sdr, si_sar, si_sdr, si_sir, snr
from .signals import Signals
from .speaker import PACKAGE, speaker_similarity
from .spectral import log_spectral_distance, mel_cepstral_distance
from .words import differential_word_error_rate, phoneme_similarity, word_error_rate

Need = Literal["estimate", "reference", "noisy", "transcript"]
Compute = Callable[[Signals], "float | tuple[float, ...]"]


@dataclass(frozen=True)
class Metric:
    """A column of the evaluation.

    Attributes:
        name: key in rows and on the command line.
        label: as papers print it.
        unit: ``"dB"``, ``"MOS"`` (mean opinion score) or empty.
        bounds: smallest and largest value, None where there is none.
        higher_is_better: False for distances.
        needs: ``"estimate"`` when no reference is needed, ``"reference"``, or ``"noisy"`` when the mixture is
            needed as well; ``"transcript"`` when the words that are said are needed, and no reference.
        sample_rates: rates in Hz at which it is defined, descending; empty when any.
        packages: import names of what computes it, beside numpy.
        compute: from signals at a rate it takes; metrics that share one function are computed at once.
        part: index into what ``compute`` returns, None when that is the value.
        extra: the optional dependencies of this project that bring ``packages``.
        alone: packages of which only a part is used, to be installed without what they depend on.
    """

    name: str
    label: str
    unit: str
    bounds: tuple[float | None, float | None]
    higher_is_better: bool
    needs: Need
    sample_rates: tuple[int, ...]
    packages: tuple[str, ...]
    compute: Compute
    part: int | None = None
    extra: str = "eval"
    alone: tuple[str, ...] = ()

    @property
    def needs_reference(self) -> bool:
        return self.needs in ("reference", "noisy")

    @property
    def tolerance(self) -> float:
        """Differences up to this are rounding, not better or worse: two files are equal then."""
        return {"dB": 1e-3, "MOS": 1e-4}.get(self.unit, 1e-5)


def _composite(signals: Signals) -> tuple[float, ...]:
    return composite(signals.reference, signals.estimate, signals.sample_rate)


def _dnsmos(signals: Signals) -> tuple[float, ...]:
    return dnsmos(signals.estimate, signals.sample_rate)


_MOS = ("speechmos", "onnxruntime", "librosa", "pandas", "requests", "tqdm")
_SPEECH = "speech-metrics"
_FREE = (None, None)
_DISTANCE = (0.0, None)
_RATING = (1.0, 5.0)

# fmt: off
METRICS: tuple[Metric, ...] = (
    Metric(
        "pesq_wb", "PESQ-WB", "MOS", (1.02, 4.644), True, "reference", (16000,), ("pesq",),
        lambda s: pesq_wb(s.reference, s.estimate, s.sample_rate),
    ),
    Metric(
        "pesq_nb", "PESQ-NB", "MOS", (1.02, 4.549), True, "reference", (16000, 8000), ("pesq",),
        lambda s: pesq_nb(s.reference, s.estimate, s.sample_rate),
    ),
    Metric(
        "stoi", "STOI", "", (0.0, 1.0), True, "reference", (), ("pystoi",),
        lambda s: stoi(s.reference, s.estimate, s.sample_rate),
    ),
    Metric(
        "estoi", "ESTOI", "", (0.0, 1.0), True, "reference", (), ("pystoi",),
        lambda s: estoi(s.reference, s.estimate, s.sample_rate),
    ),
    Metric(
        "si_sdr", "SI-SDR", "dB", _FREE, True, "reference", (), (),
        lambda s: si_sdr(s.reference, s.estimate),
    ),
    Metric(
        "si_sir", "SI-SIR", "dB", _FREE, True, "noisy", (), (),
        lambda s: si_sir(s.reference, s.estimate, s.noise),
    ),
    Metric(
        "si_sar", "SI-SAR", "dB", _FREE, True, "noisy", (), (),
        lambda s: si_sar(s.reference, s.estimate, s.noise),
    ),
    Metric(
        "sd_sdr", "SD-SDR", "dB", _FREE, True, "reference", (), (),
        lambda s: sd_sdr(s.reference, s.estimate),
    ),
    Metric(
        "snr", "SNR", "dB", _FREE, True, "reference", (), (),
        lambda s: snr(s.reference, s.estimate),
    ),
    Metric(
        "seg_snr", "segSNR", "dB", (-10.0, 35.0), True, "reference", (), (),
        lambda s: seg_snr(s.reference, s.estimate, s.sample_rate),
    ),
    Metric("csig", "CSIG", "MOS", _RATING, True, "reference", (16000,), ("pesq",), _composite, 0),
    Metric("cbak", "CBAK", "MOS", _RATING, True, "reference", (16000,), ("pesq",), _composite, 1),
    Metric("covl", "COVL", "MOS", _RATING, True, "reference", (16000,), ("pesq",), _composite, 2),
    Metric(
        "lsd", "LSD", "dB", _DISTANCE, False, "reference", (), (),
        lambda s: log_spectral_distance(s.reference, s.estimate, s.sample_rate),
    ),
    Metric(
        "mcd", "MCD", "dB", _DISTANCE, False, "reference", (), ("librosa",),
        lambda s: mel_cepstral_distance(s.reference, s.estimate, s.sample_rate),
    ),
    Metric("dnsmos_ovrl", "DNSMOS OVRL", "MOS", _RATING, True, "estimate", (16000,), _MOS, _dnsmos, 0),
    Metric("dnsmos_sig", "DNSMOS SIG", "MOS", _RATING, True, "estimate", (16000,), _MOS, _dnsmos, 1),
    Metric("dnsmos_bak", "DNSMOS BAK", "MOS", _RATING, True, "estimate", (16000,), _MOS, _dnsmos, 2),
    Metric("dnsmos_p808", "DNSMOS P.808", "MOS", _RATING, True, "estimate", (16000,), _MOS, _dnsmos, 3),
    Metric(
        "plcmos", "PLCMOS", "MOS", _RATING, True, "estimate", (16000,), _MOS,
        lambda s: plcmos(s.estimate, s.sample_rate),
    ),
    Metric(
        "distillmos", "DistillMOS", "MOS", _RATING, True, "estimate", (16000,), ("distillmos", "torchaudio"),
        lambda s: distillmos(s.estimate, s.sample_rate), extra=_SPEECH,
    ),
    Metric(
        "speaker_similarity", "speaker similarity", "", (0.0, 1.0), True, "reference", (16000,), ("librosa",),
        lambda s: speaker_similarity(s.reference, s.estimate, s.sample_rate), alone=(PACKAGE,),
    ),
    Metric(
        "wer", "WER", "", _DISTANCE, False, "transcript", (16000,), ("pocketsphinx",),
        lambda s: word_error_rate(s.estimate, s.transcript, s.sample_rate), extra=_SPEECH,
    ),
    Metric(
        "dwer", "dWER", "", _DISTANCE, False, "reference", (16000,), ("pocketsphinx",),
        lambda s: differential_word_error_rate(s.reference, s.estimate, s.sample_rate), extra=_SPEECH,
    ),
    Metric(
        "phoneme_similarity", "phoneme similarity", "", (0.0, 1.0), True, "reference", (16000,), ("pocketsphinx",),
        lambda s: phoneme_similarity(s.reference, s.estimate, s.sample_rate), extra=_SPEECH,
    ),
)
# fmt: on


class _ByName(dict[str, Metric]):
    """Ours, and the user's as they are asked for: rows, reports and options hold these as ``module.NAME``."""

    def __missing__(self, name: str) -> Metric:
        found = registry.find(name, registry.METRICS) if isinstance(name, str) else None
        if found is None:
            own = f"; if it is yours, {registry.how_to_name(registry.METRICS)}" if "." in name else ""
            raise UserError(f"unknown metric {name!r}{own}; known are {', '.join(self)}")
        if not isinstance(found, Metric):
            raise UserError(f"{name} is a {type(found).__name__}, no audio_enh.eval.Metric")
        self[name] = replace(found, name=name)
        return self[name]


BY_NAME = _ByName({metric.name: metric for metric in METRICS})


def in_order(names: Iterable[str]) -> list[str]:
    """Names of metrics in the order of ``METRICS``, the user's after them in theirs."""
    wanted = list(dict.fromkeys(names))
    ours = [metric.name for metric in METRICS]
    return [name for name in ours if name in wanted] + [name for name in wanted if name not in ours]
