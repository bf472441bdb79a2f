# SPDX-License-Identifier: Apache-2.0
"""The heatmaps that a top-down network learns: one Gaussian a joint, for a whole batch at once (spec A1.4).

Runs on the device of the joints, without a loop and without waiting for the device. `heatmap_decoding` is the way back.
"""

import torch
from torch import Tensor

REACH = 3  # sigmas: a Gaussian is exactly 0 beyond
DRAWN = 0.5  # a joint of a smaller weight has an empty map


def encode(
    joints_in: Tensor, visible: Tensor, map_size: tuple[int, int], stride: float, sigma_map: float
) -> tuple[Tensor, Tensor]:
    """Targets of a batch of people.

    `joints_in` (B, K, 2) x, y in input pixels; float64, where the device has it, rounds as the originals do.
    `visible` (B, K): 1 or 0. `map_size`: (height, width) in cells of `stride` input pixels. `sigma_map`: cells.
    Returns heatmaps (B, K, height, width) float32 and weights (B, K) float32.

    A Gaussian is centred on a whole cell, its peak is 1. The weight is the visibility, but 0 where no part of the
    Gaussian could be on the map; a joint outside the map whose Gaussian reaches into it keeps its weight.
    """
    centre = torch.trunc(joints_in / stride + 0.5)
    reach = int(REACH * sigma_map)
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
