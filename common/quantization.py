# SPDX-License-Identifier: Apache-2.0
"""From a float32 ONNX file to one in INT8 that finds the same people, or to no file at all.

Each group of layers is put into 8 bits alone first; what harms the maps stays in float32, as do the last convolutions.
Then AP is measured with every runtime that is installed: where it falls by more than `max_ap_drop`, further groups go
back to float32, the most harmful first, and where fewer than `min_int8_share` of the multiplications would be left in
INT8, nothing is written. What a directory knows of its network stands in its `Task`.
"""

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import qdq, sensitivity
from common.cli import UserError
from common.judgement import Comparison, Judge, open_on
from common.qdq import Inputs
from common.sensitivity import Bounds, Damage
from common.session import Array

if TYPE_CHECKING:  # onnx is imported where it is used: not everybody has it
    from onnx import ModelProto

RED, PLAIN = "\033[31m", "\033[0m"
Say = Callable[[str], None]
Outputs = list[Array]
Forward = Callable[[Inputs], Outputs]
Groups = dict[str, list[str]]  # of layers: the names of their nodes


def text(help_text: str, default: Any) -> Any:
    """A field with its help text."""
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class Flags:
    """What every program that quantises asks; a directory adds its own, and other defaults."""

    model: str = text("the float32 network, .onnx", "")
    output_name: str = text("file to write; empty: <model>_int8.onnx", "")
    calibration_method: qdq.Method = text("how ranges follow from the values seen", "minmax")
    max_ap_drop: float = text("refuse where AP falls by more", 0.01)
    min_int8_share: float = text("refuse where a smaller part of the multiplications would be in INT8", 0.5)
    max_group_difference: float = text(
        "a group of layers stays float32 if alone in INT8 its mean difference is more, part of the maps' maximum", 0.003
    )
    max_peaks_lost: float = text("or if it loses a larger part of the heatmaps' peaks", 0.1)
    narrow_weights: bool = text("weights of 7 bits: for x86 without VNNI, where ONNX Runtime's sums overflow", False)
    openvino_xml: bool = text("write the network as .xml and .bin of OpenVINO, too", False)
    threads: int = text("of a runtime; 0: as many as PyTorch uses", 0)

    def check_flags(self, exporter: str) -> None:
        """Raises UserError where values cannot be meant; `exporter` is the program that writes a `model`."""
        for condition, message in (
            (self.model, f"--model is needed: the .onnx that {exporter} writes"),
            (Path(self.model).suffix == ".onnx", f"--model={self.model}: give an .onnx, see {exporter}"),
            (Path(self.model).is_file(), f"{self.model}: no such file; {exporter} writes it"),
            (self.target.suffix == ".onnx", f"--output_name={self.target}: must end in .onnx"),
            (self.target.resolve() != Path(self.model).resolve(), "--output_name must not be the file of --model"),
            (not self.openvino_xml or importlib.util.find_spec("openvino"),
             "--openvino_xml needs the Python package openvino: pip install 'pose-zoo[openvino]'"),
            (self.threads >= 0, f"--threads={self.threads}: a number from 0 on"),
            (0 <= self.max_ap_drop < 1, f"--max_ap_drop={self.max_ap_drop}: a part of 1, as 0.01"),
            (0 <= self.min_int8_share <= 1, f"--min_int8_share={self.min_int8_share}: a part of 1, as 0.5"),
        ):  # fmt: skip
            if not condition:
                raise UserError(message)

    @property
    def source(self) -> Path:
        """The float32 network."""
        return Path(self.model)

    @property
    def target(self) -> Path:
        """The file to write."""
        return Path(self.output_name) if self.output_name else self.source.parent / f"{self.source.stem}_int8.onnx"

    @property
    def bounds(self) -> Bounds:
        """Of a group of layers."""
        return Bounds(self.max_group_difference, self.max_peaks_lost)


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


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)  # noqa: T201  the program's answer


def report_path(target: Path) -> Path:
    """Where the report of a quantised network lies."""
    return target.with_suffix(".json")


def run(flags: Flags, judge: Judge, task: Task) -> None:
    """`quantise`, and what was written or refused in one line, which is red on a screen."""
    try:
        result = quantise(flags, judge, task, say)
    except RefusedError as refused:
        message = f"not written: {flags.target}: {refused}"
        raise RefusedError(f"{RED}{message}{PLAIN}" if sys.stderr.isatty() else message) from refused
    before, after = flags.source.stat().st_size / 1e6, flags.target.stat().st_size / 1e6
    say(f"{flags.target}: {result.int8_share:.1%} of the multiplications in INT8, {before:.1f} -> {after:.1f} MB; "
        f"report in {report_path(flags.target)}")  # fmt: skip


def quantise(flags: Flags, judge: Judge, task: Task, say: Say) -> Quantised:
    """Writes `flags.target` and its report, or raises RefusedError and leaves older files as they are.

    Raises UserError for a file that cannot be quantised, see `qdq.check`, and where a folder cannot be written.
    """
    qdq.check(flags.source)
    if reason := judge.can_judge():
        raise RefusedError(reason)
    target = flags.target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".quantize_", dir=target.parent) as name:
            search = _Search(flags, judge, task, say, Path(name))
            result = search.result()
            _keep(search.written, result, target, flags.openvino_xml)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write {target}: {reason}; name another file with --output_name") from error
    return result


def _keep(written: Path, result: Quantised, target: Path, openvino_xml: bool) -> None:
    """Puts network and report in their place once all files of them are written."""
    suffixes = [".json", ".onnx"]
    written.with_suffix(".json").write_text(json.dumps(asdict(result), indent=2))
    if openvino_xml:
        from common.session_openvino import core

        import openvino  # nothing else here needs it

        network = core().read_model(written)
        openvino.save_model(network, written.with_suffix(".xml"), compress_to_fp16=False)
        suffixes = [".bin", ".xml", *suffixes]
    for suffix in suffixes:
        os.replace(written.with_suffix(suffix), target.with_suffix(suffix))


class _Search:
    """The way to the layers that can compute in 8 bits."""

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
        self._ranges = qdq.measure_ranges(self._prepared, task.inputs(), flags.calibration_method, folder)

    def _quantisable(self, groups: Groups) -> Groups:
        """The groups without what gives the network's outputs."""
        able = set(qdq.everything_but_heads(self._network))
        left = {group: [name for name in names if name in able] for group, names in groups.items()}
        return {group: names for group, names in left.items() if names}

    def result(self) -> Quantised:
        """The network stands in `written`. Raises RefusedError."""
        damages = self._damages()
        order = sorted(damages, key=lambda group: damages[group].harm)  # the least harmful first
        stays = [group for group in order if self._flags.bounds.sensitive(damages[group])]
        self._say(sensitivity.table(damages, stays, self._shares))
        reason = f"{len(stays)} of {len(order)} groups of layers are sensitive"
        while True:
            chosen = [group for group in order if group not in stays]
            share = self._share_of(chosen, reason)
            comparisons, reason = self._attempt(chosen)
            if not reason:
                break
            stays.append(chosen[-1])
            self._say(f"{reason}: {stays[-1]} goes back to float32")
        report = sensitivity.as_json(damages, stays, self._shares)
        layers = qdq.float_convolutions(qdq.load(self.written))
        return Quantised(report, share, comparisons, self._task.protocol, list(self._task.names),
                         self._flags.calibration_method, layers)  # fmt: skip

    def _share_of(self, chosen: Iterable[str], reason: str) -> float:
        """The part of the multiplications that these groups have. Raises RefusedError where it is too small."""
        share = sum(self._shares[group] for group in chosen)
        if share < self._flags.min_int8_share or share == 0:
            raise RefusedError(f"{reason}; {share:.1%} of the multiplications would be left in INT8, "
                               f"--min_int8_share={self._flags.min_int8_share:g}")  # fmt: skip
        return share

    def _attempt(self, groups: Iterable[str]) -> tuple[list[Comparison], str]:
        """The groups in 8 bits: scores, and why they are not good enough."""
        self._quantise(groups, self.written)
        comparisons = []
        for comparison in self._judge.compare(self.written):
            comparisons.append(comparison)
            self._say(f"{comparison.runtime}: AP {comparison.float32.ap:.4f} float32, {comparison.int8.ap:.4f} INT8; "
                      f"people {comparison.float32.people}, {comparison.int8.people}")  # fmt: skip
            if reason := comparison.complaint(self._flags.max_ap_drop):
                return comparisons, reason
        return comparisons, ""

    def _quantise(self, groups: Iterable[str], target: Path) -> None:
        nodes = [name for group in groups for name in self._groups[group]]
        qdq.quantise(self._network, self._ranges, nodes, target, self._flags.narrow_weights)

    def _damages(self) -> dict[str, Damage]:
        """Of each group alone in 8 bits."""
        inputs = list(self._task.examples())
        forward = self._forward(self._prepared)
        wanted = [forward(arrays) for arrays in inputs]
        alone, damages = self._folder / "alone.onnx", {}
        for group in self._groups:
            self._quantise([group], alone)
            damages[group] = self._task.damage(inputs, wanted, self._forward(alone))
        return damages

    def _forward(self, network: Path) -> Forward:
        session = open_on(network, "cpu", self._flags.threads)
        return lambda arrays: session(*arrays)
