# SPDX-License-Identifier: Apache-2.0
"""What AlphaPose trains on beside the squared error of heatmaps: coordinates as an integral over them."""

from typing import Any, Literal

from common.topdown.targets import peak_accuracy

import torch
from torch import Tensor, nn

AMPLITUDE = 2.0  # of the gradient that the integral passes to each cell
Norm = Literal["sigmoid", "softmax"]  # LOSS.NORM_TYPE


def accuracy(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The share of peaks within half a tenth of the map's width and height of the target's, a scalar 0 to 1.

    `predicted`, `target`: (B, K, h, w); `weight`: (B, K). x is measured by the width, y by the height.
    """
    shown = weight[..., None, None]
    height, width = target.shape[2:]
    return peak_accuracy(predicted.float() * shown, target * shown, (width, height))


class SymmetricIntegral(torch.autograd.Function):
    """sum(p * x), with a gradient of equal size for every cell (Fang et al. 2022, arXiv:2211.03375, section 3.2).

    The true gradient grows with a cell's index, so it depends on where in the image the person is. Here each
    cell gets AMPLITUDE, positive on the side towards which the integral should move, negative on the other.
    """

    @staticmethod
    def forward(context: Any, shares: Tensor) -> Tensor:
        """`shares`: (B, K, n), summing to 1 -> (B, K) in cells."""
        cells = torch.arange(shares.shape[-1], device=shares.device, dtype=shares.dtype)
        mean = (shares * cells).sum(dim=-1)
        context.save_for_backward(cells, mean)
        return mean

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """(B, K) -> (B, K, n)."""
        cells, mean = context.saved_tensors
        side = torch.where(cells < mean[..., None], -AMPLITUDE, AMPLITUDE)
        return gradients[0][..., None] * side


def integral_coordinates(maps: Tensor, norm: Norm) -> Tensor:
    """(B, K, h, w) maps -> (B, K, 2) float32: x and y as a part of the map's sides, from 0 to 1.

    They are the mean of the cells, weighted by shares that sum to 1 over each map.
    """
    flat, (height, width) = maps.float().flatten(2), maps.shape[2:]
    shares = flat.softmax(dim=2) if norm == "softmax" else nn.functional.normalize(flat.sigmoid(), p=1, dim=2)
    shares = shares.view(maps.shape)
    x = SymmetricIntegral.apply(shares.sum(dim=2)) / width
    y = SymmetricIntegral.apply(shares.sum(dim=3)) / height
    return torch.stack([x, y], dim=2)


def regression_loss(maps: Tensor, target: Tensor, weight: Tensor, norm: Norm) -> Tensor:
    """L1JointRegression: sum(|coordinates - target| * weight) / B, a scalar.

    `maps`: (B, K, h, w); `target`: (B, K, 2) x and y as a part of the input's sides; `weight`: (B, K, 2).
    """
    return ((integral_coordinates(maps, norm) - target).abs() * weight).sum() / len(maps)
