# SPDX-License-Identifier: Apache-2.0
"""An exported network in INT8 that finds the same keypoints, or no file at all, see `common.runtime.quantize`.

python -m MIPNet.quantize --model=mipnet.onnx --data_path=/data/coco
python -m MIPNet.quantize --lambda --model=mipnet.onnx --data_path=/data/coco --lambdas=0,1 TEST.FLIP_TEST false
python -m MIPNet.quantize --cfg experiments/crowdpose/hrnet/w48_384x288_adam_lr1e-3_lambda.yaml \
    --model=mipnet.onnx --data_path=/data/crowdpose

Calibrated with annotated training people and every lambda that the network will be asked for; AP is measured as
`eval.py` does.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import common.cli
from common.cli import UserError, flag
from common.runtime import quantize
from common.runtime.quantize import Flags, Inputs, Score
from common.runtime.session import Options, Session
from common.topdown.boxes import annotated
from common.topdown.nms import CONFIDENT
from common.topdown.pipeline import images_of, network_inputs
from MIPNet import data
from MIPNet.config import parse_flags
from MIPNet.eval import ALIASES, FLAG_KEYS, EvaluationSettings, Evaluator, annotated_images
from MIPNet.predict import CPU_BATCH, PoseEstimator, open_session, with_lambda

EXPORTER = "python -m MIPNet.export"


@dataclass(frozen=True)
class Config(Flags, EvaluationSettings):
    """Quantizes an exported network of MIPNet to INT8 and keeps it only where it finds the same people.

    KEY VALUE words change the yaml config, such as TEST.FLIP_TEST false. Flags for keys are those of MIPNet.eval.
    """

    calibration_people: int = flag("calibration people, spread over those of training, else of validation", 64, least=1)


def main() -> None:
    """Reads the flags, calibrates with annotated people, measures as `eval.py` does, writes what stays accurate."""
    flags = parse_flags(Config, None, ALIASES, FLAG_KEYS, quantize.RETIRED)
    flags.check_flags(EXPORTER)
    config = data.resolve_data_folder(flags.config(flags.source))
    session, _ = open_session(flags.source, Options("cpu", provider="cpu"), config)
    evaluator = Evaluator(config, flags.num_workers)
    estimator = PoseEstimator.of_session(session, config, flags.lambdas)
    try:
        images = annotated_images(config, "TRAIN")
    except UserError:  # a data set without training people, such as OCHuman
        images = evaluator.validation
    boxes = annotated(images, lenient=True)
    boxes = boxes.select(quantize.spread(len(boxes), flags.calibration_people))

    def score(network: Session) -> Score:
        batch_size = flags.batch_size or CPU_BATCH
        result = evaluator(PoseEstimator.of_session(network, config, flags.lambdas, batch_size))
        return Score(result.total["AP"], int((result.detections.keypoints[..., 2] > CONFIDENT).any(axis=1).sum()))

    def inputs() -> Iterator[Inputs]:
        for crops in network_inputs(images_of(images, boxes), estimator.network):
            yield from [with_lambda(crops, value) for value in estimator.lambdas] or [(crops,)]

    people = f"{len(boxes)} people of {images.annotations}"
    quantize.run(flags, score, inputs(), people, evaluator.protocol(estimator))


if __name__ == "__main__":
    common.cli.run(main)
