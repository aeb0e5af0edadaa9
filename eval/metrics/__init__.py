"""Metrics as plain functions on arrays ``(samples,)``; no value to give is a ``MetricError``."""

from .composite import Composite, composite, log_likelihood_ratio, seg_snr, weighted_spectral_slope
from .errors import MetricError
from .measure import Measurement, measure
from .mos import Dnsmos, dnsmos, plcmos
from .naturalness import distillmos
from .perceptual import estoi, pesq_nb, pesq_wb, stoi
from .sdr import sd_sdr, si_sar, si_sdr, si_sdr_torch, si_sir, snr
from .signals import Signals
from .speaker import speaker_similarity
from .spectral import log_spectral_distance, mel_cepstral_distance
from .table import BY_NAME, METRICS, Metric, in_order
from .words import differential_word_error_rate, phoneme_similarity, recognise, word_error_rate

__all__ = [
    "BY_NAME",
    "METRICS",
    "Composite",
    "Dnsmos",
    "Measurement",
    "Metric",
    "MetricError",
    "Signals",
    "composite",
    "differential_word_error_rate",
    "distillmos",
    "dnsmos",
    "estoi",
    "in_order",
    "log_likelihood_ratio",
    "log_spectral_distance",
    "measure",
    "mel_cepstral_distance",
    "pesq_nb",
    "pesq_wb",
    "phoneme_similarity",
    "plcmos",
    "recognise",
    "sd_sdr",
    "seg_snr",
    "si_sar",
    "si_sdr",
    "si_sdr_torch",
    "si_sir",
    "snr",
    "speaker_similarity",
    "stoi",
    "weighted_spectral_slope",
    "word_error_rate",
]
