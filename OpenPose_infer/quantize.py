# SPDX-License-Identifier: Apache-2.0
"""An exported network of Lightweight OpenPose in INT8 that finds the same people, or no file at all.

python -m OpenPose_infer.quantize --model=pose.onnx --data_path=/data/coco --output_name=pose_int8.onnx
python -m OpenPose_infer.quantize --model=pose.onnx --calibration_path=photos --data_path=/data/coco --val_images=500

Calibrated with images; AP is measured as `eval.py` does, see `common.runtime.quantize`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import common.coco.images
import common.skeleton
from common.arrays import Float32Array
from common.bottomup.pipeline import evaluate
from common.cli import UserError, flag, parse, run
from common.runtime import quantize
from common.runtime.quantize import Flags, Score, open_on_cpu
from common.runtime.session import Session
from Lightweight_OpenPose.config import DataFlags, with_data
from Lightweight_OpenPose.eval import load_validation
from Lightweight_OpenPose.predict import InputRule, ValidationEstimator
from OpenPose_infer.config import ALIASES, HEIGHT, WIDTH

EXPORTER = "OpenPose_pth2onnx.py"


@dataclass(frozen=True)
class Config(DataFlags, Flags):
    """Quantizes an exported network to INT8 and keeps it only where it finds the same people."""

    calibration_path: str = flag("folder of calibration images; empty: train2017 of data_path, else those of AP", "")
    height: int = flag(f"height of the network's input, pixels; 0: as the file says, or {HEIGHT}", 0, most=16384)
    width: int = flag(f"width of the network's input, pixels; 0: as the file says, or {WIDTH}", 0, most=16384)
    calibration_images: int = flag("number of calibration images, spread evenly over the folder", 32, least=1)


def main() -> None:
    """Reads the flags, quantizes, prints what was written."""
    config = parse(Config, {}, aliases=ALIASES, retired=quantize.RETIRED)
    config.check_flags(EXPORTER)
    config = with_data(config, config.val_labels and config.val_images_folder)
    skeleton = common.skeleton.load(config.skeleton)
    validation, rule = load_validation(config, skeleton), input_rule(config)
    usual = common.coco.images.find(config.data_path, "train2017") or validation.folder
    images = quantize.calibration_images(Path(config.calibration_path or usual), config.calibration_images)

    def score(session: Session) -> Score:
        result = evaluate(ValidationEstimator.of_session(session, skeleton, input_rule=rule), validation, 1)
        return Score(result.metrics["AP"], len(result.detections))

    def inputs() -> Iterator[tuple[Float32Array]]:
        for path in images:
            image = common.coco.images.read_image(path.parent, path.name)
            yield (ValidationEstimator.to_input(image, rule.letterbox(image.shape[:2]))[None],)

    protocol = {"annotations": str(validation.annotations), "images": len(validation.rows), "size": rule.fixed_size}
    quantize.run(config, score, inputs(), f"{len(images)} images of {images[0].parent}", protocol)


def input_rule(config: Config) -> InputRule:
    """How images become inputs of this network: fitted into its own size, else that of the flags.

    Raises UserError where file and flags contradict each other, or the file takes several images at once only.
    """
    shape, size = open_on_cpu(config.source).inputs[0].shape, []
    if len(shape) != 4 or shape[0] not in (None, 1):
        raise UserError(f"{config.source}: takes {shape[0]} images at once; export it with --batch_size=0 or 1")
    for own, side, usual in zip(shape[2:], ("height", "width"), (HEIGHT, WIDTH), strict=True):
        asked = getattr(config, side)
        if own and asked and own != asked:
            raise UserError(f"{config.source}: its {side} is {own}, not {asked}; leave --{side} out")
        size.append(own or asked or usual)
    return InputRule(fixed_size=(size[0], size[1]))


if __name__ == "__main__":
    run(main)
