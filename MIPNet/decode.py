# SPDX-License-Identifier: Apache-2.0
"""How peaks of heatmaps are refined; what both top-down models do is in `common.topdown.heatmaps`."""

import math

from common.topdown import heatmaps

import torch
from torch import Tensor

DARK_SIGMA_MAP = 2.0  # of the smoothing before the Taylor step, with a window of 11 cells (DARK, arXiv 1910.06278)
DARK_REACH = 5
SMALLEST = 1e-10  # before the logarithm
SECOND = [(-2, 0), (2, 0), (0, -2), (0, 2), (1, 1), (1, -1), (-1, 1), (-1, -1)]  # what second differences need too


def refine_dark(maps: Tensor, cells: Tensor) -> Tensor:
    """Cells (N, K, 2), whole numbers, moved to the top of a Gaussian (DARK, arXiv 1910.06278).

    The maps are smoothed, brought back to their former maxima, and the step is Newton's on their logarithm. Joints
    within two cells of a border, or where the logarithm is not curved, stay.
    """
    around = heatmaps.around(_smoothed(maps), cells, [(0, 0), *heatmaps.NEIGHBOURS, *SECOND])
    values = [value.clamp(min=SMALLEST).log() for value in around]
    here, left, right, above, below, far_left, far_right, far_above, far_below, *corners = values
    dx, dy = 0.5 * (right - left), 0.5 * (below - above)
    dxx, dyy = 0.25 * (far_right - 2 * here + far_left), 0.25 * (far_below - 2 * here + far_above)
    dxy = 0.25 * (corners[0] - corners[1] - corners[2] + corners[3])
    determinant = dxx * dyy - dxy * dxy
    step = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=-1)
    is_curved = heatmaps.inside(maps, cells, 2) & (determinant != 0)
    return torch.where(is_curved[..., None], cells + step / torch.where(is_curved, determinant, 1)[..., None], cells)


def _smoothed(maps: Tensor) -> Tensor:
    """Maps after a Gaussian blur with black borders, scaled to the maxima that they had before."""
    rows, columns = (_blur(cells, maps) for cells in maps.shape[2:])
    blurred = rows @ (maps @ columns)
    return blurred.mul_(maps.amax(dim=(2, 3), keepdim=True) / blurred.amax(dim=(2, 3), keepdim=True))


def _blur(cells: int, like: Tensor) -> Tensor:
    """(cells, cells): the blur along one axis as a matrix; as a product it is far faster than as a convolution."""
    place = torch.arange(cells, device=like.device)
    away = (place[:, None] - place).to(like.dtype)
    total = sum(math.exp(-(step**2) / (2 * DARK_SIGMA_MAP**2)) for step in range(-DARK_REACH, DARK_REACH + 1))
    return torch.where(away.abs() <= DARK_REACH, torch.exp(away.square() / (-2 * DARK_SIGMA_MAP**2)) / total, 0)


REFINE: dict[str, heatmaps.Refine | None] = {"none": None, "quarter": heatmaps.refine_quarter, "dark": refine_dark}
