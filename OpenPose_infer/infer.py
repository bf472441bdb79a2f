# SPDX-License-Identifier: Apache-2.0
"""The whole offline inference in memory: read and resize, network and decoding side by side, then the AP.

python -m OpenPose_infer.infer --data_path=/data/coco --model=output/human-pose-estimation.onnx
python -m OpenPose_infer.infer --data_path=mini --model=model_best.pth --amp=O1

The people found are those of the chain through files: OpenPose_preprocess, benchmark, OpenPose_postprocess.
Writes result.json (detections), metrics.jsonl (AP, time of each part) and a result file.
"""

from dataclasses import dataclass
from pathlib import Path

import common.distributed
from common.cli import UserError, flag, parse, run
from common.train import published
from Lightweight_OpenPose import weights
from Lightweight_OpenPose.config import DIRECTORY
from Lightweight_OpenPose.eval import EvaluationFlags, run_evaluation
from OpenPose_infer.config import ALIASES, DETECTIONS, MODEL_FOLDER, NETWORK, RETIRED, RULE, WEIGHT_FOLDERS


@dataclass(frozen=True)
class Config(EvaluationFlags):
    """Finds the people of annotated images with a network in any format, and computes AP."""

    output_dir: str = flag("folder for result.json and metrics.jsonl", str(MODEL_FOLDER / "output"))
    output_name: str = flag("file of the detections", DETECTIONS)


def main() -> None:
    """Reads the flags, finds people, prints AP and time, writes both down."""
    config = parse(Config, {}, aliases={**ALIASES, "model": "checkpoint_path"}, retired=RETIRED)
    if not config.checkpoint_path:
        raise UserError("--model is needed: a .pth, .onnx, .xml or .om, or one of " + published.names(DIRECTORY))
    source, folder = weights.locate_checkpoint(config.checkpoint_path, WEIGHT_FOLDERS), Path(config.output_dir)
    with common.distributed.process_group(config.device) as device:
        run_evaluation(NETWORK, config, source, device, RULE, folder)


if __name__ == "__main__":
    run(main)
