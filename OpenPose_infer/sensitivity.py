# SPDX-License-Identifier: Apache-2.0
"""How much a network's maps suffer when some of its layers compute in 8 bits, and the groups of these layers."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from common import layer_groups
from common.runtime.session import Array
from Lightweight_OpenPose.decode import ORIGINAL_RULES

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import ModelProto

Maps = tuple[Array, Array]  # heatmaps (1, num_heatmaps, h, w) and fields (1, num_fields, h, w), float32
Forward = Callable[[Array], Maps]  # of (1, 3, H, W) float32
HEADS = "heads"
GROUPS = (
    (re.compile(r"/?model/model\.(\d+)/"), "backbone block {}"),
    (re.compile(r"/?cpm/"), "cpm"),
    (re.compile(r"/?initial_stage/trunk/"), "initial stage"),
    (re.compile(r"/?initial_stage/"), "initial stage " + HEADS),
    # its input joins features, heatmaps and fields, whose ranges differ most
    (re.compile(r"/?refinement_stages\.(\d+)/trunk/trunk\.0/initial/"), "refinement stage {} entry"),
    (re.compile(r"/?refinement_stages\.(\d+)/trunk/"), "refinement stage {}"),
    (re.compile(r"/?refinement_stages\.(\d+)/"), "refinement stage {} " + HEADS),
)


@dataclass(frozen=True)
class Damage:
    """What 8 bits did to the last maps. Differences are parts of the largest float32 value of their kind."""

    heatmaps_largest: float
    heatmaps_mean: float
    fields_largest: float
    fields_mean: float
    peaks: int  # of the float32 heatmaps
    peaks_kept: int  # of these, with one a cell away at most
    peaks_new: int  # where float32 has none

    HEADINGS: ClassVar[str] = f"{'heatmaps, largest mean':>24}{'fields, largest mean':>22}{'peaks kept':>14}{'new':>5}"

    @property
    def mean_difference(self) -> float:
        """Of heatmaps or fields, part of their largest value."""
        return max(self.heatmaps_mean, self.fields_mean)

    @property
    def part_lost(self) -> float:
        """Of the float32 peaks."""
        return (self.peaks - self.peaks_kept) / max(1, self.peaks)

    @property
    def harm(self) -> tuple[float, float]:
        """The larger, the more harm it is."""
        return self.peaks - self.peaks_kept + self.peaks_new, self.mean_difference

    def columns(self) -> str:
        """The numbers, for a line of the table."""
        kept = f"{self.peaks_kept} of {self.peaks}"
        return (f"{self.heatmaps_largest:>17.2%}{self.heatmaps_mean:>7.2%}{self.fields_largest:>15.2%}"
                f"{self.fields_mean:>7.2%}{kept:>14}{self.peaks_new:>5}")  # fmt: skip


def groups_of(network: "ModelProto") -> dict[str, list[str]]:
    """The nodes of each group of layers that can compute in 8 bits, see `layer_groups.cover`."""
    return layer_groups.cover(network, _group_of)


def _group_of(node: str) -> str | None:
    found = ((pattern.match(node), group) for pattern, group in GROUPS)
    return next((group.format(*match.groups()) for match, group in found if match), None)


def compare(inputs: Sequence[Array], wanted: Sequence[Maps], forward: Forward) -> Damage:
    """The damage of `forward` over inputs (1, 3, H, W) against the float32 maps of these."""
    largest, total, count, tops = np.zeros(2), np.zeros(2), np.zeros(2), np.full(2, 1e-9)
    peaks = np.zeros(3, np.int64)
    for array, float_maps in zip(inputs, wanted, strict=True):
        for kind, (mine, theirs) in enumerate(zip(float_maps, forward(array), strict=True)):
            difference = np.abs(mine - theirs)
            largest[kind] = max(largest[kind], difference.max())
            total[kind] += difference.sum(dtype=np.float64)
            count[kind] += difference.size
            tops[kind] = max(tops[kind], np.abs(mine).max())
            peaks += _peaks(mine, theirs) if kind == 0 else 0
    largest, mean = largest / tops, total / count / tops
    return Damage(largest[0], mean[0], largest[1], mean[1], *peaks.tolist())


def _peaks(wanted: Array, found: Array) -> npt.NDArray[np.int64]:
    """Peaks of the wanted heatmaps, how many of these are found, and how many are new; the background has none."""
    mine, theirs = (is_peak(maps[:, :-1]) for maps in (wanted, found))
    near_mine, near_theirs = (_around(peaks, False).any(0) for peaks in (mine, theirs))
    return np.array([mine.sum(), (mine & near_theirs).sum(), (theirs & ~near_mine).sum()])


def is_peak(heatmaps: Array) -> npt.NDArray[np.bool_]:
    """Cells that reach the decoder's threshold and are not below any of the eight around them."""
    around = _around(heatmaps, -np.inf).max(0)
    peaks: npt.NDArray[np.bool_] = (heatmaps >= ORIGINAL_RULES.heatmap_threshold) & (heatmaps == around)
    return peaks


def _around(maps: npt.NDArray[Any], outside: Any) -> npt.NDArray[Any]:
    """(9, ..., h, w): the maps moved by at most a cell each way."""
    rows, columns = maps.shape[-2:]
    padded = np.pad(maps, [(0, 0)] * (maps.ndim - 2) + [(1, 1)] * 2, constant_values=outside)
    return np.stack([padded[..., y : y + rows, x : x + columns] for y, x in product(range(3), repeat=2)])
