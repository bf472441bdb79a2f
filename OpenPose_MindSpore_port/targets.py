# SPDX-License-Identifier: Apache-2.0
"""The encoder: people -> the heatmaps and part affinity fields (pafs) that the network learns.

A whole batch is encoded at once, on the device of its points. `decode.py` is the way back.
"""

import common.device
from common.skeleton import Skeleton
from OpenPose_MindSpore_port.config import TargetRules

import torch
from torch import Tensor

NEGLIGIBLE = 20.0  # exponents beyond it (values under 2e-9) are left out: products of such numbers are slow


def _centre_map(rules: TargetRules) -> float:
    """Where the centre of map cell 0 is, map cells: cell i has its centre at input pixel downscale * i + 3.5."""
    return (rules.downscale - 1) / 2 / rules.downscale


def encode(points: Tensor, map_size: tuple[int, int], skeleton: Skeleton, rules: TargetRules) -> tuple[Tensor, Tensor]:
    """Targets of a batch.

    `points`: (B, P, num_points, 3) x_in, y_in, and v > 0 where the point is labelled, a hidden one included; people
    who are absent have v = 0 throughout; points outside the input count as far as they reach in. `map_size`: (h, w) in
    map cells. Returns heatmaps (B, num_heatmaps, h, w) and pafs (B, num_pafs, h, w), float32, on the device of
    `points`.
    """
    points = points.to(common.device.exact_type(points.device))  # decides whether a cell is inside a limb
    return encode_heatmaps(points, map_size, skeleton, rules), encode_pafs(points, map_size, skeleton, rules)


def encode_heatmaps(points: Tensor, map_size: tuple[int, int], skeleton: Skeleton, rules: TargetRules) -> Tensor:
    """A Gaussian a point, of people the largest; the last map is the background, 1 - the largest of them all.

    Arguments and result as in `encode`.
    """
    present = (points[..., 2] > 0).any(dim=2)
    people = points[present]
    columns = _gaussians(people[..., 0], map_size[1], rules)
    rows = _gaussians(people[..., 1], map_size[0], rules) * (people[..., 2:] > 0)
    maps = columns.new_zeros(len(points), skeleton.num_heatmaps, *map_size)
    for person, sample in enumerate(torch.nonzero(present)[:, 0].tolist()):
        drawn = rows[person, :, :, None] * columns[person, :, None, :]
        torch.maximum(maps[sample, :-1], drawn, out=maps[sample, :-1])
    maps[:, -1] = 1 - maps[:, :-1].amax(dim=1)
    return maps


def _gaussians(centres_in: Tensor, cells: int, rules: TargetRules) -> Tensor:
    """One axis of Gaussians: centres (N, K) in input pixels -> (N, K, cells) float32.

    A Gaussian of two dimensions is the product of two such.
    """
    centres_map = torch.arange(cells, device=centres_in.device, dtype=centres_in.dtype) + _centre_map(rules)
    away = (centres_map - centres_in[..., None] / rules.downscale) * (rules.downscale / rules.heatmap_sigma)
    exponent = (away.square() / 2).float()
    return torch.where(exponent <= NEGLIGIBLE, torch.exp(-exponent), 0)


def encode_pafs(points: Tensor, map_size: tuple[int, int], skeleton: Skeleton, rules: TargetRules) -> Tensor:
    """A unit vector along each limb in the cells on it; where people overlap, the mean of theirs.

    Arguments and result as in `encode`.
    """
    height, width = map_size
    ends = points[:, :, torch.as_tensor(skeleton.limb_points, device=points.device)]  # (B, P, L, 2, 3)
    start_map, end_map = (ends[..., :2] / rules.downscale).unbind(3)
    length = (end_map - start_map).square().sum(dim=-1).sqrt()
    chosen = sample, _, limb = torch.nonzero((ends[..., 2] > 0).all(dim=-1) & (length > 0), as_tuple=True)
    start_map, end_map, length = start_map[chosen], end_map[chosen], length[chosen]
    unit = (end_map - start_map) / length[:, None]
    which, column, row = _cells_on(start_map, unit, length, map_size, rules)
    first_of_limb = (sample * skeleton.num_pafs + 2 * limb)[which] * height * width  # of its channel for x
    cells = first_of_limb + row * width + column
    covering = points.new_zeros(len(points) * skeleton.num_pafs * height * width, dtype=torch.float32)
    pafs = torch.zeros_like(covering)
    covering.index_add_(0, cells, torch.ones_like(cells, dtype=torch.float32))
    vectors = unit.float()[which] / covering[cells][:, None]
    pafs.index_add_(0, cells, vectors[:, 0])
    pafs.index_add_(0, cells + height * width, vectors[:, 1])
    return pafs.view(len(points), skeleton.num_pafs, height, width)


def _cells_on(
    start_map: Tensor, unit: Tensor, length: Tensor, map_size: tuple[int, int], rules: TargetRules
) -> tuple[Tensor, Tensor, Tensor]:
    """Cells with their centre between a limb's ends and near its line.

    `start_map`, `unit`: (N, 2) x, y; `length`: (N,) map cells. Returns for each cell, (M,) int64: which limb, column,
    row.
    """
    reach_map = rules.paf_sigma / rules.downscale
    end_map = start_map + unit * length[:, None]
    size = torch.tensor([map_size[1], map_size[0]], device=unit.device)
    low, high = torch.minimum(start_map, end_map) - reach_map, torch.maximum(start_map, end_map) + reach_map
    first = (low - _centre_map(rules)).floor().clamp(min=0).long()
    stop = torch.minimum((high - _centre_map(rules)).ceil().clamp(min=-1).long() + 1, size)
    columns, rows = (stop - first).clamp(min=0).unbind(1)
    counts = columns * rows
    which = torch.repeat_interleave(torch.arange(len(counts), device=unit.device), counts)
    within = torch.arange(len(which), device=unit.device) - (counts.cumsum(0) - counts)[which]
    column, row = first[which, 0] + within % columns[which], first[which, 1] + within // columns[which]
    x, y = column + _centre_map(rules) - start_map[which, 0], row + _centre_map(rules) - start_map[which, 1]
    along, across = unit[which, 0] * x + unit[which, 1] * y, unit[which, 1] * x - unit[which, 0] * y
    on = (along >= 0) & (along <= length[which]) & (across.abs() <= reach_map)
    return which[on], column[on], row[on]
