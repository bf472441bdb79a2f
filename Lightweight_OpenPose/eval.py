# SPDX-License-Identifier: Apache-2.0
"""AP of a checkpoint on COCO keypoints, with the protocol of the publication.

bash test/eval.sh --data_path=/data/coco --step=1 --checkpoint_path=model_best.pth
python -m Lightweight_OpenPose.eval --data_path=mini --checkpoint_path=model_best.pth --save_images=8 --multiscale

Writes detections.json, metrics.jsonl, pictures and a result file into eval_step<step>.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import common.coco.images
import common.device
import common.distributed
import common.skeleton
import common.train.checkpoint
from common.bottomup.pipeline import evaluate
from common.cli import UserError, flag, parse, run
from common.coco.evaluate import EvaluationSet
from common.media import error_report
from common.media.sheets import save_sheet
from common.report import Run
from common.runtime.session import PYTORCH, ComputeFlags, of_module
from common.train.log import Log
from common.train.state import TrainState
from Lightweight_OpenPose import weights
from Lightweight_OpenPose.config import ALIASES, MODEL_FOLDER, NETWORK, RETIRED, STEP_NAMES, DataFlags, with_data
from Lightweight_OpenPose.decode import DecodeRules
from Lightweight_OpenPose.predict import InputRule, ValidationEstimator, open_session

import numpy as np
import torch
from torch import nn

PUBLISHED_HEIGHT = 368  # of an image in the network, input pixels
MULTI_SCALE = (0.5, 1.0, 1.5, 2.0)
ACCELERATOR_BATCH, CPU_BATCH = 32, 2  # images at once; a CPU gains nothing from more
MAX_PEAKS_IN_TRAINING = 100  # of one type: early maps are noise with thousands; no image has as many people
GONE = {"input_size": "an exported network of a fixed size gets every image put into it", "weights_only": "as always"}
SHEET_ROWS = 6  # images shown at each evaluation while training


@dataclass(frozen=True)
class EvaluationFlags(DataFlags, ComputeFlags):
    """The flags of an evaluation; those of the offline inference are the same."""

    checkpoint_path: str = flag("a file (.pth, or exported: .onnx, .xml, .om) or a published name", "")
    output_dir: str = flag("folder of checkpoints and results", str(MODEL_FOLDER))
    log_dir: str = flag("folder of each rank's log and the result file; empty: output_dir/test/output/0", "")
    half_pixel: bool = flag("the publication's shift of keypoints by half a pixel; without it AP rises a little", True)
    batch_size: int = flag("images of one size at once; 0: as exported, or 32, on a CPU 2", 0, most=10**6)
    num_workers: int = flag("threads that read images ahead, a batch each", 4, least=1, most=1024)
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or count it as without people", "error")
    output_name: str = flag("file of the detections", "detections.json")
    save_images: int = flag("number of images to draw: ground truth next to prediction", 0)
    report: bool = flag("also write report.html, a page of where the network fails, and report.json", False)

    @property
    def log_folder(self) -> Path:
        """Where the launcher looks for the log and for the result file."""
        return Path(self.log_dir or Path(self.output_dir) / "test" / "output" / "0")


@dataclass(frozen=True)
class Config(EvaluationFlags):
    """Evaluates a checkpoint of Lightweight OpenPose."""

    step: int = flag("training step: names the output folder, and the checkpoint without a path", 1, least=1, most=3)
    base_height: int = flag("height of an image in the network, pixels; 0: as in training, or 368", 0, most=4096)
    multiscale: bool = flag("mean of the maps at 0.5, 1, 1.5 and 2 times that height", False)


def main() -> None:
    """Reads the flags, evaluates, leaves detections, metrics, pictures and a result file."""
    aliases = {**ALIASES, "labels": "val_labels", "images_folder": "val_images_folder"}
    config = parse(Config, {}, aliases=aliases, retired=RETIRED | GONE)
    folder = Path(config.output_dir) / f"eval_step{config.step}"
    with common.distributed.process_group(config.device) as device:
        source = _checkpoint(config)
        content = common.train.checkpoint.read(source) if source.suffix in PYTORCH else {}
        trained_height = int(content.get("config", {}).get("base_height", PUBLISHED_HEIGHT))
        scales = MULTI_SCALE if config.multiscale else InputRule.scales
        rule = InputRule(config.base_height or trained_height, scales=scales)
        run_evaluation(NETWORK, config, source, device, rule, folder)


def _checkpoint(config: Config) -> Path:
    if config.checkpoint_path:
        return weights.locate_checkpoint(config.checkpoint_path)
    best = weights.run_folder(config.output_dir, STEP_NAMES[config.step]) / common.train.checkpoint.BEST
    if not best.is_file():
        raise UserError(f"--checkpoint_path is needed: step {config.step} has left no {best}")
    return best


def run_evaluation(
    name: str, config: EvaluationFlags, source: Path, device: torch.device, rule: InputRule, folder: Path
) -> None:
    """Evaluates the network of `source`; leaves detections, metrics and pictures in `folder`, and a result of `name`.

    `rule`: how images become inputs, where the network does not fix their size. Raises UserError, also for a network
    that takes one size where `rule` has several scales.
    """
    began, config = time.time(), with_data(config, config.val_images_folder)
    skeleton = common.skeleton.load(config.skeleton)
    validation = load_validation(config, skeleton)
    session = open_session(source, config.options(device, common.distributed.local_rank()), skeleton)
    estimator = ValidationEstimator.of_session(session, skeleton, DecodeRules(half_pixel=config.half_pixel), rule)
    size_in = estimator.input_rule.fixed_size
    batch_size = config.batch_size or session.fixed_batch or default_batch(device)
    if size_in and len(rule.scales) > 1:
        cure = "give a .pth, or export it for any size"
        raise UserError(f"--multiscale: {source} takes images of one size alone; {cure}")
    if size_in:  # the first call of an accelerator takes seconds
        estimator.maps(np.zeros((batch_size, 3, *size_in), np.float32))
    result = evaluate(estimator, validation, batch_size, config.on_bad_image == "skip", config.num_workers)
    protocol = {
        "annotations": str(validation.annotations),
        "images": result.num_images,
        "checkpoint": str(source),
        "runtime": session.runtime,
        "input": "x".join(map(str, size_in)) if size_in else f"height {rule.base_height}",
        "scales": rule.scales,
        "precision": config.amp,
        "half_pixel": config.half_pixel,
        "skipped": len(result.skipped),
    }
    with Log(folder / "metrics.jsonl", config.log_folder, fresh=True) as log:
        result.log(log, protocol)
        log.line(f"{result.num_images / result.seconds['total']:.2f} images a second")
        log.line(f"final eval acc:{result.metrics['AP']:.4f}")
    if common.distributed.is_main():
        result.detections.write_json(folder / config.output_name)
        if config.report:
            error_report.write(validation, result.detections, skeleton, folder)
        if config.save_images:
            save_sheet(folder / "pictures.png", validation, result.detections, skeleton, config.save_images)
        Run(name, "eval", 1, 1, str(folder / "metrics.jsonl"), str(folder), began).leave(config.log_folder)


def load_validation(config: DataFlags, skeleton: common.skeleton.Skeleton) -> EvaluationSet:
    """The images to evaluate on, with what is annotated in them. Raises UserError where they are not there."""
    labels = config.val_labels or common.coco.images.annotation_file(config.data_path, "val")
    images = config.val_images_folder or common.coco.images.image_folder(config.data_path, "val")
    return EvaluationSet.load(Path(labels), Path(images), skeleton, config.val_images, config.exif)


def while_training(
    validation: EvaluationSet, base_height: int, skeleton: common.skeleton.Skeleton, state: TrainState, log: Log
) -> Callable[[nn.Module], dict[str, float]]:
    """Measures the current weights; a sheet of predictions goes to the run's folder."""

    def measured(model: nn.Module) -> dict[str, float]:
        session = of_module(model.eval(), state.device, state.dtype)
        rules = DecodeRules(max_peaks=MAX_PEAKS_IN_TRAINING)
        estimator = ValidationEstimator.of_session(session, skeleton, rules, InputRule(base_height))
        result = evaluate(estimator, validation, default_batch(state.device), state.skip_bad)
        seconds, skipped = result.seconds["total"], len(result.skipped)
        log.line(f"evaluate elapsed time : {seconds:.1f} s, {result.num_images} images, {skipped} skipped")
        sheet = state.store.folder / "pictures" / "predictions.png"
        save_sheet(sheet, validation, result.detections, skeleton, SHEET_ROWS)
        return result.metrics

    return measured


def default_batch(device: torch.device) -> int:
    """A sensible number of images at once."""
    return CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH


if __name__ == "__main__":
    run(main)
