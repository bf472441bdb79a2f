# SPDX-License-Identifier: Apache-2.0
"""What MIPNet trains on: the squared error of heatmaps, and that of two people that lambda tells apart."""

from collections.abc import Callable

from common.topdown.targets import mean_squared_error, peak_accuracy, per_joint

import torch
from torch import Tensor

heatmap_loss: Callable[[Tensor, Tensor, Tensor], Tensor] = mean_squared_error


def per_sample(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """(B,): 0.5 * mean(((predicted - target) * weight)^2) over joints and cells of each sample.

    `predicted`, `target`: (B, K, h, w); `weight`: (B, K).
    """
    return 0.5 * per_joint(predicted, target, weight).mean(dim=1)


def hardest_joints(predicted: Tensor, target: Tensor, weight: Tensor, count: int) -> Tensor:
    """The mean over samples and their `count` worst joints of 0.5 * the squared error, a scalar. Shapes as above."""
    return 0.5 * per_joint(predicted, target, weight).topk(count, dim=1).values.mean()


def lambda_loss(
    predicted: Tensor, targets: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor], lambdas: Tensor
) -> Tensor:
    """mean(L_A * lambda) + mean(L_B * (1 - lambda)): what lambda 1 sees is A, the person of the box; 0 sees B.

    `predicted`: (N, K, h, w); `targets` of A and B, of the same size; `weights` (N, K) each; `lambdas`: (N,).
    """
    losses = [per_sample(predicted, target, weight) for target, weight in zip(targets, weights, strict=True)]
    return (losses[0] * lambdas).mean() + (losses[1] * (1 - lambdas)).mean()


def draw_lambdas(count: int, generator: torch.Generator | None = None) -> Tensor:
    """(2 * count,) float32 on the CPU: 0 or 1 at random for each image, then the opposite of each.

    Every image is trained with both, so that the batch normalisation over lambda vectors sees both.
    """
    chosen = (torch.rand(count, generator=generator) > 0.5).float()
    return torch.cat([chosen, 1 - chosen])


def accuracy(predicted: Tensor, target: Tensor) -> Tensor:
    """The share of peaks near the target's, see common.topdown.targets.peak_accuracy; a scalar 0 to 1.

    `predicted`, `target`: (B, K, h, w). x is measured by the map's height and y by its width, as the original does:
    its published numbers come from it.
    """
    height, width = target.shape[2:]
    return peak_accuracy(predicted.float(), target, (height, width))
