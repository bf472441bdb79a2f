# SPDX-License-Identifier: Apache-2.0
"""From the heatmaps of a top-down network back to joints in the image. (`common.topdown.targets`: those it learns.)

Everything is batched over people and joints and stays on the device of the maps; only cells and scores leave it.
"""

from collections.abc import Callable

from common.arrays import Float32Array
from common.topdown import crops
from common.topdown.targets import highest

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Refine = Callable[[Tensor, Tensor], Tensor]  # maps and cells (N, K, 2), whole numbers -> places between the cells
QUARTER = 0.25  # cells towards the higher neighbour
NEIGHBOURS = [(-1, 0), (1, 0), (0, -1), (0, 1)]  # x, y
Peaks = tuple[Tensor, Tensor]  # of joints: (N, K, 2) float32 x, y in map cells, and (N, K) float32, the map's maximum


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


def refine_quarter(maps: Tensor, cells: Tensor) -> Tensor:
    """Cells (N, K, 2), whole numbers, moved by a quarter to the higher neighbour; those near a border stay.

    Near, as in the original: columns and rows 0, 1 and the last one.
    """
    left, right, above, below = around(maps, cells, NEIGHBOURS)
    towards = torch.stack([right - left, below - above], dim=-1).sign()
    return cells + QUARTER * towards * inside(maps, cells, 1)[..., None]


def inside(maps: Tensor, cells: Tensor, border: int) -> Tensor:
    """(N, K) bool: neither in the first two columns and rows nor in the last `border`."""
    size = torch.tensor([maps.shape[3], maps.shape[2]], device=cells.device)
    return ((cells > 1) & (cells < size - border)).all(dim=-1)


def around(maps: Tensor, cells: Tensor, offsets: list[tuple[int, int]]) -> tuple[Tensor, ...]:
    """The values (N, K) next to each cell, one an offset (x, y); those outside the map are clamped to its border."""
    height, width = maps.shape[2:]
    offset = torch.tensor(offsets, device=cells.device)
    x = (cells[..., 0, None].long() + offset[:, 0]).clamp_(0, width - 1)
    y = (cells[..., 1, None].long() + offset[:, 1]).clamp_(0, height - 1)
    return maps.flatten(2).gather(2, y * width + x).unbind(-1)


def decode(maps: Tensor, refine: Refine | None = refine_quarter, keep_zero: bool = False) -> Peaks:
    """The highest cell of each map, refined; the first in reading order where several are equal.

    `maps` (N, K, H, W), any floating type. A joint whose map is nowhere above 0 is at (0, 0), unrefined;
    with `keep_zero`, one whose map is nowhere above and somewhere 0 stays there. `refine`: None for whole cells.
    """
    maps = maps.float()
    cells, scores = highest(maps, keep_zero)
    return refine(maps, cells) if refine else cells, scores


def cells_to_image(
    cells: Tensor, centres_img: npt.ArrayLike, sizes_img: npt.ArrayLike, map_size: tuple[int, int]
) -> Float32Array:
    """Joints (N, K, 2) float32 in original pixels.

    `cells` (N, K, 2) on any device; `centres_img`, `sizes_img` (N, 2) of the upright crops, from `crops.fit_boxes`;
    `map_size` (height, width).
    """
    matrices = crops.crop_to_image(centres_img, sizes_img, map_size)
    return crops.transform(cells.cpu().numpy(), matrices).astype(np.float32)
