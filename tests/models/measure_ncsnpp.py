"""What the forms of NCSN++ cost in training: prints the table of docs/diffusion.md.

Run as ``python -m tests.models.measure_ncsnpp [--device cuda] [--channels 128 --frames 256 --batch 4]``. A step is
forward, backward and AdamW. The naive form is the usual one: resampling by putting in zeros, a full convolution and
dropping samples; attention with its square matrix; contiguous tensors in single precision. Every form runs in a
process of its own, and all forms in turn ``--rounds`` times; the fastest step counts, on the CPU by its own time,
without that of other programs. Memory is the peak in a step beyond what is there between steps (weights, state of
the optimiser).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from audio_enh.models import ncsnpp

FORMS = {
    "naive": (),
    "ours": ("ours",),
    "+ channels-last": ("ours", "channels_last"),
    "+ bfloat16 autocast": ("ours", "channels_last", "autocast"),
    "+ torch.compile": ("ours", "channels_last", "autocast", "compile"),
}


def naive_resample(x: Tensor, up: int, down: int, pad: tuple[int, int]) -> Tensor:
    """Zeros between samples, a convolution of each channel at that rate, every ``down``-th sample of it."""
    batch, channels, rows, columns = x.shape
    x = x.reshape(batch * channels, 1, rows, 1, columns, 1)
    x = F.pad(x, (0, up - 1, 0, 0, 0, up - 1)).reshape(batch * channels, 1, rows * up, columns * up)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device) / 8 * up
    x = F.conv2d(F.pad(x, (*pad, *pad)), (taps[:, None] * taps)[None, None])[:, :, ::down, ::down]
    return x.reshape(batch, channels, *x.shape[2:])


def naive_attention(self: ncsnpp.Attention, x: Tensor) -> Tensor:
    places = self.norm(x).flatten(2).transpose(1, 2)
    weights = torch.einsum("bic,bjc->bij", self.query(places), self.key(places)) * x.shape[1] ** -0.5
    h = torch.einsum("bij,bjc->bic", weights.softmax(dim=2), self.value(places))
    return (x + self.output(h).transpose(1, 2).unflatten(2, x.shape[2:])) * 0.5**0.5


def make_naive(network: ncsnpp.NCSNpp) -> Callable[[Tensor, Tensor], Tensor]:
    """Its body with the naive parts in place of ours; for this process only."""
    up, down = (
        partial(naive_resample, up=2, down=1, pad=(2, 1)),
        partial(naive_resample, up=1, down=2, pad=(1, 1)),
    )
    ours = {ncsnpp.upsample: up, ncsnpp.downsample: down}
    for block in network.modules():
        if isinstance(block, ncsnpp.ResidualBlock) and block.resample is not None:
            block.resample = ours[block.resample]
    ncsnpp.upsample, ncsnpp.downsample = up, down
    ncsnpp.Attention.forward = naive_attention
    return network.body


def measure(form: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of the fastest step, and peak memory in MB beyond that between steps."""
    switches = FORMS[form]
    device = torch.device(options.device)
    torch.manual_seed(0)
    multipliers = (1, 1, 2, 2, 2, 2, 2)[: options.levels]
    network = ncsnpp.NCSNpp(256, options.channels, multipliers, attention_bins=(16,)).to(device)
    image = torch.randn(options.batch, ncsnpp.IMAGE_CHANNELS, 256, options.frames, device=device)
    t = torch.rand(options.batch, device=device)
    if "channels_last" in switches:
        network, image = (x.to(memory_format=torch.channels_last) for x in (network, image))
    body = network.body
    with torch.no_grad():
        expected = body(image, t)
    if "ours" not in switches:
        body = make_naive(network)
        with torch.no_grad():
            torch.testing.assert_close(body(image, t), expected, atol=1e-4, rtol=1e-3)
    if "compile" in switches:
        body = torch.compile(body)
    optimizer = torch.optim.AdamW((p for p in network.parameters() if p.requires_grad), lr=1e-4)

    # Of the processor where that does the work: other programs do not count.
    clock = time.process_time if device.type == "cpu" else time.perf_counter

    def step() -> float:
        began = clock()
        with torch.autocast(device.type, torch.bfloat16, enabled="autocast" in switches):
            loss = body(image, t).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return clock() - began

    for _ in range(2):
        step()
    seconds = min(step() for _ in range(options.repeats))
    before = reset_peak(device)
    step()
    return {"seconds": seconds, "memory": peak(device) - before}


def reset_peak(device: torch.device) -> float:
    """Start to watch for the peak; memory in use, in MB."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e6
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return peak(device)


def peak(device: torch.device) -> float:
    """Most memory since :func:`reset_peak`, in MB; on the CPU resident memory, as Linux tells it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--levels", type=int, default=5)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.form is not None:
        sys.stdout.write(json.dumps(measure(options.form, options)))
        return
    results: dict[str, list[dict[str, float]]] = {form: [] for form in FORMS}
    for _ in range(options.rounds):
        for form, measured in results.items():
            command = [sys.executable, "-m", "tests.models.measure_ncsnpp", *sys.argv[1:], "--form", form]
            measured.append(json.loads(subprocess.check_output(command)))
    best = {
        form: {key: min(m[key] for m in measured) for key in measured[0]}
        for form, measured in results.items()
    }
    naive = best["naive"]
    sys.stdout.write("| form | seconds a step | speed | MB | memory |\n|---|---|---|---|---|\n")
    for form, row in best.items():
        speed, share = naive["seconds"] / row["seconds"], row["memory"] / naive["memory"]
        sys.stdout.write(
            f"| {form} | {row['seconds']:.2f} | {speed:.2f} | {row['memory']:.0f} | {share:.2f} |\n"
        )


if __name__ == "__main__":
    main()
