# SPDX-License-Identifier: Apache-2.0
"""Joints of a network that regresses them; those of heatmaps are in `common.topdown.heatmaps`."""

from typing import Literal

from common.topdown.heatmaps import Peaks

import torch
from torch import Tensor

Norm = Literal["sigmoid", "softmax"]


def regress(maps: Tensor, norm: Norm = "sigmoid") -> Peaks:
    """Joints as the mean of the cells, weighted by the maps (integral regression, arXiv 1711.08229).

    `maps` (N, K, H, W) as the network gives them. "sigmoid": weights are the sigmoid of the map and the score its
    maximum; "softmax": over the whole map, and every score is 1, as in the original.
    """
    maps = maps.float()
    weights = maps.sigmoid() if norm == "sigmoid" else maps.flatten(2).softmax(dim=-1).view_as(maps)
    scores = weights.amax(dim=(2, 3)) if norm == "sigmoid" else torch.ones_like(maps[..., 0, 0])
    rows, columns = (torch.arange(size, device=maps.device, dtype=maps.dtype) for size in maps.shape[2:])
    along_y, along_x = weights.sum(dim=3), weights.sum(dim=2)
    cells = torch.stack([along_x @ columns, along_y @ rows], dim=-1) / along_y.sum(dim=2)[..., None]
    return Peaks(cells, scores)
