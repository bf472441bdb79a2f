# SPDX-License-Identifier: Apache-2.0
"""From the heatmaps of a top-down network back to joints in the image. (`common.topdown.targets`: those it learns.)

Everything is batched over people and joints and stays on the device of the maps; only cells and scores leave it.
`cells_to_image` then takes them to original pixels.
"""

import math
from typing import Literal, NamedTuple

from common.arrays import Float32Array
from common.topdown import crops
from common.topdown.targets import highest

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Refinement = Literal["none", "quarter", "dark"]
Norm = Literal["sigmoid", "softmax"]
QUARTER = 0.25  # cells towards the higher neighbour
DARK_SIGMA_MAP = 2.0  # of the smoothing before the Taylor step, with a window of 11 cells (DARK, arXiv 1910.06278)
DARK_REACH = 5
SMALLEST = 1e-10  # before the logarithm
NEIGHBOURS = [(-1, 0), (1, 0), (0, -1), (0, 1)]  # x, y
SECOND = [(-2, 0), (2, 0), (0, -2), (0, 2), (1, 1), (1, -1), (-1, 1), (-1, -1)]  # what second differences need too


class Peaks(NamedTuple):
    """Joints on the map: `cells` (N, K, 2) float32 x, y in map cells, `scores` (N, K) float32, the map's maximum."""

    cells: Tensor
    scores: Tensor


def merge_flip(maps: Tensor, mirrored: Tensor, flip: npt.ArrayLike, shift: bool = True) -> Tensor:
    """The mean of maps and of those of the mirrored image: (N, K, H, W), as the arguments.

    `mirrored`: the network's output for the mirrored input. `flip` (K,): `Skeleton.keypoint_flip`. `shift` moves the
    mirrored maps one column to the right, because input columns mirror about a pixel, cells about a cell; column 0
    stays as it is.
    """
    back = mirrored.index_select(1, torch.as_tensor(np.asarray(flip), device=maps.device)).flip(3)
    if shift:
        back[..., 1:] = back[..., :-1].clone()
    return back.add_(maps).mul_(0.5)


def decode(maps: Tensor, refinement: Refinement = "quarter", keep_zero: bool = False) -> Peaks:
    """The highest cell of each map, refined; the first in reading order where several are equal.

    `maps` (N, K, H, W), any floating type. A joint whose map is nowhere above 0 is at (0, 0), unrefined;
    with `keep_zero`, one whose map is nowhere above and somewhere 0 stays there. "quarter": a quarter of a cell
    towards the higher neighbour on each axis, except near the border; "dark": `refine_dark`.
    """
    maps = maps.float()
    cells, scores = highest(maps, keep_zero)
    if refinement == "none":
        return Peaks(cells, scores)
    return Peaks((refine_quarter if refinement == "quarter" else refine_dark)(maps, cells), scores)


def refine_quarter(maps: Tensor, cells: Tensor) -> Tensor:
    """Cells (N, K, 2), whole numbers, moved by a quarter to the higher neighbour; those near a border stay.

    The original's idea of near: columns and rows 0, 1 and the last one.
    """
    left, right, above, below = _around(maps, cells, NEIGHBOURS)
    towards = torch.stack([right - left, below - above], dim=-1).sign()
    return cells + QUARTER * towards * _inside(maps, cells, 1)[..., None]


def _inside(maps: Tensor, cells: Tensor, border: int) -> Tensor:
    """(N, K) bool: neither in the first two columns and rows nor in the last `border`."""
    size = torch.tensor([maps.shape[3], maps.shape[2]], device=cells.device)
    return ((cells > 1) & (cells < size - border)).all(dim=-1)


def _around(maps: Tensor, cells: Tensor, offsets: list[tuple[int, int]]) -> tuple[Tensor, ...]:
    """The values (N, K) beside each cell, one an offset (x, y); those outside the map are clamped to its border."""
    height, width = maps.shape[2:]
    offset = torch.tensor(offsets, device=cells.device)
    x = (cells[..., 0, None].long() + offset[:, 0]).clamp_(0, width - 1)
    y = (cells[..., 1, None].long() + offset[:, 1]).clamp_(0, height - 1)
    return maps.flatten(2).gather(2, y * width + x).unbind(-1)


def refine_dark(maps: Tensor, cells: Tensor) -> Tensor:
    """Cells (N, K, 2), whole numbers, moved to the top of a Gaussian (DARK, arXiv 1910.06278).

    The maps are smoothed, brought back to their former maxima, and the step is Newton's on their logarithm. Joints
    within two cells of a border, or where the logarithm is not curved, stay.
    """
    around = _around(_smoothed(maps), cells, [(0, 0), *NEIGHBOURS, *SECOND])
    values = [value.clamp(min=SMALLEST).log() for value in around]
    here, left, right, above, below, far_left, far_right, far_above, far_below, *corners = values
    dx, dy = 0.5 * (right - left), 0.5 * (below - above)
    dxx, dyy = 0.25 * (far_right - 2 * here + far_left), 0.25 * (far_below - 2 * here + far_above)
    dxy = 0.25 * (corners[0] - corners[1] - corners[2] + corners[3])
    determinant = dxx * dyy - dxy * dxy
    step = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=-1)
    usable = _inside(maps, cells, 2) & (determinant != 0)
    return torch.where(usable[..., None], cells + step / torch.where(usable, determinant, 1)[..., None], cells)


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


def regress(maps: Tensor, norm: Norm = "sigmoid") -> Peaks:
    """Joints as the mean of the cells, weighted by the maps (integral regression, arXiv 1711.08229).

    `maps` (N, K, H, W) as the network gives them. "sigmoid": weights are the sigmoid of the map and the score its
    maximum; "softmax": over the whole map, and every score is 1, as in the original.
    """
    maps = maps.float()
    weights = maps.sigmoid() if norm == "sigmoid" else maps.flatten(2).softmax(dim=-1).view_as(maps)
    scores = weights.amax(dim=(2, 3)) if norm == "sigmoid" else torch.ones_like(maps[..., 0, 0])
    rows, columns = (torch.arange(size, device=maps.device, dtype=maps.dtype) for size in maps.shape[2:])
    along_y, along_x = weights.sum(dim=3), weights.sum(dim=2)
    cells = torch.stack([along_x @ columns, along_y @ rows], dim=-1) / along_y.sum(dim=2)[..., None]
    return Peaks(cells, scores)


def cells_to_image(
    cells: Tensor, centres_img: npt.ArrayLike, sizes_img: npt.ArrayLike, map_size: tuple[int, int]
) -> Float32Array:
    """Joints (N, K, 2) float32 in original pixels.

    `cells` (N, K, 2) on any device; `centres_img`, `sizes_img` (N, 2) of the upright crops, from `crops.fit_boxes`;
    `map_size` (height, width).
    """
    matrices = crops.crop_to_image(centres_img, sizes_img, map_size)
    return crops.transform(cells.cpu().numpy(), matrices).astype(np.float32)
