"""How fast damage is made: ``OMP_NUM_THREADS=1 python tests/distortions/measure_throughput.py [--rate HZ]``.

Prints seconds of audio a second of processor time, that is what a worker makes on a core of its own, whatever else
runs: for each distortion, for each family (its members as often as the random chain takes them), and for random
chains; then the same in one worker and in as many as there are cores, and what they make by the clock. Programs that
are run count. ``--chains``: only random chains.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import resources
from pathlib import Path

import numpy as np
import soxr

from audio_enh.distortions import DISTORTIONS, FAMILIES, Distortion, RandomDamage, Recordings
from audio_enh.io import read_audio

RECORDINGS = Recordings()


def speech(rate: int, seconds: float) -> np.ndarray:
    path = Path(str(resources.files("audio_enh"))) / "samples" / "clean" / "rain.flac"
    audio, source = read_audio(path)
    mono = soxr.resample(audio[0], source, rate)[: int(seconds * rate)]
    return (0.05 * mono / np.sqrt(np.mean(mono**2)))[None].astype(np.float32)


def processor_seconds() -> float:
    """Of this process and the programs it ran."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def speed(kind: type[Distortion], rate: int, seconds: float, budget: float) -> float:
    """Seconds of audio a second; severities are drawn, the first item (delays, rooms) is not counted."""
    audio = speech(rate, seconds)
    items, spent = -1, 0.0
    while spent < budget or items < 3:
        rng = np.random.default_rng((0, items + 1))
        distortion = kind.at(float(rng.random()), rate, rng)
        started = processor_seconds()
        distortion(audio, rate, rng, RECORDINGS)
        if items >= 0:
            spent += processor_seconds() - started
        items += 1
    return items * seconds / spent


def chains(first: int, count: int, rate: int, seconds: float) -> float:
    """Damage items ``first`` on; the processor time it took."""
    damage, audio = RandomDamage(RECORDINGS), speech(rate, seconds)
    started = processor_seconds()
    for item in range(first, first + count):
        damage(audio, rate, np.random.default_rng((0, item)))
    return processor_seconds() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=int, default=16000, help="sample rate in Hz")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of an item")
    parser.add_argument("--budget", type=float, default=0.4, help="seconds to measure each distortion for")
    parser.add_argument("--items", type=int, default=300, help="random items a worker")
    parser.add_argument("--chains", action="store_true", help="random chains only")
    given = parser.parse_args()
    sys.stdout.write(
        f"{given.seconds:g} s of audio at {given.rate} Hz; seconds of audio a second of processor time\n"
    )
    if not given.chains:
        families(given)
    random_chains(given)


def families(given: argparse.Namespace) -> None:
    """Each distortion and each family."""
    say = sys.stdout.write
    speeds = {
        kind: speed(kind, given.rate, given.seconds, given.budget)
        for kind in DISTORTIONS
        if kind.unavailable(RECORDINGS) is None
    }
    for family in FAMILIES:
        members = [(kind, weight) for kind, weight in family.members if kind in speeds]
        cost = sum(weight / speeds[kind] for kind, weight in members) / sum(weight for _, weight in members)
        say(f"{family.name}: {1 / cost:.0f}\n")
        say("".join(f"    {kind.name():20s} {speeds[kind]:6.0f}\n" for kind, _ in members))
    slowest = sorted(speeds, key=lambda kind: speeds[kind])[:5]
    say("slowest: " + ", ".join(f"{kind.name()} {speeds[kind]:.0f}" for kind in slowest) + "\n")


def random_chains(given: argparse.Namespace) -> None:
    """In this process, in one worker, and in as many as there are cores."""
    say = sys.stdout.write
    chains(20_000, 100, given.rate, given.seconds)
    made = given.items * given.seconds / chains(0, given.items, given.rate, given.seconds)
    say(f"random chains: {made:.0f}\n")
    for workers in (1, os.cpu_count() or 1):
        with ProcessPoolExecutor(workers) as pool:
            warm = [pool.submit(chains, 10_000 * w, 100, given.rate, given.seconds) for w in range(workers)]
            _ = [job.result() for job in warm]
            started = time.perf_counter()
            jobs = [
                pool.submit(chains, 1_000_000 + 10_000 * w, given.items, given.rate, given.seconds)
                for w in range(workers)
            ]
            used = sum(job.result() for job in jobs)
            seconds = workers * given.items * given.seconds
            clock = time.perf_counter() - started
        plural = "s" * (workers > 1)
        say(f"random chains, {workers} worker{plural}: {seconds / used:.0f} each;")
        say(f" by the clock {seconds / clock:.0f} in all\n")


if __name__ == "__main__":
    main()
