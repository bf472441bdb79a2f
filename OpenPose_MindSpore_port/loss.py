# SPDX-License-Identifier: Apache-2.0
"""The masked squared error of every stage (Cao et al. 2017, arXiv:1611.08050, equations 5 and 6)."""

from collections.abc import Sequence

from torch import Tensor


def stage_losses(
    pafs: Sequence[Tensor], heatmaps: Sequence[Tensor], gt_pafs: Tensor, gt_heatmaps: Tensor, valid_mask: Tensor
) -> dict[str, Tensor]:
    """One loss a map of each stage; their sum is what training minimises, all with the same weight.

    Args:
        pafs: The network's, one a stage: (B, num_pafs, h, w), of any floating type.
        heatmaps: The network's, one a stage: (B, num_heatmaps, h, w).
        gt_pafs: (B, num_pafs, h, w) float32.
        gt_heatmaps: (B, num_heatmaps, h, w) float32.
        valid_mask: (B, 1, h, w) float32 in [0, 1]: 1 where a cell counts, 0 inside an ignored region.

    Returns:
        {"s1_paf": scalar, "s1_heatmap": scalar, "s2_paf": ...} in float32: ignored cells add nothing and count in the
        divisor.
    """
    losses = {}
    for stage, maps in enumerate(zip(pafs, heatmaps, strict=True), start=1):
        for name, predicted, target in zip(("paf", "heatmap"), maps, (gt_pafs, gt_heatmaps), strict=True):
            losses[f"s{stage}_{name}"] = ((predicted.float() - target).square() * valid_mask).mean()
    return losses
