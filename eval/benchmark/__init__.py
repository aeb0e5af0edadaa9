"""This project's models beside what a user would pick instead: quality and cost, on one set in one run."""

from .run import Benchmark, BenchmarkRequest, run_benchmark

__all__ = ["Benchmark", "BenchmarkRequest", "run_benchmark"]
