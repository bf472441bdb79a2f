# SPDX-License-Identifier: Apache-2.0
"""The encoder: people -> the heatmaps and part affinity fields that the network learns.

A whole batch is encoded at once, on the device of its points. Only cells near a point or a limb are computed.
`decode.py` is the inverse.
"""

from common.skeleton import Skeleton
from Lightweight_OpenPose.model import STRIDE

import torch
from torch import Tensor

SIGMA_IN = 7.0  # of a keypoint's Gaussian, input pixels
REACH_IN = 4 * SIGMA_IN  # a Gaussian's window ends here
PAF_WIDTH_MAP = 1.0  # half width of a limb's part affinity field, map cells
NEGLIGIBLE = 4.6052  # exponents beyond it (values under 0.01) are left out, as in the original


def encode(points: Tensor, map_size: tuple[int, int], skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Targets of a batch.

    `points`: (B, P, num_points, 3) float32 or float64: x_in, y_in, and v > 0 where the point is labelled; the first
    person of a sample is the main one, absent people have v = 0 throughout. `map_size`: (h, w) in map cells.
    Returns heatmaps (B, num_heatmaps, h, w) and pafs (B, num_pafs, h, w), float32, on the device of `points`.
    """
    return _heatmaps(points, map_size, skeleton), _pafs(points, map_size, skeleton)


def _heatmaps(points: Tensor, map_size: tuple[int, int], skeleton: Skeleton) -> Tensor:
    """A Gaussian a point, people summed and clipped at 1; the last map is the background, 1 - the largest of them."""
    sample, _, channel = torch.nonzero(points[..., 2] > 0, as_tuple=True)
    x_in, y_in = points[points[..., 2] > 0][:, :2].unbind(1)
    height, width = map_size
    columns, in_column, squared_x = _window(x_in, width)
    rows, in_row, squared_y = _window(y_in, height)
    exponent = (squared_x[:, None, :] + squared_y[:, :, None]) / (2 * SIGMA_IN**2)
    drawn = (exponent <= NEGLIGIBLE) & in_row[:, :, None] & in_column[:, None, :]
    values = torch.where(drawn, torch.exp(-exponent), 0).float()
    cells = ((sample * skeleton.num_points + channel)[:, None, None] * height + rows[:, :, None]) * width
    cells = torch.where(drawn, cells + columns[:, None, :], 0)
    maps = points.new_zeros(len(points) * skeleton.num_points * height * width, dtype=torch.float32)
    maps.index_add_(0, cells.flatten(), values.flatten())
    maps = maps.view(len(points), skeleton.num_points, height, width).clamp_(max=1)
    return torch.cat([maps, 1 - maps.amax(dim=1, keepdim=True)], dim=1)


def _window(centre_in: Tensor, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """Map cells along one axis that a Gaussian may reach, (N, W) int64, which of them are inside its window, and their
    squared distance from its centre, input pixels.

    The original truncates the window to whole pixels, then to whole cells, without its last cell; so do we.
    """
    first = (centre_in - REACH_IN).trunc().clamp(min=0).div(STRIDE, rounding_mode="floor")
    end = (centre_in + REACH_IN).trunc().clamp(max=cells * STRIDE).div(STRIDE, rounding_mode="floor")
    window = first.long()[:, None] + torch.arange(int(2 * REACH_IN / STRIDE) + 1, device=centre_in.device)
    middle_in = window * STRIDE + (STRIDE - 1) / 2
    return window, window < end[:, None], (middle_in - centre_in[:, None]).square()


def _pafs(points: Tensor, map_size: tuple[int, int], skeleton: Skeleton) -> Tensor:
    """A unit vector along each limb in the cells near it; where people overlap, the last one counts.

    A field's cell x is at x * STRIDE exactly, half a cell from a heatmap's, as in published checkpoints.
    """
    height, width = map_size
    pafs = points.new_zeros(len(points), skeleton.num_pafs, height, width, dtype=torch.float32)
    ends = points[:, :, torch.as_tensor(skeleton.limb_points, device=points.device)]  # (B, P, L, 2, 3)
    start_map, end_map = (ends[..., :2] / STRIDE).unbind(3)
    length = (end_map - start_map).norm(dim=-1)
    labelled = (ends[..., 2] > 0).all(dim=-1) & (length >= 1e-7)
    person, sample, limb = torch.nonzero(labelled.transpose(0, 1), as_tuple=True)
    chosen = sample, person, limb
    start_map, end_map = start_map[chosen], end_map[chosen]
    unit = (end_map - start_map) / length[chosen][:, None]
    which, x_map, y_map = _cells_near(start_map, end_map, unit, map_size)
    x_channel = (sample * skeleton.num_pafs + 2 * limb)[which]
    cells = (x_channel * height + y_map) * width + x_map
    vectors = unit.float()[which]
    counts = torch.bincount(person[which], minlength=points.shape[1]).tolist()
    for mine, unit_map in zip(cells.split(counts), vectors.split(counts), strict=True):  # all different in a person
        pafs.view(-1)[mine] = unit_map[:, 0]
        pafs.view(-1)[mine + height * width] = unit_map[:, 1]
    return pafs


def _cells_near(
    start_map: Tensor, end_map: Tensor, unit: Tensor, map_size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Cells inside each limb's box, grown by `PAF_WIDTH_MAP`, and no farther than that from its line.

    `start_map`, `end_map`, `unit`: (N, 2) x, y. Returns for each cell, (M,) int64: which limb, x, y; limbs in order.
    The box is truncated to whole cells and without its last row and column, as in the original.
    """
    size = torch.tensor([map_size[1], map_size[0]], device=unit.device)
    low = torch.minimum(start_map, end_map) - PAF_WIDTH_MAP
    high = torch.minimum(torch.maximum(start_map, end_map) + PAF_WIDTH_MAP, size.to(unit.dtype))
    first, end = low.clamp(min=0).trunc().long(), high.trunc().long()
    columns, rows = (end - first).clamp(min=0).unbind(1)
    counts = columns * rows
    which = torch.repeat_interleave(torch.arange(len(counts), device=unit.device), counts)
    within = torch.arange(len(which), device=unit.device) - (counts.cumsum(0) - counts)[which]
    x_map = first[which, 0] + within % columns[which]
    y_map = first[which, 1] + within // columns[which]
    distance = (x_map - start_map[which, 0]) * unit[which, 1] - (y_map - start_map[which, 1]) * unit[which, 0]
    near = distance.abs() <= PAF_WIDTH_MAP
    return which[near], x_map[near], y_map[near]
