# SPDX-License-Identifier: Apache-2.0
"""The way to the layers of a network that can compute in 8 bits.

Each group of layers is put into 8 bits alone first; what harms the maps stays in float32, as do the last convolutions.
Then AP is measured with every runtime that is installed: where it falls by more than `max_ap_drop`, further groups go
back to float32, the most harmful first, until fewer than `min_int8_share` of the multiplications would be left in INT8.
What a directory knows of its network stands in its `Task`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import qdq, sensitivity
from common.cli import UserError
from common.judgement import Comparison, Judge, open_on
from common.qdq import Inputs
from common.quantization_flags import Flags
from common.runtime.session import Array
from common.sensitivity import Damage

if TYPE_CHECKING:  # onnx is imported where it is used: not everybody has it
    from onnx import ModelProto

Say = Callable[[str], None]
Outputs = list[Array]
Forward = Callable[[Inputs], Outputs]
Groups = dict[str, list[str]]  # of layers: the names of their nodes
SMALLEST_SHARE = 1e-6


@dataclass(frozen=True)
class Task:
    """What a directory knows of its network.

    `inputs`: those that show the values that a network sees, one call's arrays after the other; `examples`: a few of
    them, on which damage is measured. `names` says what they are made of, `described` in one phrase. `groups`: of the
    network's layers, given how many multiplications each convolution needs; every convolution is in one. `damage`: of
    a quantised network's outputs, given inputs, the float32 network's outputs and the quantised one. `protocol`: how
    AP is measured, for the report.
    """

    inputs: Callable[[], Iterator[Inputs]]
    examples: Callable[[], Iterator[Inputs]]
    names: Sequence[str]
    described: str
    groups: "Callable[[ModelProto, Mapping[str, int]], Groups]"
    damage: Callable[[Sequence[Inputs], Sequence[Outputs], Forward], Damage]
    protocol: Mapping[str, Any]


class RefusedError(UserError):
    """INT8 would harm this network, or nobody can tell: nothing was written."""


@dataclass
class Quantised:
    """A quantised network that passed, and how it came about."""

    groups: list[dict[str, Any]]  # the report of sensitivity
    int8_share: float  # of the multiplications
    comparisons: list[Comparison]
    protocol: Mapping[str, Any]
    calibration: list[str]
    method: str
    float_layers: list[str] = field(default_factory=list)  # convolutions


@dataclass
class _Plan:
    """Ranges, and which groups of layers compute in 8 bits by them."""

    method: qdq.Method
    ranges: Any
    damages: dict[str, Damage]  # the least harmful first
    stays: list[str]  # groups in float32
    reason: str  # why this plan is not good enough
    comparisons: list[Comparison] = field(default_factory=list)

    @property
    def chosen(self) -> list[str]:
        """The groups in 8 bits, the least harmful first."""
        return [group for group in self.damages if group not in self.stays]

    @property
    def fall(self) -> float:
        """How much AP the plan costs, as far as that was measured."""
        return max((one.float32.ap - one.int8.ap for one in self.comparisons), default=math.inf)

    def give_back(self, say: Say) -> None:
        """The most harmful group goes back to float32."""
        if self.chosen:
            self.stays.append(self.chosen[-1])
            say(f"{self.reason}: {self.stays[-1]} goes back to float32")


class Search:
    """Finds a network in 8 bits that finds the same people; it is left in `written`."""

    def __init__(self, flags: Flags, judge: Judge, task: Task, say: Say, folder: Path) -> None:
        self._flags, self._judge, self._task, self._say, self._folder = flags, judge, task, say, folder
        self.written, self._prepared = folder / "int8.onnx", folder / "prepared.onnx"
        say(f"calibration: {task.described}; AP: {judge.images} with {', '.join(judge.runtimes())}")
        self._network = qdq.prepare(flags.source, self._prepared)
        counts = qdq.multiplications(self._network, next(task.examples()))
        self._groups = self._quantisable(task.groups(self._network, counts))
        total = max(1, sum(counts.values()))
        self._shares = {
            group: sum(counts.get(name, 0) for name in names) / total for group, names in self._groups.items()
        }

    def _quantisable(self, groups: Groups) -> Groups:
        """The groups without what gives the network's outputs."""
        able = set(qdq.everything_but_heads(self._network))
        left = {group: [name for name in names if name in able] for group, names in groups.items()}
        return {group: names for group, names in left.items() if names}

    def result(self) -> Quantised:
        """The network that passed. Raises RefusedError where none does."""
        plans: list[_Plan] = []
        for method in self._flags.methods:
            if plans:
                self._say(f"{plans[-1].reason}: other ranges are tried")
            plans.append(self._plan(method))
            if self._passes(plans[-1]):
                return self._quantised(plans[-1])
        plan = min(plans, key=lambda plan: plan.fall)
        while self._share(plan) >= self._least:
            plan.give_back(self._say)
            if self._passes(plan):
                return self._quantised(plan)
        raise RefusedError(f"{plan.reason}; {self._share(plan):.1%} of the multiplications would be left in INT8, "
                           f"--min_int8_share={self._flags.min_int8_share:g}")  # fmt: skip

    @property
    def _least(self) -> float:
        """The smallest part of the multiplications that is worth a file."""
        return max(self._flags.min_int8_share, SMALLEST_SHARE)

    def _share(self, plan: _Plan) -> float:
        return sum(self._shares[group] for group in plan.chosen)

    def _plan(self, method: qdq.Method) -> _Plan:
        """Ranges by this method; all groups that are not sensitive in 8 bits."""
        inputs = self._task.inputs()
        ranges = qdq.measure_ranges(self._prepared, inputs, method, self._folder, self._flags.percentile)
        damages = self._damages(ranges)
        stays = [group for group, damage in damages.items() if self._flags.bounds.sensitive(damage)]
        self._say(f"ranges: {method}")
        self._say(sensitivity.table(damages, stays, self._shares))
        ordered = {group: damages[group] for group in sorted(damages, key=lambda group: damages[group].harm)}
        return _Plan(method, ranges, ordered, stays, f"{len(stays)} of {len(damages)} groups of layers are sensitive")

    def _damages(self, ranges: Any) -> dict[str, Damage]:
        """Of each group alone in 8 bits."""
        inputs = list(self._task.examples())
        forward = self._forward(self._prepared)
        wanted = [forward(arrays) for arrays in inputs]
        alone, damages = self._folder / "alone.onnx", {}
        for group in self._groups:
            self._quantise(ranges, [group], alone)
            damages[group] = self._task.damage(inputs, wanted, self._forward(alone))
        return damages

    def _forward(self, network: Path) -> Forward:
        session = open_on(network, "cpu", self._flags.threads)
        return lambda arrays: session(*arrays)

    def _quantise(self, ranges: Any, groups: Iterable[str], target: Path) -> None:
        nodes = [name for group in groups for name in self._groups[group]]
        qdq.quantise(self._network, ranges, nodes, target, self._flags.narrow_weights)

    def _passes(self, plan: _Plan) -> bool:
        """Whether enough of the network in 8 bits is good enough; the plan keeps scores and reason."""
        if self._share(plan) < self._least:
            return False
        self._quantise(plan.ranges, plan.chosen, self.written)
        plan.comparisons = []
        for comparison in self._judge.compare(self.written):
            plan.comparisons.append(comparison)
            self._say(f"{comparison.runtime}: AP {comparison.float32.ap:.4f} float32, {comparison.int8.ap:.4f} INT8; "
                      f"people {comparison.float32.people}, {comparison.int8.people}")  # fmt: skip
            if reason := comparison.complaint(self._flags.max_ap_drop):
                plan.reason = reason
                return False
        return True

    def _quantised(self, plan: _Plan) -> Quantised:
        by_place = {group: plan.damages[group] for group in self._groups}
        return Quantised(
            sensitivity.as_json(by_place, plan.stays, self._shares), self._share(plan), plan.comparisons,
            self._task.protocol, list(self._task.names), plan.method, qdq.float_convolutions(qdq.load(self.written)),
        )  # fmt: skip
