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

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.coco.images
import common.coco.mini.dataset
import common.skeleton
from common import qdq, quantization
from common.cli import UserError, flag, parse, run
from common.coco.evaluation_set import Validation
from common.judgement import Judge, Score, open_on
from common.qdq import Inputs
from common.quantization_flags import Flags
from common.quantization_search import Forward, Outputs, Task
from common.runtime.session import Session
from Lightweight_OpenPose.evaluation import evaluate
from Lightweight_OpenPose.inference import Estimator, InputRule
from OpenPose_infer import calibration, sensitivity
from OpenPose_infer.config import HEIGHT, WIDTH
from OpenPose_infer.sensitivity import Damage

EXPORTER = "OpenPose_pth2onnx.py"


@dataclass(frozen=True)
class Config(Flags):
    """Quantises an exported network to INT8 and keeps it only where it still finds people."""

    data_path: str = flag("COCO folder to measure AP on (val2017), or `mini` for the embedded data set", "")
    calibration_path: str = flag("folder of calibration images; empty: train2017 of data_path, else val2017", "")
    labels: str = flag("empty: data_path/annotations/person_keypoints_val2017.json", "")
    images_folder: str = flag("empty: data_path/val2017", "")
    skeleton: str = flag("built-in name or YAML file of one's own keypoints", "openpose")
    height: int = flag(f"of the network's input, pixels; 0: as the file says, or {HEIGHT}", 0, most=16384)
    width: int = flag(f"of the network's input, pixels; 0: as the file says, or {WIDTH}", 0, most=16384)
    calibration_images: int = flag("spread evenly over the folder", 32, least=1)
    sensitivity_images: int = flag("of these, so many for the report of sensitivity", 4, least=1)
    val_images: int = flag("measure AP on so many images, chosen as `make_val_subset.py` does; 0: all", 0)

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        self.check_flags(EXPORTER)
        for condition, message in (
            (self.data_path or (self.labels and self.images_folder),
             "--data_path is needed to measure AP: a COCO folder, or `mini`"),
        ):  # fmt: skip
            if not condition:
                raise UserError(message)


def main() -> None:
    """Reads the flags, quantises, says what was written."""
    config = parse(Config, {}, aliases={"val_labels": "labels", "val_images_folder": "images_folder"})
    config.check()
    qdq.check_installed(config.source)
    skeleton = common.skeleton.load(config.skeleton)
    data_path = common.coco.mini.dataset.resolve(config.data_path) if config.data_path else None
    validation = annotated_images(config, data_path, skeleton)
    images = calibration.choose(config.calibration_path, data_path, config.calibration_images)
    rule = input_rule(config.source, (config.height, config.width))
    judge = judge_of(config, validation, skeleton, rule)
    quantization.run(config, judge, task_of(images, config.sensitivity_images, rule, validation))


def annotated_images(config: Any, data_path: Path | None, skeleton: common.skeleton.Skeleton) -> Validation:
    """The images that the flags `data_path`, `labels`, `images_folder` and `val_images` of a config mean."""
    labels = config.labels or common.coco.images.annotation_file(data_path or "", "val")
    folder = config.images_folder or common.coco.images.image_folder(data_path or "", "val")
    return Validation.load(Path(labels), Path(folder), skeleton, config.val_images)


def input_rule(source: Path, size: tuple[int, int]) -> InputRule:
    """How images become inputs of this network: letterboxed into its own size, else `size` where given (0: not).

    Raises UserError where file and flags contradict each other, or the file takes several images at once only.
    """
    shape = open_on(source, "cpu").inputs[0].shape
    if len(shape) != 4 or shape[0] not in (None, 1):
        raise UserError(f"{source}: takes {shape[0]} images at once; export it with --batch_size=0 or 1")
    for own, asked, name in zip(shape[2:], size, ("height", "width"), strict=True):
        if own and asked and own != asked:
            raise UserError(f"{source}: its {name} is {own}, not {asked}; leave --{name} out")
    height, width = (own or asked or usual for own, asked, usual in zip(shape[2:], size, (HEIGHT, WIDTH), strict=True))
    return InputRule(fixed_size=(height, width))


def judge_of(config: Flags, validation: Validation, skeleton: common.skeleton.Skeleton, rule: InputRule) -> Judge:
    """Measures the AP of networks on annotated images."""

    def score(session: Session) -> Score:
        result = evaluate(Estimator(session, skeleton), validation, rule, 1)
        return Score(result.metrics["AP"], len(result.detections))

    images = f"{len(validation.rows)} images of {validation.folder}"
    return Judge(config.source, score, images, config.max_ap_drop, config.threads)


def task_of(images: Sequence[Path], few: int, rule: InputRule, validation: Validation) -> Task:
    """What the search is told; `few` of the calibration images show the damage of a group of layers."""
    return Task(
        inputs=functools.partial(_inputs, images, rule),
        examples=functools.partial(_inputs, images[:: max(1, len(images) // few)][:few], rule),
        names=[str(path) for path in images],
        described=f"{len(images)} images of {images[0].parent}",
        groups=lambda network, _: sensitivity.groups_of(network),
        damage=_damage,
        protocol={"annotations": str(validation.annotations), "images": len(validation.rows)},
    )


def _inputs(images: Sequence[Path], rule: InputRule) -> Iterator[Inputs]:
    """(1, 3, H, W) float32 of each image."""
    return ((array[None],) for array in calibration.inputs(images, rule))


def _damage(inputs: Sequence[Inputs], wanted: Sequence[Outputs], forward: Forward) -> Damage:
    """Of the last heatmaps and fields."""

    def last(outputs: Outputs) -> sensitivity.Maps:
        heatmaps, fields = outputs[-2:]
        return heatmaps, fields

    arrays = [array for (array,) in inputs]
    return sensitivity.compare(arrays, [last(outputs) for outputs in wanted], lambda array: last(forward((array,))))


if __name__ == "__main__":
    run(main)
