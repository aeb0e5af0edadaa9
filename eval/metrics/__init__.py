"""Metrics as plain functions on arrays ``(samples,)``; no value to give is a ``MetricError``."""

from .errors import MetricError
from .perceptual import estoi, pesq_nb, pesq_wb, stoi
from .sdr import sd_sdr, si_sar, si_sdr, si_sdr_torch, si_sir, snr

__all__ = [
    "MetricError",
    "estoi",
    "pesq_nb",
    "pesq_wb",
    "sd_sdr",
    "si_sar",
    "si_sdr",
    "si_sdr_torch",
    "si_sir",
    "snr",
    "stoi",
]
