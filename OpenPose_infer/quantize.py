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

import common.coco.images
import common.skeleton
from common.arrays import Float32Array
from common.cli import UserError, flag, parse, run
from common.coco.evaluate import EvaluationSet
from common.runtime import quantize
from common.runtime.quantize import Flags, Score, Task, open_on_cpu
from common.runtime.session import Session
from Lightweight_OpenPose.eval import evaluate
from Lightweight_OpenPose.predict import InputRule, PoseEstimator, to_input
from OpenPose_infer.config import HEIGHT, WIDTH
from OpenPose_infer.data import DataFlags, data_path, evaluation_set

EXPORTER = "OpenPose_pth2onnx.py"


@dataclass(frozen=True)
class Config(DataFlags, Flags):
    """Quantizes an exported network to INT8 and keeps it only where it finds the same people."""

    calibration_path: str = flag("folder of calibration images; empty: train2017 of data_path, else those of AP", "")
    height: int = flag(f"height of the network's input, pixels; 0: as the file says, or {HEIGHT}", 0, most=16384)
    width: int = flag(f"width of the network's input, pixels; 0: as the file says, or {WIDTH}", 0, most=16384)
    calibration_images: int = flag("number of calibration images, spread evenly over the folder", 32, least=1)


def main() -> None:
    """Reads the flags, quantizes, says what was written."""
    aliases = {"val_labels": "labels", "val_images_folder": "images_folder"}
    config = parse(Config, {}, aliases=aliases, retired=quantize.RETIRED)
    config.check_flags(EXPORTER)
    quantize.check(config.source)
    skeleton = common.skeleton.load(config.skeleton)
    folder = data_path(config)
    validation = evaluation_set(config, folder, skeleton)
    calibration = calibration_folder(config.calibration_path, folder, validation)
    images = quantize.calibration_images(calibration, config.calibration_images)
    rule = input_rule(config.source, (config.height, config.width))
    quantize.run(config, task_of(images, validation, skeleton, rule))


def calibration_folder(chosen: str, folder: Path, validation: EvaluationSet) -> Path:
    """That of --calibration_path, else the training images of the data set, else the images that AP is measured on."""
    return Path(chosen) if chosen else common.coco.images.find(folder, "train2017") or validation.folder


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
        result = evaluate(PoseEstimator.of_session(session, skeleton), validation, rule, 1)
        return Score(result.metrics["AP"], len(result.detections))

    protocol = {"annotations": str(validation.annotations), "images": len(validation.rows), "size": rule.fixed_size}
    calibration = f"{len(images)} images of {images[0].parent}"
    return Task(score, lambda: ((array,) for array in inputs(images, rule)), calibration, protocol)


def inputs(images: Sequence[Path], rule: InputRule) -> Iterator[Float32Array]:
    """(1, 3, H, W) float32 network input of each image. Raises ImageError for an unreadable one."""
    for path in images:
        image = common.coco.images.read_image(path.parent, path.name)
        yield to_input(image, rule.letterbox(image.shape[:2]))[None]


if __name__ == "__main__":
    run(main)
