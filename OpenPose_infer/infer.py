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

import common.coco.evaluate
import common.device
import common.skeleton
import common.train.checkpoint
from common.cli import UserError, flag, parse, run
from common.coco.images import Exif
from common.device import AmpLevel, AmpType, DeviceName
from common.files import write_atomically
from common.report import Run
from common.runtime.session import Options, Provider, Session
from common.train import published
from common.train.log import Log
from Lightweight_OpenPose import predict, weights
from Lightweight_OpenPose.config import DIRECTORY
from Lightweight_OpenPose.decode import DecodeRules, warm_up
from Lightweight_OpenPose.eval import Evaluation, default_batch, evaluate
from Lightweight_OpenPose.predict import PoseEstimator
from OpenPose_infer.config import CHANNELS, DETECTIONS, HEIGHT, MODEL_FOLDER, NETWORK, RULE, WEIGHT_FOLDERS, WIDTH
from OpenPose_infer.data import DataFlags, data_path, evaluation_set

import numpy as np

REPORT = "infer.json"


@dataclass(frozen=True)
class Config(DataFlags):
    """Finds the people of annotated images with a network in any format, and the AP of that."""

    model: str = flag("a network: .pth, .onnx, .xml or .om, or a published name", "")
    output_dir: str = flag("folder for result.json, infer.json and metrics.jsonl", str(MODEL_FOLDER / "output"))
    log_dir: str = flag("lines of the run and result file; empty: output_dir/test/output/0", "")
    batch_size: int = flag("images at once; 0: as many as the network has, else 32, on a CPU 2", 0, most=10**6)
    device: DeviceName = flag("where to compute", "auto")
    device_id: int = flag("which of these devices", 0, most=1024)
    provider: Provider = flag("of ONNX Runtime, for an .onnx; auto: that of the device", "auto")
    amp: AmpLevel = flag("precision level: O1 is the device's 16-bit type", "O0")
    amp_type: AmpType = flag("type of O1; auto: float16, on a CPU bfloat16", "auto")
    threads: int = flag("of the network on a CPU; 0: all", 0, most=1024)
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
    summary = summarise(result, estimator.session)
    write_atomically(folder / REPORT, (json.dumps(summary, indent=1) + "\n").encode())
    log_folder = Path(config.log_dir or folder / "test" / "output" / "0")
    with Log(folder / "metrics.jsonl", log_folder, fresh=True) as log:
        for line in (*(f"skipped: {line}" for line in result.skipped), common.coco.evaluate.table(result.metrics)):
            log.line(line)
        log.line(_shown(summary))
        log.record("evaluate", **summary)
    Run(NETWORK, "eval", 1, 1, str(folder / "metrics.jsonl"), str(folder), began).leave(log_folder)


def open_estimator(config: Config, skeleton: common.skeleton.Skeleton) -> PoseEstimator:
    """The network of `--model` and its decoder, both warm: the first call would spoil the figures."""
    source = weights.locate(config.model, WEIGHT_FOLDERS)
    dtype = common.device.amp_type(common.device.resolve(config.device, config.device_id), config.amp, config.amp_type)
    options = Options(config.device, config.device_id, config.provider, dtype, config.threads)
    session = predict.open_session(source, options, skeleton)
    estimator = PoseEstimator.of_session(session, skeleton, DecodeRules(half_pixel=config.half_pixel))
    warm_up(skeleton, estimator.rules)
    estimator.maps(np.zeros((_batch_size(config, session), CHANNELS, HEIGHT, WIDTH), np.float32))
    return estimator


def _batch_size(config: Config, session: Session) -> int:
    where = common.device.resolve(config.device, config.device_id)
    return config.batch_size or session.fixed_batch or default_batch(where)


def summarise(result: Evaluation, session: Session) -> dict[str, object]:
    """AP, images a second, and milliseconds an image of each part. The parts run side by side: their sum is more."""
    images = max(1, result.num_images)
    return {
        "model": session.source,
        "runtime": session.runtime,
        "images": result.num_images,
        "skipped": len(result.skipped),
        "metrics": result.metrics,
        "images_a_second": result.num_images / result.seconds["total"],
        "ms_an_image": {name: 1000 * spent / images for name, spent in result.seconds.items()},
    }


def _shown(summary: dict[str, object]) -> str:
    parts = summary["ms_an_image"]
    assert isinstance(parts, dict)
    columns = ["AP", "images/s", *(f"{name} ms" for name in parts)]
    values = [f"{summary['metrics']['AP']:.4f}", f"{summary['images_a_second']:.2f}"]  # type: ignore[index]
    values += [f"{spent:.2f}" for spent in parts.values()]
    rows = (columns, ["---"] * len(columns), values)
    return "\n".join([f"runtime: {summary['runtime']}", *("| " + " | ".join(row) + " |" for row in rows)])


if __name__ == "__main__":
    run(main)
