# SPDX-License-Identifier: Apache-2.0
"""How much a network's maps suffer when one group of its layers after the other computes in 8 bits."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from common.session import Array
from Lightweight_OpenPose.decode import ORIGINAL_RULES
from OpenPose_infer import qdq

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import ModelProto

Maps = tuple[Array, Array]  # heatmaps (1, num_heatmaps, h, w) and fields (1, num_fields, h, w), float32
Forward = Callable[[Array], Maps]  # of (1, 3, H, W) float32
HEADS = "heads"
UNNAMED_GROUP_SIZE = 4  # convolutions, in a file whose nodes do not tell the layer's name
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


@dataclass(frozen=True)
class Bounds:
    """What a group of layers may do alone and still compute in 8 bits."""

    mean_difference: float  # of heatmaps or fields, part of their largest value
    peaks_lost: float  # part of the float32 peaks

    def sensitive(self, damage: Damage) -> bool:
        """Whether the group must stay in float32."""
        lost = damage.peaks - damage.peaks_kept
        mean = max(damage.heatmaps_mean, damage.fields_mean)
        return not (mean <= self.mean_difference and lost <= self.peaks_lost * damage.peaks)


def layer_groups(network: "ModelProto") -> dict[str, list[str]]:
    """The nodes of each group of layers that can compute in 8 bits, in the order of computation.

    Every convolution is in one group. The convolutions that give the outputs are in it too: who quantises leaves
    them out.
    """
    names = _named(network)
    for position, node in enumerate(qdq.convolutions(network)):
        part = position // UNNAMED_GROUP_SIZE * UNNAMED_GROUP_SIZE
        names.setdefault(node.name, f"convolutions {part + 1} to {part + UNNAMED_GROUP_SIZE}")
    groups: dict[str, list[str]] = {}
    readers = {name: node for node in reversed(network.graph.node) for name in node.input}
    for node in network.graph.node:
        if node.op_type in qdq.QUANTISED:
            group = names.get(node.name) or _group_of_reader(node, readers, names)
            groups.setdefault(group, []).append(node.name)
    return groups


def _named(network: "ModelProto") -> dict[str, str]:
    """The group of each node whose name tells its layer."""
    found = {}
    for node in network.graph.node:
        for pattern, group in GROUPS:
            if match := pattern.match(node.name):
                found[node.name] = group.format(*match.groups())
                break
    return found


def _group_of_reader(node: Any, readers: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The group of the first node behind that is in one: a junction belongs to what it feeds."""
    while node is not None and node.name not in names:
        node = readers.get(node.output[0])
    return names[node.name] if node is not None else "outputs"


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


def table(damages: Mapping[str, Damage], stays: Iterable[str], shares: Mapping[str, float]) -> str:
    """The damage of each group in lines for the screen; `stays` in float32, `shares` of the multiplications."""
    stays = set(stays)
    lines = [f"{'layers in 8 bits alone':<26}{'share':>7}{'heatmaps, largest mean':>24}{'fields, largest mean':>22}"
             f"{'peaks kept':>14}{'new':>5}  computes in"]  # fmt: skip
    for group, damage in damages.items():
        kept = f"{damage.peaks_kept} of {damage.peaks}"
        lines.append(
            f"{group:<26}{shares.get(group, 0):>7.1%}{damage.heatmaps_largest:>17.2%}{damage.heatmaps_mean:>7.2%}"
            f"{damage.fields_largest:>15.2%}{damage.fields_mean:>7.2%}{kept:>14}{damage.peaks_new:>5}"
            f"  {'float32' if group in stays else 'int8'}"
        )
    return "\n".join(lines)


def as_json(damages: Mapping[str, Damage], stays: Iterable[str], shares: Mapping[str, float]) -> list[dict[str, Any]]:
    """The same for a file."""
    stays = set(stays)
    return [
        {"group": group, "share": shares.get(group, 0.0), "int8": group not in stays, **asdict(damage)}
        for group, damage in damages.items()
    ]
