"""Fit the gains of a full-band model's upper bands to what the rest of the model hears, computed once.

    python -m tests.quality.fit_upper_bands hear causal-unet-48k features manifest=/data/manifest.csv --items 8000
    python -m tests.quality.fit_upper_bands fit causal-unet-48k features out

The network of the gains takes a fiftieth of the model's time, so `experiment=full_band` spends nearly all of a
training step on parts that do not change. Here `hear` runs these once over mixtures of that recipe (it goes on
where it stopped) and keeps, for every frame, the network's input and the energies of the delayed bands, noisy
and clean; `fit` then trains on them for as many epochs as wanted. The loss compares the square roots of the
bands' energies to the power of 0.3, and their levels in dB.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import hydra
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from audio_enh.inference.checkpoint import load_model, save_checkpoint
from audio_enh.models.full_band import FullBandUNet, _from_erb, _to_erb

BATCH = 8


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def full_band(name: str) -> tuple[FullBandUNet, dict]:
    model, info = load_model(name, "cpu")
    if not isinstance(model, FullBandUNet):
        sys.exit(f"{name} is no full-band model")
    return model.eval(), info


@torch.no_grad()
def hear(model: FullBandUNet, noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Input of the gains' network ``(batch, frames, inputs)``; energies ``(batch, frames, bands)``, noisy, clean."""
    seen: list[Tensor] = []
    hook = model.enter.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model.hear(noisy, model.init_hearing(noisy.shape[0]))
    hook.remove()
    energies = [
        model.upper_bands(x).unflatten(2, (-1, model.hop_length)).square().mean(dim=3).transpose(1, 2)
        for x in (noisy, clean)
    ]
    return seen[0], energies[0], energies[1]


def gains(model: FullBandUNet, x: Tensor) -> Tensor:
    """As the model computes them, ``(batch, frames, bands)``."""
    x = model.enter(x)[:, :, None]
    for layer in model.memory:
        added, _ = layer(x, layer.init_state(x.shape[0], 1))
        x = x + added
    return model.to_gains(x[:, :, 0]).sigmoid()


def loss(gain: Tensor, noisy: Tensor, clean: Tensor, known: Tensor, level_weight: float) -> Tensor:
    before = torch.cat([torch.zeros_like(gain[:, :1]), gain[:, :-1]], dim=1)
    # The mean square of a gain that fades from one to the next along a squared sine.
    square = (3 * before.square() + 3 * gain.square() + 2 * before * gain) / 8
    out = noisy * square
    # Everything against the item's level; where there is noise alone, against the noise's.
    unit = torch.maximum(clean, 0.01 * noisy).amax(dim=(1, 2), keepdim=True).clamp(min=1e-10)
    out, target = out / unit + 1e-7, clean / unit + 1e-7
    compressed = (out.pow(0.15) - target.pow(0.15)).square()
    level = (out.log10() - target.log10()).abs()
    return ((compressed + level_weight * level) * known).sum() / known.sum()


def hear_all(args: argparse.Namespace) -> None:
    model, _ = full_band(args.model)
    with hydra.initialize_config_module("audio_enh.recipes", version_base="1.3"):
        config = hydra.compose("train", ["experiment=full_band", "out=unused", *args.overrides])
    data = hydra.utils.instantiate(config.data)
    data.prepare_data()
    data.setup("fit")
    args.features.mkdir(parents=True, exist_ok=True)
    for name, items, count in (("valid", data.valid_set, 48), ("train", data.train_set, args.items)):
        for first in range(0, count, BATCH * 8):
            path = args.features / f"{name}-{first:06}.npz"
            if path.exists():
                continue
            batches = DataLoader(Subset(items, range(first, min(first + BATCH * 8, count))), batch_size=BATCH)
            parts = [(*hear(model, b.noisy, b.clean), b.bandwidth) for b in batches]
            x, noisy, clean, bandwidth = (torch.cat(p) for p in zip(*parts, strict=True))
            with path.with_suffix(".part").open("wb") as file:
                np.savez(
                    file,
                    x=x.half().numpy(),
                    noisy=noisy.numpy(),
                    clean=clean.numpy(),
                    bandwidth=bandwidth.numpy(),
                )
            path.with_suffix(".part").rename(path)
            write(f"{name} {first}")


def load(folder: Path, name: str, edges: np.ndarray) -> list[Tensor]:
    parts: list[list[Tensor]] = [[], [], [], []]
    for path in sorted(folder.glob(f"{name}-*.npz")):
        with np.load(path) as held:
            known = held["bandwidth"][:, None, None] >= edges
            for part, key in zip(parts, (held["x"], held["noisy"], held["clean"], known), strict=True):
                part.append(torch.from_numpy(np.ascontiguousarray(key)))
    return [torch.cat(part) for part in parts]


def fit(args: argparse.Namespace) -> None:
    model, info = full_band(args.model)
    torch.manual_seed(args.seed)
    low, high = model.sample_rate / 2 / model.ratio, model.sample_rate / 2
    # Up to where a band must be known: its upper end, but for the slope of the recordings' own low-pass.
    edges = _from_erb(np.linspace(_to_erb(low), _to_erb(high), model.bands + 1))[1:] * 0.97
    train, valid = load(args.features, "train", edges), load(args.features, "valid", edges)
    trained = nn.ModuleList([model.enter, model.memory, model.to_gains]).requires_grad_()
    optimizer = torch.optim.AdamW(
        trained.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=args.decay
    )
    average = torch.optim.swa_utils.AveragedModel(
        trained, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.999)
    )

    def scheduled(step: int) -> float:
        return min(step / 200, 1) * (0.01 + 0.99 * (1 + np.cos(np.pi * step / args.steps)) / 2)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scheduled)
    began = time.time()
    drop = nn.Dropout(args.dropout)
    total = 0.0
    kept: tuple[float, list[Tensor]] = (float("inf"), [])

    def validate(parameters: list[nn.Parameter]) -> float:
        nonlocal kept
        own = [p.detach().clone() for p in trained.parameters()]
        with torch.no_grad():
            for p, q in zip(trained.parameters(), parameters, strict=True):
                p.copy_(q)
            x, noisy, clean, known = valid
            score = float(loss(gains(model, x.float()), noisy, clean, known.float(), args.level_weight))
            if score < kept[0]:
                kept = score, [p.detach().clone() for p in trained.parameters()]
            for p, q in zip(trained.parameters(), own, strict=True):
                p.copy_(q)
        return score

    write(f"before: valid {validate(list(trained.parameters())):.5f}")
    for step in range(args.steps):
        chosen = torch.randint(len(train[0]), (args.batch,))
        x, noisy, clean, known = (part[chosen] for part in train)
        value = loss(gains(model, drop(x.float())), noisy, clean, known.float(), args.level_weight)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(trained)
        total += float(value.detach())
        if step % 500 == 499 or step == args.steps - 1:
            score = validate(list(average.module.parameters()))
            write(f"step {step + 1}: train {total / 500:.5f} valid {score:.5f} ({time.time() - began:.0f} s)")
            total = 0.0
    with torch.no_grad():
        for p, q in zip(trained.parameters(), kept[1], strict=True):
            p.copy_(q)
    arguments = {key: value for key, value in info["model"].items() if key != "_target_"}
    save_checkpoint(args.out, model, info["info"], arguments=arguments, dtype=torch.float16, overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    first = parts.add_parser("hear")
    first.add_argument("model")
    first.add_argument("features", type=Path)
    first.add_argument("overrides", nargs="*")
    first.add_argument("--items", type=int, default=8000)
    first.set_defaults(run=hear_all)
    second = parts.add_parser("fit")
    second.add_argument("model")
    second.add_argument("features", type=Path)
    second.add_argument("out", type=Path)
    second.add_argument("--steps", type=int, default=8000)
    second.add_argument("--batch", type=int, default=32)
    second.add_argument("--rate", type=float, default=2e-3)
    second.add_argument("--decay", type=float, default=0.01)
    second.add_argument("--dropout", type=float, default=0.1)
    second.add_argument("--level-weight", type=float, default=0.01)
    second.add_argument("--seed", type=int, default=0)
    second.set_defaults(run=fit)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.run(args)


if __name__ == "__main__":
    main()
