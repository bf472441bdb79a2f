# SPDX-License-Identifier: Apache-2.0
"""Drawn maps for tests and benches of the decoder: people, noise, crowds."""

from common.skeleton import Skeleton
from Lightweight_OpenPose.model import STRIDE
from Lightweight_OpenPose.targets import encode

import numpy as np
import torch


def people_in(count: int, map_size: tuple[int, int], skeleton: Skeleton, random: np.random.Generator, height: float):
    """(count, num_points, 3) float64: points scattered like a person of about `height` network-input pixels."""
    shape = np.random.default_rng(0).uniform(-0.5, 0.5, (skeleton.num_points, 2)) * (0.5, 1)
    centres = random.uniform((0, 0), (map_size[1] * STRIDE, map_size[0] * STRIDE), (count, 1, 2))
    jitter = random.normal(0, 0.03, (count, *shape.shape))
    points = np.ones((count, skeleton.num_points, 3))
    points[..., :2] = centres + (shape + jitter) * height * random.uniform(0.7, 1.3, (count, 1, 1))
    return points


def drawn(points, map_size: tuple[int, int], skeleton: Skeleton, random: np.random.Generator, noise: float = 0.0):
    """Targets of `points` with normal noise, twice as much on the pafs: two float32 arrays (C, h, w)."""
    maps = encode(torch.from_numpy(points)[None], map_size, skeleton)
    heatmaps, pafs = (part[0].numpy() for part in maps)
    heatmaps, pafs = (one + random.normal(0, n * noise, one.shape) for n, one in enumerate((heatmaps, pafs), start=1))
    return heatmaps.astype(np.float32), pafs.astype(np.float32)


def pure_noise(map_size: tuple[int, int], skeleton: Skeleton, random: np.random.Generator, level: float):
    """Normal noise on all maps, twice as much on the pafs."""
    empty = np.zeros((0, skeleton.num_points, 3))
    heatmaps, pafs = drawn(empty, map_size, skeleton, random, level)
    heatmaps[-1] = 0
    return heatmaps, pafs
