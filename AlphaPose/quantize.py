# SPDX-License-Identifier: Apache-2.0
"""An exported network in INT8 that finds the same keypoints, or no file at all, see `common.runtime.quantize`.

python -m AlphaPose.quantize --model=fast_pose.onnx --data_path=/data/coco
python -m AlphaPose.quantize --model=fast_pose.onnx --data_path=/data/coco --detections=boxes.json --nms=pose

Calibrated with annotated training people; AP is measured as `eval.py` does.
"""

from dataclasses import dataclass

import common.cli
from AlphaPose.eval import ALIASES, CPU_BATCH, FLAG_KEYS, EvaluationSettings, Evaluator, annotated_images
from AlphaPose.predict import PoseEstimator, open_session
from common.cli import UserError, flag
from common.runtime import quantize
from common.runtime.quantize import Flags, Score
from common.runtime.session import Options, Session
from common.topdown.boxes import annotated
from common.topdown.nms import CONFIDENT
from common.topdown.pipeline import images_of, network_inputs

EXPORTER = "python -m AlphaPose.export"


@dataclass(frozen=True)
class Config(Flags, EvaluationSettings):
    """Quantizes an exported network of AlphaPose to INT8 and keeps it only where it finds the same people."""

    calibration_people: int = flag("calibration people, spread over those of training, else of validation", 64, least=1)

    def check(self) -> None:
        """Raises UserError for values that make no sense."""
        self.check_flags(EXPORTER)
        EvaluationSettings.check(self)


def main() -> None:
    """Reads the flags, calibrates with annotated people, measures as `eval.py` does, writes what stays accurate."""
    flags = common.cli.parse(Config, {}, aliases=ALIASES, retired=quantize.RETIRED, keys=FLAG_KEYS)
    flags.check()
    config = flags.config(flags.source)
    session = open_session(flags.source, Options("cpu", provider="cpu"), config)
    evaluator, estimator = Evaluator(config, flags), PoseEstimator.of_session(session, config)
    try:
        images = annotated_images(config, "TRAIN")
    except UserError:  # a data set without training people
        images = evaluator.validation
    boxes = annotated(images)
    boxes = boxes.select(quantize.spread(len(boxes), flags.calibration_people))

    def score(network: Session) -> Score:
        result = evaluator(PoseEstimator.of_session(network, config, flags.batch_size or CPU_BATCH))
        return Score(result.total["AP"], int((result.detections.keypoints[..., 2] > CONFIDENT).any(axis=1).sum()))

    inputs = ((crops,) for crops in network_inputs(images_of(images, boxes), estimator.network))
    quantize.run(flags, score, inputs, f"{len(boxes)} people of {images.annotations}", evaluator.protocol(estimator))


if __name__ == "__main__":
    common.cli.run(main)
