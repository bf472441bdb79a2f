# SPDX-License-Identifier: Apache-2.0
"""Joints of a network that regresses them; those of heatmaps are in `common.topdown.heatmaps`."""

from AlphaPose.loss import Norm, integral_coordinates
from common.topdown.heatmaps import Peaks

import torch
from torch import Tensor


def regress(maps: Tensor, norm: Norm = "sigmoid") -> Peaks:
    """Joints as the mean of the cells, weighted by the maps (integral regression, arXiv 1711.08229).

    `maps` (N, K, H, W) as the network gives them. "sigmoid": weights are the sigmoid of the map and the score its
    maximum; "softmax": over the whole map, and every score is 1, as in the original.
    """
    sides = maps.new_tensor(maps.shape[:1:-1], dtype=torch.float32)  # width, height
    cells = integral_coordinates(maps, norm) * sides
    scores = maps.float().sigmoid().amax(dim=(2, 3)) if norm == "sigmoid" else cells.new_ones(cells.shape[:2])
    return cells, scores
