# SPDX-License-Identifier: Apache-2.0
"""The report of sensitivity: what becomes of a network's maps when one group of layers alone computes in 8 bits.

How damage is measured is the directory's: `common.top_down_quantization`, `OpenPose_infer.sensitivity`.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

GROUP_WIDTH = 26  # letters


class Damage(Protocol):
    """What 8 bits did to the maps of some inputs: a dataclass of numbers, which the file of the report shows too."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    HEADINGS: ClassVar[str]  # of `columns`

    @property
    def mean_difference(self) -> float:
        """Of the maps, part of their largest value."""

    @property
    def part_lost(self) -> float:
        """Of the float32 network's peaks."""

    @property
    def harm(self) -> tuple[float, ...]:
        """The larger, the more harm it is."""

    def columns(self) -> str:
        """The numbers, for a line of the table."""


@dataclass(frozen=True)
class Bounds:
    """What a group of layers may do alone and still compute in 8 bits."""

    mean_difference: float  # of the maps, part of their largest value
    peaks_lost: float  # part of the float32 peaks

    def sensitive(self, damage: Damage) -> bool:
        """Whether the group must stay in float32; also where the damage is NaN."""
        return not (damage.mean_difference <= self.mean_difference and damage.part_lost <= self.peaks_lost)


def table(damages: Mapping[str, Damage], stays: Collection[str], shares: Mapping[str, float]) -> str:
    """The damage of each group in lines for the screen; `stays` in float32, `shares` of the multiplications."""
    width = max([GROUP_WIDTH, *(len(group) + 1 for group in damages)])
    headings = next((damage.HEADINGS for damage in damages.values()), "")
    lines = [f"{'layers in 8 bits alone':<{width}}{'share':>7}{headings}  computes in"]
    for group, damage in damages.items():
        kind = "float32" if group in stays else "int8"
        lines.append(f"{group:<{width}}{shares.get(group, 0):>7.1%}{damage.columns()}  {kind}")
    return "\n".join(lines)


def as_json(damages: Mapping[str, Damage], stays: Collection[str], shares: Mapping[str, float]) -> list[dict[str, Any]]:
    """The same for a file."""
    return [
        {"group": group, "share": shares.get(group, 0.0), "int8": group not in stays, **asdict(damage)}
        for group, damage in damages.items()
    ]
