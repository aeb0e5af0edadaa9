"""Where samplers take their noise from. A source is a function without arguments that gives the next draw.

Each draw is standard normal in the shape and type of the coefficients; complex noise has unit variance, half of it in
each part. What an item of a batch gets does not depend on the rest of the batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Noise = Callable[[], Tensor]


def generator_noise(like: Tensor, generator: torch.Generator) -> Noise:
    """Draws from one generator, for the whole batch."""
    return lambda: torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def seeded_noise(like: Tensor, seeds: Sequence[int]) -> Noise:
    """Draws from a generator for each item, so that an item gets in a batch what it would get alone.

    Args:
        like: ``(batch, ...)``.
        seeds: of the items.
    """
    if len(seeds) != like.shape[0]:
        raise ValueError(f"{like.shape[0]} items need as many seeds, not {len(seeds)}")
    generators = [torch.Generator(like.device).manual_seed(seed) for seed in seeds]

    def draw() -> Tensor:
        return torch.stack(
            [
                torch.randn(like.shape[1:], dtype=like.dtype, device=like.device, generator=g)
                for g in generators
            ]
        )

    return draw


#: Frames that share a generator in :func:`position_noise`.
BLOCK_FRAMES = 64


def position_noise(like: Tensor, seed: int, first_frames: Sequence[int]) -> Noise:
    """Noise that belongs to places of a recording: windows that overlap have the same where they overlap.

    Blocks of :data:`BLOCK_FRAMES` frames are drawn by generators of their own, seeded by the seed, the number of the
    draw and the block's place. They are drawn on the CPU, so that every device has the same noise.

    Args:
        like: spectrograms ``(batch, channels, bins, frames)``.
        seed: of the recording.
        first_frames: place of each item's first frame in its recording, in frames, 0 or more.
    """
    if len(first_frames) != like.shape[0]:
        raise ValueError(f"{like.shape[0]} items need as many first frames, not {len(first_frames)}")
    numbers = itertools.count()
    frames = like.shape[3]

    def draw() -> Tensor:
        number = next(numbers)
        drawn: dict[
            int, Tensor
        ] = {}  # items often share blocks: the channels of a file, windows that overlap

        def block(place: int) -> Tensor:
            if place not in drawn:
                generator = torch.Generator().manual_seed(mix(seed, number, place))
                shape = (*like.shape[1:3], BLOCK_FRAMES)
                drawn[place] = torch.randn(shape, dtype=like.dtype, generator=generator)
            return drawn[place]

        items = []
        for first in first_frames:
            places = range(first // BLOCK_FRAMES, (first + frames - 1) // BLOCK_FRAMES + 1)
            offset = first % BLOCK_FRAMES
            items.append(torch.cat([block(place) for place in places], dim=2)[:, :, offset : offset + frames])
        return torch.stack(items).to(like.device)

    return draw


def mix(*words: int) -> int:
    """63 well mixed bits of whole numbers, by the finaliser of SplitMix64 (Steele et al. 2014)."""
    state = 0
    for word in words:
        state = (state ^ (word & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state >> 1


_MASK = 2**64 - 1
