# SPDX-License-Identifier: Apache-2.0
"""The whole offline inference in memory: read and resize, network and decoding side by side, then the AP.

python -m OpenPose_infer.infer --data_path=/data/coco --model=output/human-pose-estimation.onnx
python -m OpenPose_infer.infer --data_path=mini --model=model_best.pth --amp=O1

The people found are those of the chain through files: OpenPose_preprocess, benchmark, OpenPose_postprocess.
Writes result.json (detections), infer.json (AP, images a second, where the time of an image goes) and a result file.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import common.device
import common.skeleton
import common.train.checkpoint
from common.cli import UserError, flag, parse, run
from common.coco.images import Exif
from common.files import write_atomically
from common.report import Run
from common.runtime.session import ComputeFlags, Session
from common.train import published
from common.train.log import Log
from Lightweight_OpenPose import predict, weights
from Lightweight_OpenPose.config import DIRECTORY
from Lightweight_OpenPose.decode import DecodeRules, warm_up
from Lightweight_OpenPose.eval import default_batch, evaluate
from Lightweight_OpenPose.predict import PoseEstimator
from OpenPose_infer.config import CHANNELS, DETECTIONS, HEIGHT, MODEL_FOLDER, NETWORK, RULE, WEIGHT_FOLDERS, WIDTH
from OpenPose_infer.data import DataFlags, data_path, evaluation_set

import numpy as np

REPORT = "infer.json"


@dataclass(frozen=True)
class Config(DataFlags, ComputeFlags):
    """Finds the people of annotated images with a network in any format, and the AP of that."""

    model: str = flag("a network: .pth, .onnx, .xml or .om, or a published name", "")
    output_dir: str = flag("folder for result.json, infer.json and metrics.jsonl", str(MODEL_FOLDER / "output"))
    log_dir: str = flag("folder of the log and the result file; empty: output_dir/test/output/0", "")
    batch_size: int = flag("images at once; 0: as many as the network has, else 32, on a CPU 2", 0, most=10**6)
    device_id: int = flag("which of these devices", 0, most=1024)
    threads: int = flag("threads of the network on a CPU; 0: all", 0, most=1024)
    half_pixel: bool = flag("the publication's shift of keypoints by half a pixel", True)
    exif: Exif = flag("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or count it as without people", "error")

    def check(self) -> None:
        """Raises UserError where something is missing."""
        if not self.model:
            raise UserError("--model is needed: a .pth, .onnx, .xml or .om, or one of " + published.names(DIRECTORY))


def main() -> None:
    """Reads the flags, finds people, prints AP and time, writes both down."""
    began = time.time()
    config = parse(Config, {}, aliases={"val_labels": "labels", "checkpoint_path": "model"})
    config.check()
    skeleton = common.skeleton.load(config.skeleton)
    validation = evaluation_set(config, data_path(config), skeleton, config.exif)
    estimator = open_estimator(config, skeleton)
    result = evaluate(
        estimator, validation, RULE, _batch_size(config, estimator.session), skip_bad=config.on_bad_image == "skip"
    )
    folder = Path(config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    result.detections.write_json(folder / DETECTIONS)
    protocol = {
        "annotations": str(validation.annotations),
        "images": result.num_images,
        "model": estimator.session.source,
        "runtime": estimator.session.runtime,
        "precision": config.amp,
        "half_pixel": config.half_pixel,
        "skipped": len(result.skipped),
    }
    rate = result.num_images / result.seconds["total"]
    log_folder = Path(config.log_dir or folder / "test" / "output" / "0")
    with Log(folder / "metrics.jsonl", log_folder, fresh=True) as log:
        result.log(log, protocol)
        log.line(f"{rate:.2f} images a second")
    figures = {"metrics": result.metrics, "images_a_second": rate, "ms_an_image": result.ms_an_image}
    write_atomically(folder / REPORT, (json.dumps(protocol | figures, indent=1) + "\n").encode())
    Run(NETWORK, "eval", 1, 1, str(folder / "metrics.jsonl"), str(folder), began).leave(log_folder)


def open_estimator(config: Config, skeleton: common.skeleton.Skeleton) -> PoseEstimator:
    """The network of `--model` and its decoder, both warm: the first call would spoil the figures."""
    source = weights.locate_checkpoint(config.model, WEIGHT_FOLDERS)
    device = common.device.resolve(config.device, config.device_id)
    options = config.options(device, config.device_id, config.threads)
    session = predict.open_session(source, options, skeleton)
    estimator = PoseEstimator.of_session(session, skeleton, DecodeRules(half_pixel=config.half_pixel))
    warm_up(skeleton, estimator.rules)
    estimator.maps(np.zeros((_batch_size(config, session), CHANNELS, HEIGHT, WIDTH), np.float32))
    return estimator


def _batch_size(config: Config, session: Session) -> int:
    where = common.device.resolve(config.device, config.device_id)
    return config.batch_size or session.fixed_batch or default_batch(where)


if __name__ == "__main__":
    run(main)
