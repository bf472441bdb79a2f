# SPDX-License-Identifier: Apache-2.0
"""The masked squared error of every stage (Cao et al. 2017, arXiv:1611.08050, equations 5 and 6)."""

from torch import Tensor


def stage_losses(maps: list[Tensor], heatmaps: Tensor, pafs: Tensor, valid_mask: Tensor) -> dict[str, Tensor]:
    """sum(((predicted - target) * valid_mask)^2) / 2 / B of each map and stage; their sum is what training minimises.

    `maps`: the network's outputs, heatmaps and pafs in turn, (B, C, h, w). `heatmaps`, `pafs`: targets of the same
    sizes, float32. `valid_mask`: (B, 1, h, w) float32, 1 where a cell counts, 0 inside a crowd.
    Returns {"s1_heatmap": scalar, "s1_paf": scalar, "s2_heatmap": ...}.
    """
    losses = {}
    for position, predicted in enumerate(maps):
        name, target = ("paf", pafs) if position % 2 else ("heatmap", heatmaps)
        squares = ((predicted.float() - target) * valid_mask).square()
        losses[f"s{position // 2 + 1}_{name}"] = squares.sum() / (2 * len(predicted))
    return losses
