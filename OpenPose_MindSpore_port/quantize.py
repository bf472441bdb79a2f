# SPDX-License-Identifier: Apache-2.0
"""An exported network in INT8 that finds the same people, or no file at all.

python -m OpenPose_MindSpore_port.quantize --model=openpose.onnx --data_path=/data/coco --output_name=openpose_int8.onnx

Calibrated with images; AP is measured as `eval.py` does, see `common.runtime.quantize`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import common.coco.images
import common.skeleton
from common.bottomup.pipeline import evaluate
from common.cli import UserError, flag, parse, run
from common.runtime import quantize
from common.runtime.quantize import Flags, Inputs, Score
from common.runtime.session import Session
from OpenPose_MindSpore_port.config import DataFlags, Inference, with_data
from OpenPose_MindSpore_port.eval import evaluation_set
from OpenPose_MindSpore_port.predict import PoseEstimator

EXPORTER = "python -m OpenPose_MindSpore_port.export"


@dataclass(frozen=True)
class Config(Flags, Inference, DataFlags):
    """Quantizes an exported network to INT8 and keeps it only where it finds the same people."""

    calibration_path: str = flag("folder of calibration images; empty: train2017 of data_dir, else imgpath_val", "")
    calibration_images: int = flag("number of calibration images, spread evenly over the folder", 32, least=1)


def main() -> None:
    """Reads the flags, quantizes, prints what was written."""
    config = parse(Config, {}, aliases={"data_path": "data_dir", "annotation": "ann"}, retired=quantize.RETIRED)
    config.check_flags(EXPORTER)
    config = with_data(config)
    skeleton = common.skeleton.load(config.skeleton)
    validation = evaluation_set(config, skeleton)
    usual = common.coco.images.find(config.data_dir, "train2017") or validation.folder
    images = quantize.calibration_images(Path(config.calibration_path or usual), config.calibration_images)
    session = quantize.open_on_cpu(config.source)
    if session.fixed_batch not in (None, 1):
        raise UserError(f"{config.source}: takes {session.fixed_batch} images at once; export it with --batch_size=0")
    floating = PoseEstimator.of_session(session, skeleton, config)

    def score(session: Session) -> Score:
        estimator = PoseEstimator.of_session(session, skeleton, config)
        result = evaluate(estimator, validation, session.fixed_batch or 1)
        return Score(result.metrics["AP"], len(result.detections))

    def inputs() -> Iterator[Inputs]:
        for path in images:
            image = common.coco.images.read_image(path.parent, path.name)
            yield floating.inputs([image], [floating.letterboxes(image.shape[:2])])

    size = session.fixed_size or f"short side {config.inference_img_size}"
    protocol = {"annotations": str(validation.annotations), "images": len(validation.rows), "input": size}
    quantize.run(config, score, inputs(), f"{len(images)} images of {images[0].parent}", protocol)


if __name__ == "__main__":
    run(main)
