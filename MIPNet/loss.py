# SPDX-License-Identifier: Apache-2.0
"""MIPNet's loss: the squared error of the heatmaps of the person that lambda selects."""

from common.topdown.targets import peak_accuracy

import torch
from torch import Tensor


def draw_lambdas(count: int, generator: torch.Generator | None = None) -> Tensor:
    """(2 * count,) float32 on the CPU: 0 or 1 at random for each image, then the opposite of each.

    Every image is trained with both, so that the batch normalisation over lambda vectors sees both.
    """
    chosen = (torch.rand(count, generator=generator) > 0.5).float()
    return torch.cat([chosen, 1 - chosen])


def meant_by(lambdas: Tensor, people: Tensor) -> Tensor:
    """(2B, ...): of each image's two people (B, 2, ...), the one that its lambda selects; `lambdas` (2B,), 0 or 1.

    The first one, whose box it is, for 1, the other one for 0: so that the mean over these rows is the published
    mean(L_A * lambda) + mean(L_B * (1 - lambda)).
    """
    rows = torch.arange(len(lambdas), device=people.device) % len(people)
    return people[rows, (lambdas < 1).long()]


def accuracy(predicted: Tensor, target: Tensor) -> Tensor:
    """The share of peaks near the target's, see common.topdown.targets.peak_accuracy; a scalar 0 to 1.

    `predicted`, `target`: (B, K, h, w). x is measured by the map's height and y by its width, as the original does:
    its published numbers come from it.
    """
    height, width = target.shape[2:]
    return peak_accuracy(predicted.float(), target, (height, width))
