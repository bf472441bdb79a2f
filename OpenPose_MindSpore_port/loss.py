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
        {"s1_paf": scalar, "s1_heatmap": scalar, "s2_paf": ...} in float32.
    """
    losses = {}
    for stage, (stage_pafs, stage_heatmaps) in enumerate(zip(pafs, heatmaps, strict=True), start=1):
        losses[f"s{stage}_paf"] = masked_mean_square(stage_pafs, gt_pafs, valid_mask)
        losses[f"s{stage}_heatmap"] = masked_mean_square(stage_heatmaps, gt_heatmaps, valid_mask)
    return losses


def masked_mean_square(predicted: Tensor, target: Tensor, valid_mask: Tensor) -> Tensor:
    """mean((predicted - target)^2 * valid_mask), float32: ignored cells add nothing and count in the divisor."""
    return ((predicted.float() - target).square() * valid_mask).mean()
