# SPDX-License-Identifier: Apache-2.0
"""The squared error of heatmaps and the accuracy of their peaks, as top-down models train on them."""

from common.topdown.heatmap_decoding import decode

import torch
from torch import Tensor

ACCURACY_DISTANCE = 0.5  # of the normalising length: nearer is a hit (spec A1.7, "train accuracy")
NORMALISING_PART = 10  # the normalising length is this part of the map's side


def mean_squared_error(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """0.5 * mean(((predicted - target) * weight)^2) over all elements, a scalar (spec A1.5, A2.3).

    `predicted`, `target`: (B, K, h, w); `weight`: (B, K), 0 where a joint does not count.
    """
    return 0.5 * per_joint(predicted, target, weight).mean()


def per_joint(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """(B, K) float32: the mean over the map of ((predicted - target) * weight)^2. Shapes as `mean_squared_error`."""
    return ((predicted.float() - target) * weight[..., None, None]).square().mean(dim=(2, 3))


def peak_accuracy(predicted: Tensor, target: Tensor, sides: tuple[int, int]) -> Tensor:
    """The share of peaks near the target's, meaned over the joints that have any: a scalar, 0 where none has.

    `predicted`, `target`: (B, K, h, w). `sides`: what x and y are measured by, each divided by NORMALISING_PART.
    A target counts where its peak has x > 1 and y > 1 (spec A1.7). Stays on the device: nothing waits for it.
    """
    wanted = decode(target, "none").cells
    unit = torch.tensor(sides, device=wanted.device) / NORMALISING_PART
    hits = torch.linalg.vector_norm((decode(predicted, "none").cells - wanted) / unit, dim=2) < ACCURACY_DISTANCE
    counted = (wanted > 1).all(dim=2)
    totals = counted.sum(dim=0)
    shares = (hits & counted).sum(dim=0) / totals.clamp(min=1)
    mean: Tensor = shares.sum() / (totals > 0).sum().clamp(min=1)
    return mean
