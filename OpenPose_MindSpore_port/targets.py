# SPDX-License-Identifier: Apache-2.0
"""The encoder: people -> the heatmaps and part affinity fields (pafs) that the network learns.

A whole batch is encoded at once, on the device of its points. `decode.py` is the inverse.
"""

import common.device
from common.skeleton import Skeleton
from OpenPose_MindSpore_port.config import TargetRules
from OpenPose_MindSpore_port.model import STRIDE

import torch
from torch import Tensor

NEGLIGIBLE = 20.0  # larger exponents (values under 2e-9) count as this one: products of tiny numbers are slow


def encode(points: Tensor, map_size: tuple[int, int], skeleton: Skeleton, rules: TargetRules) -> tuple[Tensor, Tensor]:
    """Targets of a batch.

    Args:
        points: (B, P, num_points, 3) x_in, y_in, and v > 0 where the point is labelled, a hidden one included; absent
            people have v = 0 throughout; points outside the input count as far as their Gaussians reach in.
        map_size: (h, w) in map cells.
        skeleton: The points and limbs of the maps.
        rules: Sizes of Gaussians and limbs.

    Returns:
        Heatmaps (B, num_heatmaps, h, w) and pafs (B, num_pafs, h, w), float32, on the device of `points`.
    """
    exact = common.device.exact_type(points.device)  # decides whether a cell is inside a limb
    # the centre of map cell i is at input pixel 8 i + 3.5
    rows, columns = (torch.arange(n, device=points.device, dtype=exact) + (STRIDE - 1) / 2 / STRIDE for n in map_size)
    people_map, visible = points[..., :2].to(exact) / STRIDE, points[..., 2] > 0
    pafs = [
        _paf(people_map[:, :, limb], visible[:, :, limb].all(dim=-1), rows, columns, rules.paf_sigma / STRIDE)
        for limb in skeleton.limb_points.tolist()
    ]
    heatmaps = _heatmaps(people_map, visible, rows, columns, rules.heatmap_sigma / STRIDE)
    no_pafs = heatmaps.new_zeros(len(points), 0, *map_size)
    return heatmaps, torch.cat([no_pafs, *pafs], dim=1)


def _heatmaps(people_map: Tensor, visible: Tensor, rows: Tensor, columns: Tensor, sigma_map: float) -> Tensor:
    """A Gaussian for each point, the largest over people; the last map is the background, 1 - the largest of all.

    A two-dimensional Gaussian is the product of two: (B, P, K, h) and (B, P, K, w).
    """
    x, y = (_gaussians(people_map[..., axis, None], cells, sigma_map) for axis, cells in ((0, columns), (1, rows)))
    y = y * visible[..., None]
    maps = x.new_zeros(len(x), x.shape[2], len(rows), len(columns))
    for person in range(x.shape[1]):
        torch.maximum(maps, y[:, person, :, :, None] * x[:, person, :, None, :], out=maps)
    return torch.cat([maps, 1 - maps.amax(dim=1, keepdim=True)], dim=1)


def _gaussians(centres_map: Tensor, cells: Tensor, sigma_map: float) -> Tensor:
    exponent = ((cells - centres_map) / sigma_map).square().float() / 2
    return torch.exp(-exponent.clamp(max=NEGLIGIBLE))


def _paf(ends_map: Tensor, present: Tensor, rows: Tensor, columns: Tensor, reach_map: float) -> Tensor:
    """(B, 2, h, w) x, y of a unit vector along a limb in the cells on it; where people overlap, the mean.

    `ends_map`: (B, P, 2, 2) start and end, x and y. `present`: (B, P) bool.
    """
    start, end = ends_map.unbind(2)
    length = torch.linalg.vector_norm(end - start, dim=-1)
    unit = (end - start) / torch.where(length > 0, length, 1)[..., None]
    x = (columns - start[..., :1])[:, :, None]  # (B, P, 1, w)
    y = (rows - start[..., 1:])[..., None]  # (B, P, h, 1)
    unit_x, unit_y = unit[..., 0, None, None], unit[..., 1, None, None]
    along, across = unit_x * x + unit_y * y, unit_y * x - unit_x * y
    on = (along >= 0) & (along <= length[..., None, None]) & (across.abs() <= reach_map)
    on &= (present & (length > 0))[..., None, None]
    sums = torch.stack([(on * unit_x).sum(dim=1), (on * unit_y).sum(dim=1)], dim=1)
    return (sums / on.sum(dim=1, keepdim=True).clamp(min=1)).float()
