# SPDX-License-Identifier: Apache-2.0
"""Batches and targets of a top-down network: heatmaps of a person's joints, their loss, the accuracy of peaks.

Everything is batched over people and joints and stays on the device of the maps.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

GAUSSIAN_REACH = 3  # sigmas: a Gaussian is exactly 0 beyond
DRAWN = 0.5  # a joint of a smaller weight has an empty map
ACCURACY_DISTANCE = 0.5  # of the normalising length: nearer is a hit
NORMALISING_PART = 10  # the normalising length is this part of the map's side


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Samples as one batch: image (B, 3, H, W) uint8, joints (B, ..., K, 2) float64, visible (B, ..., K) float32."""
    batch = {name: torch.from_numpy(np.stack([one[name] for one in samples])) for name in samples[0]}
    return batch | {"image": batch["image"].permute(0, 3, 1, 2)}


def encode(
    joints_in: Tensor, visible: Tensor, map_size: tuple[int, int], stride: float, sigma_map: float
) -> tuple[Tensor, Tensor]:
    """Targets of a batch of people: heatmaps (B, K, height, width) float32 and weights (B, K) float32.

    `joints_in` (B, K, 2) x, y in input pixels; float64, where the device has it, rounds as the originals do.
    `visible` (B, K): 1 or 0. `map_size`: (height, width) in cells of `stride` input pixels. `sigma_map`: cells.

    A Gaussian is centred on a whole cell, its peak is 1. The weight is the visibility, but 0 where no part of the
    Gaussian could be on the map; a joint outside the map whose Gaussian reaches into it keeps its weight.
    """
    centre = torch.trunc(joints_in / stride + 0.5)
    reach = int(GAUSSIAN_REACH * sigma_map)
    height, width = map_size
    size = centre.new_tensor([width, height])
    # One cell too far on the near side: the original counts a Gaussian that ends just before the map as on it.
    near = ((centre - reach < size) & (centre + reach + 1 >= 0)).all(dim=-1)
    weights = visible * near
    columns = _profile(centre[..., 0], width, reach, sigma_map)
    rows = _profile(centre[..., 1], height, reach, sigma_map) * (weights > DRAWN)[..., None]
    return rows[..., :, None] * columns[..., None, :], weights.float()


def _profile(centre: Tensor, cells: int, reach: int, sigma_map: float) -> Tensor:
    """(B, K, cells) float32: one axis of the Gaussians; their product over the axes is the Gaussian itself."""
    away = torch.arange(cells, device=centre.device) - centre[..., None]
    return torch.where(away.abs() <= reach, torch.exp(away.square() / (-2 * sigma_map**2)), 0).float()


def mean_squared_error(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """0.5 * mean(((predicted - target) * weight)^2) over all elements, a scalar.

    `predicted`, `target`: (B, K, h, w); `weight`: (B, K), 0 where a joint does not count.
    """
    return 0.5 * ((predicted.float() - target) * weight[..., None, None]).square().mean()


def peak_accuracy(predicted: Tensor, target: Tensor, sides: tuple[int, int]) -> Tensor:
    """The share of peaks near the target's, averaged over the joints that have any: a scalar, 0 where none has.

    `predicted`, `target`: (B, K, h, w). `sides`: what x and y are measured by, each divided by NORMALISING_PART.
    A target counts where its peak has x > 1 and y > 1. Stays on the device: no synchronisation.
    """
    expected, _ = highest(target)
    unit = torch.tensor(sides, device=expected.device) / NORMALISING_PART
    hits = torch.linalg.vector_norm((highest(predicted)[0] - expected) / unit, dim=2) < ACCURACY_DISTANCE
    counted = (expected > 1).all(dim=2)
    totals = counted.sum(dim=0)
    shares = (hits & counted).sum(dim=0) / totals.clamp(min=1)
    mean: Tensor = shares.sum() / (totals > 0).sum().clamp(min=1)
    return mean


def highest(maps: Tensor, keep_zero: bool = False) -> tuple[Tensor, Tensor]:
    """The highest cell of each map, x, y (N, K, 2) float32, and its value (N, K); the first where several are equal.

    `maps` (N, K, H, W). A map that is nowhere above 0 has its peak at (0, 0), with `keep_zero` only one below 0.
    """
    scores, index = maps.flatten(2).max(dim=-1)
    index = torch.where(scores >= 0 if keep_zero else scores > 0, index, 0)
    return torch.stack([index % maps.shape[3], index // maps.shape[3]], dim=-1).float(), scores
