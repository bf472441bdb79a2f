# SPDX-License-Identifier: Apache-2.0
"""The masked squared error of every stage (spec A5; Cao et al. 2017, arXiv:1611.08050, equations 5 and 6)."""

from collections.abc import Sequence

from torch import Tensor


def stage_losses(
    fields: Sequence[Tensor], heatmaps: Sequence[Tensor], target_fields: Tensor, target_heatmaps: Tensor, usable: Tensor
) -> dict[str, Tensor]:
    """One loss a map of each stage; their sum is what training minimises, all with the same weight.

    `fields`, `heatmaps`: the network's outputs, one a stage, (B, num_fields or num_heatmaps, h, w), of any floating
    type. `target_fields`, `target_heatmaps`: the same sizes, float32. `usable`: (B, 1, h, w) float32 in [0, 1], 1
    where a cell counts, 0 inside an ignored region.
    Returns {"s1_paf": scalar, "s1_heatmap": scalar, "s2_paf": ...} in float32.
    """
    losses = {}
    for stage, (stage_fields, stage_heatmaps) in enumerate(zip(fields, heatmaps, strict=True), start=1):
        losses[f"s{stage}_paf"] = masked_mean_square(stage_fields, target_fields, usable)
        losses[f"s{stage}_heatmap"] = masked_mean_square(stage_heatmaps, target_heatmaps, usable)
    return losses


def masked_mean_square(predicted: Tensor, target: Tensor, usable: Tensor) -> Tensor:
    """mean((predicted - target)^2 * usable), a float32 scalar: ignored cells add nothing and count in the divisor."""
    return ((predicted.float() - target).square() * usable).mean()
