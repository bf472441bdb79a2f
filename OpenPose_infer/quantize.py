# SPDX-License-Identifier: Apache-2.0
"""An exported network in INT8 that still finds people, or no file at all.

python -m OpenPose_infer.quantize --model=pose.onnx --data_path=/data/coco --output_name=pose_int8.onnx
python -m OpenPose_infer.quantize --model=pose.onnx --calibration_path=photos --data_path=/data/coco --val_images=500

Quantised after training, from calibration images. Each group of layers is put into 8 bits alone first; what harms the
maps stays in float32, as do the last convolutions of all heads. Then AP is measured with every runtime that is
installed: where it falls by more than `--max_ap_drop`, further groups go back to float32, the most sensitive first,
and where fewer than `--min_int8_share` of the multiplications would be left in INT8, nothing is written and the
program ends with exit code 2. The file, an ONNX with QDQ nodes, serves ONNX Runtime and OpenVINO; a report in JSON
lies beside it.
"""

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import common.coco
import common.mini_coco
import common.skeleton
from common.cli import UserError, parse, run
from common.files import write_atomically
from common.session import Array
from common.validation import Validation
from Lightweight_OpenPose.inference import InputRule
from OpenPose_infer import calibration, qdq, sensitivity
from OpenPose_infer.config import HEIGHT, WIDTH, text
from OpenPose_infer.judgement import Comparison, Judge, open_on
from OpenPose_infer.sensitivity import Bounds, Damage

RED, PLAIN = "\033[31m", "\033[0m"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Config:
    """Quantises an exported network to INT8 and keeps it only where it still finds people."""

    model: str = text("the float32 network, .onnx", "")
    output_name: str = text("file to write; empty: <model>_int8.onnx", "")
    data_path: str = text("COCO folder to measure AP on (val2017), or `mini` for the embedded data set", "")
    calibration_path: str = text("folder of calibration images; empty: train2017 of data_path, else val2017", "")
    labels: str = text("empty: data_path/annotations/person_keypoints_val2017.json", "")
    images_folder: str = text("empty: data_path/val2017", "")
    skeleton: str = text("built-in name or YAML file of one's own keypoints", "openpose")
    height: int = text(f"of the network's input, pixels; 0: as the file says, or {HEIGHT}", 0)
    width: int = text(f"of the network's input, pixels; 0: as the file says, or {WIDTH}", 0)
    calibration_images: int = text("spread evenly over the folder", 32)
    calibration_method: qdq.Method = text("how ranges follow from the values seen", "minmax")
    sensitivity_images: int = text("of these, so many for the report of sensitivity", 4)
    val_images: int = text("measure AP on so many images, chosen as `make_val_subset.py` does; 0: all", 0)
    max_ap_drop: float = text("refuse where AP falls by more", 0.01)
    min_int8_share: float = text("refuse where a smaller part of the multiplications would be in INT8", 0.5)
    max_group_difference: float = text(
        "a group of layers stays float32 if alone in INT8 its mean difference is more, part of the maps' maximum", 0.003
    )
    max_peaks_lost: float = text("or if it loses a larger part of the heatmaps' peaks", 0.1)
    narrow_weights: bool = text("weights of 7 bits: for x86 without VNNI, where ONNX Runtime's sums overflow", False)
    openvino_xml: bool = text("write the network as .xml and .bin of OpenVINO, too", False)
    threads: int = text("of a runtime; 0: as many as PyTorch uses", 0)

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        for condition, message in (
            (self.model, "--model is needed: the .onnx that OpenPose_pth2onnx.py writes"),
            (Path(self.model).suffix == ".onnx", f"--model={self.model}: give an .onnx, see OpenPose_pth2onnx.py"),
            (Path(self.model).is_file(), f"{self.model}: no such file; OpenPose_pth2onnx.py writes it"),
            (self.data_path or (self.labels and self.images_folder),
             "--data_path is needed to measure AP: a COCO folder, or `mini`"),
            (self.target.suffix == ".onnx", f"--output_name={self.target}: must end in .onnx"),
            (self.target.resolve() != Path(self.model).resolve(), "--output_name must not be the file of --model"),
            (not self.openvino_xml or importlib.util.find_spec("openvino"),
             "--openvino_xml needs the Python package openvino: pip install 'pose-zoo[openvino]'"),
            (self.sensitivity_images > 0, f"--sensitivity_images={self.sensitivity_images}: at least 1"),
            (0 <= self.max_ap_drop < 1, f"--max_ap_drop={self.max_ap_drop}: a part of 1, as 0.01"),
            (0 <= self.min_int8_share <= 1, f"--min_int8_share={self.min_int8_share}: a part of 1, as 0.5"),
        ):  # fmt: skip
            if not condition:
                raise UserError(message)

    @property
    def target(self) -> Path:
        """The file to write."""
        source = Path(self.model)
        return Path(self.output_name) if self.output_name else source.parent / f"{source.stem}_int8.onnx"

    @property
    def bounds(self) -> Bounds:
        """Of a group of layers."""
        return Bounds(self.max_group_difference, self.max_peaks_lost)


class RefusedError(UserError):
    """INT8 would harm this network, or nobody can tell: nothing was written."""


@dataclass
class Quantised:
    """A quantised network that passed, and how it came about."""

    groups: list[dict[str, Any]]  # the report of sensitivity
    int8_share: float  # of the multiplications
    comparisons: list[Comparison]
    calibration: list[str]
    method: str
    float_layers: list[str] = field(default_factory=list)  # convolutions


def main() -> None:
    """Reads the flags, quantises, says what was written."""
    config = parse(Config, {}, aliases={"val_labels": "labels", "val_images_folder": "images_folder"})
    config.check()
    qdq.check_installed(Path(config.model))
    skeleton, source = common.skeleton.load(config.skeleton), Path(config.model)
    data_path = common.mini_coco.resolve(config.data_path) if config.data_path else None
    validation = annotated_images(config, data_path, skeleton)
    images = calibration.choose(config.calibration_path, data_path, config.calibration_images)
    rule = input_rule(source, (config.height, config.width))
    judge = Judge(validation, skeleton, rule, source, config.max_ap_drop, config.threads)
    try:
        result = quantise(config, judge, images, say)
    except RefusedError as refused:
        message = f"not written: {config.target}: {refused}"
        raise RefusedError(f"{RED}{message}{PLAIN}" if sys.stderr.isatty() else message) from refused
    before, after = source.stat().st_size / 1e6, config.target.stat().st_size / 1e6
    say(f"{config.target}: {result.int8_share:.1%} of the multiplications in INT8, {before:.1f} -> {after:.1f} MB; "
         f"report in {report_path(config.target)}")  # fmt: skip


def annotated_images(config: Any, data_path: Path | None, skeleton: common.skeleton.Skeleton) -> Validation:
    """The images that the flags `data_path`, `labels`, `images_folder` and `val_images` of a config mean."""
    labels = config.labels or common.coco.annotation_file(data_path or "", "val")
    folder = config.images_folder or common.coco.image_folder(data_path or "", "val")
    return Validation.load(Path(labels), Path(folder), skeleton, config.val_images)


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)  # noqa: T201  the program's answer


def report_path(target: Path) -> Path:
    """Where the report of a quantised network lies."""
    return target.with_suffix(".json")


def input_rule(source: Path, size: tuple[int, int]) -> InputRule:
    """How images become inputs of this network: letterboxed into its own size, else `size` where given (0: not).

    Raises UserError where file and flags contradict each other, or the file takes several images at once only.
    """
    shape = open_on(source, "cpu").inputs[0].shape
    if len(shape) != 4 or shape[0] not in (None, 1):
        raise UserError(f"{source}: takes {shape[0]} images at once; export it with --batch_size=0 or 1")
    for own, asked, flag in zip(shape[2:], size, ("height", "width"), strict=True):
        if own and asked and own != asked:
            raise UserError(f"{source}: its {flag} is {own}, not {asked}; leave --{flag} out")
    height, width = (own or asked or usual for own, asked, usual in zip(shape[2:], size, (HEIGHT, WIDTH), strict=True))
    return InputRule(fixed_size=(height, width))


def quantise(config: Config, judge: Judge, images: list[Path], say: Say) -> Quantised:
    """Writes `config.target` and its report, or raises RefusedError and leaves older files as they are."""
    if reason := judge.can_judge():
        raise RefusedError(reason)
    target = config.target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".quantize_", dir=target.parent) as name:
            result = _Search(config, judge, images, say, Path(name)).result()
            _keep(Path(name) / "int8.onnx", target, config.openvino_xml)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}; name another file with --output_name") from error
    write_atomically(report_path(target), json.dumps(asdict(result), indent=2).encode())
    return result


def _keep(written: Path, target: Path, openvino_xml: bool) -> None:
    if openvino_xml:
        import openvino  # nothing else here needs it

        network = openvino.Core().read_model(written)
        openvino.save_model(network, written.with_suffix(".xml"), compress_to_fp16=False)
        for suffix in (".bin", ".xml"):
            os.replace(written.with_suffix(suffix), target.with_suffix(suffix))
    os.replace(written, target)


class _Search:
    """The way to the layers that can compute in 8 bits."""

    def __init__(self, config: Config, judge: Judge, images: list[Path], say: Say, folder: Path) -> None:
        self._config, self._judge, self._say, self._folder = config, judge, say, folder
        self._written = folder / "int8.onnx"
        self._images = images
        say(f"calibration: {len(images)} images of {images[0].parent}; AP: {len(judge.validation.rows)} images of "
            f"{judge.validation.folder} with {', '.join(judge.runtimes())}")  # fmt: skip
        self._network = qdq.prepare(judge.float32, folder / "prepared.onnx")
        heads = set(qdq.heads(self._network))
        groups = sensitivity.layer_groups(self._network)
        self._groups = {group: [name for name in names if name not in heads] for group, names in groups.items()}
        self._ranges = self._measure_ranges()
        self._shares = self._shares_of(judge.rule)

    def _measure_ranges(self) -> Any:
        arrays = calibration.inputs(self._images, self._judge.rule)
        return qdq.measure_ranges(self._folder / "prepared.onnx", arrays, self._config.calibration_method, self._folder)

    def _shares_of(self, rule: InputRule) -> dict[str, float]:
        counts = qdq.multiplications(self._network, rule.fixed_size or (HEIGHT, WIDTH))
        total = max(1, sum(counts.values()))
        return {group: sum(counts.get(name, 0) for name in names) / total for group, names in self._groups.items()}

    def result(self) -> Quantised:
        """The network stands in `folder / "int8.onnx"`. Raises RefusedError."""
        damages = self.damages()
        order = sorted(damages, key=lambda group: _harm(damages[group]))  # the least harmful first
        stays = [group for group in order if self._config.bounds.sensitive(damages[group])]
        self._say(sensitivity.table(damages, stays, self._shares))
        reason = f"{len(stays)} of {len(order)} groups of layers are sensitive"
        while True:
            share = sum(self._shares[group] for group in order if group not in stays)
            if share < self._config.min_int8_share or share == 0:
                raise RefusedError(f"{reason}; {share:.1%} of the multiplications would be left in INT8, "
                                   f"--min_int8_share={self._config.min_int8_share:g}")  # fmt: skip
            comparisons, reason = self._attempt([group for group in order if group not in stays])
            if not reason:
                break
            stays.append(next(group for group in reversed(order) if group not in stays))
            self._say(f"{reason}: {stays[-1]} goes back to float32")
        report = sensitivity.as_json(damages, stays, self._shares)
        names, layers = [str(path) for path in self._images], qdq.float_convolutions(qdq.load(self._written))
        return Quantised(report, share, comparisons, names, self._config.calibration_method, layers)

    def _attempt(self, groups: Iterable[str]) -> tuple[list[Comparison], str]:
        """The groups in 8 bits: scores, and why they are not good enough."""
        self._quantise(groups, self._written)
        comparisons = []
        for comparison in self._judge.compare(self._written):
            comparisons.append(comparison)
            self._say(f"{comparison.runtime}: AP {comparison.float32.ap:.4f} float32, {comparison.int8.ap:.4f} INT8; "
                      f"people {comparison.float32.people}, {comparison.int8.people}")  # fmt: skip
            if reason := comparison.complaint(self._config.max_ap_drop):
                return comparisons, reason
        return comparisons, ""

    def _quantise(self, groups: Iterable[str], target: Path) -> None:
        nodes = [name for group in groups for name in self._groups[group]]
        qdq.quantise(self._network, self._ranges, nodes, target, self._config.narrow_weights)

    def damages(self) -> dict[str, Damage]:
        """Of each group alone in 8 bits."""
        few = self._config.sensitivity_images
        images = self._images[:: max(1, len(self._images) // few)][:few]
        arrays = [array[None] for array in calibration.inputs(images, self._judge.rule)]
        forward = self._forward(self._folder / "prepared.onnx")
        wanted = [forward(array) for array in arrays]
        alone, damages = self._folder / "alone.onnx", {}
        for group in self._groups:
            self._quantise([group], alone)
            damages[group] = sensitivity.compare(arrays, wanted, self._forward(alone))
        return damages

    def _forward(self, network: Path) -> sensitivity.Forward:
        session = open_on(network, "cpu", self._config.threads)

        def forward(array: Array) -> sensitivity.Maps:
            heatmaps, fields = session(array)[-2:]
            return heatmaps, fields

        return forward


def _harm(damage: Damage) -> tuple[float, float]:
    """The larger, the more harm a group does."""
    return damage.peaks - damage.peaks_kept + damage.peaks_new, max(damage.heatmaps_mean, damage.fields_mean)


if __name__ == "__main__":
    run(main)
