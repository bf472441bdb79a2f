# SPDX-License-Identifier: Apache-2.0
"""An exported network of Lightweight OpenPose in INT8 that finds the same people, or no file at all.

python -m OpenPose_infer.quantize --model=pose.onnx --data_path=/data/coco --output_name=pose_int8.onnx
python -m OpenPose_infer.quantize --model=pose.onnx --calibration_path=photos --data_path=/data/coco --val_images=500

Calibrated with images, see `common.runtime.quantize`. AP is measured as `eval.py` does, with ONNX Runtime and OpenVINO
where it is installed: both run the file. A report in JSON lies beside it. Where AP falls by more than `--max_ap_drop`,
nothing is written and the program ends with exit code 2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.coco.images
import common.skeleton
from common.arrays import Float32Array
from common.cli import UserError, flag, parse, run
from common.coco.evaluate import EvaluationSet
from common.runtime import quantize
from common.runtime.quantize import Flags, Score, Task, open_on_cpu
from common.runtime.session import Session
from Lightweight_OpenPose.evaluation import evaluate
from Lightweight_OpenPose.inference import Estimator, InputRule, to_input
from OpenPose_infer.config import HEIGHT, WIDTH

EXPORTER = "OpenPose_pth2onnx.py"


@dataclass(frozen=True)
class Config(Flags):
    """Quantizes an exported network to INT8 and keeps it only where it finds the same people."""

    data_path: str = flag("COCO folder to measure AP on (val2017), or `mini` for the embedded data set", "")
    calibration_path: str = flag("folder of calibration images; empty: train2017 of data_path, else val2017", "")
    labels: str = flag("empty: data_path/annotations/person_keypoints_val2017.json", "")
    images_folder: str = flag("empty: data_path/val2017", "")
    skeleton: str = flag("built-in name or YAML file of one's own keypoints", "openpose")
    height: int = flag(f"of the network's input, pixels; 0: as the file says, or {HEIGHT}", 0, most=16384)
    width: int = flag(f"of the network's input, pixels; 0: as the file says, or {WIDTH}", 0, most=16384)
    calibration_images: int = flag("spread evenly over the folder", 32, least=1)
    val_images: int = flag("measure AP on so many images, chosen as `make_val_subset.py` does; 0: all", 0)

    def check(self) -> None:
        """Raises UserError for values that make no sense."""
        self.check_flags(EXPORTER)
        if not (self.data_path or (self.labels and self.images_folder)):
            raise UserError("--data_path is needed to measure AP: a COCO folder, or `mini`")


def main() -> None:
    """Reads the flags, quantizes, says what was written."""
    aliases = {"val_labels": "labels", "val_images_folder": "images_folder"}
    config = parse(Config, {}, aliases=aliases, retired=quantize.RETIRED)
    config.check()
    quantize.check(config.source)
    skeleton = common.skeleton.load(config.skeleton)
    data_path = common.coco.images.data_folder(config.data_path) if config.data_path else None
    validation = annotated_images(config, data_path, skeleton)
    images = calibration_images(config.calibration_path, data_path, config.calibration_images)
    rule = input_rule(config.source, (config.height, config.width))
    quantize.run(config, task_of(images, validation, skeleton, rule))


def calibration_images(folder: str, data_path: Path | None, count: int) -> list[Path]:
    """Of `folder`, else of the training images of a data set, else of its others. Raises UserError."""
    if not (folder or data_path):
        raise UserError("--calibration_path is needed: a folder of images like those that the network will see")
    folders = (
        [Path(folder)] if folder else [Path(data_path or "") / f"{split}2017" for split in common.coco.images.SPLITS]
    )
    return quantize.calibration_images(next(filter(Path.is_dir, folders), folders[0]), count)


def annotated_images(config: Any, data_path: Path | None, skeleton: common.skeleton.Skeleton) -> EvaluationSet:
    """The images that the flags `data_path`, `labels`, `images_folder` and `val_images` of a config mean."""
    labels = config.labels or common.coco.images.annotation_file(data_path or "", "val")
    folder = config.images_folder or common.coco.images.image_folder(data_path or "", "val")
    return EvaluationSet.load(Path(labels), Path(folder), skeleton, config.val_images)


def input_rule(source: Path, size: tuple[int, int]) -> InputRule:
    """How images become inputs of this network: letterboxed into its own size, else `size` where given (0: not).

    Raises UserError where file and flags contradict each other, or the file takes several images at once only.
    """
    shape = open_on_cpu(source).inputs[0].shape
    if len(shape) != 4 or shape[0] not in (None, 1):
        raise UserError(f"{source}: takes {shape[0]} images at once; export it with --batch_size=0 or 1")
    for own, asked, side in zip(shape[2:], size, ("height", "width"), strict=True):
        if own and asked and own != asked:
            raise UserError(f"{source}: its {side} is {own}, not {asked}; leave --{side} out")
    height, width = (own or asked or usual for own, asked, usual in zip(shape[2:], size, (HEIGHT, WIDTH), strict=True))
    return InputRule(fixed_size=(height, width))


def task_of(
    images: Sequence[Path], validation: EvaluationSet, skeleton: common.skeleton.Skeleton, rule: InputRule
) -> Task:
    """`images` to calibrate with; the evaluation that scores."""

    def score(session: Session) -> Score:
        result = evaluate(Estimator(session, skeleton), validation, rule, 1)
        return Score(result.metrics["AP"], len(result.detections))

    protocol = {"annotations": str(validation.annotations), "images": len(validation.rows), "size": rule.fixed_size}
    calibration = f"{len(images)} images of {images[0].parent}"
    return Task(score, lambda: ((array,) for array in inputs(images, rule)), calibration, protocol)


def inputs(images: Sequence[Path], rule: InputRule) -> Iterator[Float32Array]:
    """(1, 3, H, W) float32 network input of each image. Raises ImageError for an unreadable one."""
    for path in images:
        image = common.coco.images.read_image(path.parent, path.name)
        yield to_input(image, rule.frame(image.shape[:2]))[None]


if __name__ == "__main__":
    run(main)
