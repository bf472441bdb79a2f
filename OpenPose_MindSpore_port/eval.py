# SPDX-License-Identifier: Apache-2.0
"""AP of a checkpoint on COCO keypoints.

python eval.py --model_path=0-6_30000.ckpt --imgpath_val=val2017 --ann=person_keypoints_val2017.json
bash test/eval.sh --data_path=/data/coco --model_path=model_best.pth --save_images=8
python -m OpenPose_MindSpore_port.eval --data_path=mini --model_path=openpose.onnx --original

Writes eval_result.json, metrics.jsonl and pictures into output_path. By default all images of the annotation file
count, as COCO asks, and people are found by improved rules; `--original` evaluates only images with people, and finds
people as the original does: the protocol of the published figures.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import common.coco.images
import common.distributed
import common.train.checkpoint
from common.bottomup.pipeline import Evaluation, evaluate
from common.cli import ImageError, UserError, flag, parse, run
from common.coco.evaluate import COCO_METRICS, EvaluationSet
from common.media import drawing, error_report
from common.media.sheets import save_sheet
from common.report import Run
from common.runtime.session import ComputeFlags, of_module
from common.skeleton import Skeleton, load
from common.train.log import Log
from common.train.state import TrainState
from OpenPose_MindSpore_port import weights
from OpenPose_MindSpore_port.config import (
    ALIASES,
    MODEL_FOLDER,
    NETWORK,
    RETIRED,
    DataFlags,
    Inference,
    located,
    with_data,
)
from OpenPose_MindSpore_port.config import Config as TrainConfig
from OpenPose_MindSpore_port.predict import LastMaps, PoseEstimator, open_session

import numpy as np
import torch
from torch import nn

RESULT_FILE = "eval_result.json"  # as published
TRAINED = "train_checkpoints"  # where train.py leaves its best checkpoint
ACCELERATOR_BATCH, CPU_BATCH = 16, 2  # images at once; a CPU gains nothing from more
SHEET_ROWS = 6  # images shown at each evaluation during training
PUBLISHED_NAMES = ("AP", "Ap .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)")


@dataclass(frozen=True)
class Config(Inference, DataFlags, ComputeFlags):
    """Evaluates a checkpoint of the VGG19 OpenPose of MindSpore."""

    model_path: str = flag("a file: .ckpt, .pth, or exported: .onnx, .xml, .om; empty: the best of train.py", "")
    output_path: str = flag(f"folder of {RESULT_FILE} and pictures; empty: output_img in output_dir", "")
    output_dir: str = flag("folder of results", str(MODEL_FOLDER))
    log_dir: str = flag("folder of each rank's log and the result file; empty: output_dir/test/output/0", "")
    original: bool = flag("the original's protocol: images with people alone, found by its rules", False)
    batch_size: int = flag("images of one size at once; 0: 16, on a CPU 2", 0, most=10**6)
    num_workers: int = flag("threads that read images ahead, a batch each", 4, least=1, most=1024)
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or count it as without people", "error")
    report: bool = flag("also write report.html, a page of where the network fails, and report.json", False)
    save_images: int = flag("images to draw people in, as <image_id>.png; -1: all, as the original", 0, least=-1)


_OWN_ALIASES = {"checkpoint_path": "model_path", "output_img_path": "output_path", "annotation": "ann"}
_OF_ORIGINAL = dict.fromkeys(("people_only", "original_decode"), "--original is both")


def main() -> None:
    """Reads the flags, evaluates, leaves people, metrics, pictures and a result file."""
    began = time.time()
    aliases = {alias: name for alias, name in ALIASES.items() if hasattr(Config, name)} | _OWN_ALIASES
    config = parse(Config, {}, aliases=aliases, retired=RETIRED | _OF_ORIGINAL)
    folder = Path(config.output_path or Path(config.output_dir) / "output_img")
    log_folder = Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0")
    with common.distributed.process_group(config.device) as device:
        with Log(folder / "metrics.jsonl", log_folder, fresh=True) as log:
            run_evaluation(with_data(config), device, folder, log)
        if common.distributed.is_main():
            Run(NETWORK, "eval", 1, 1, str(folder / "metrics.jsonl"), str(folder), began).leave(log_folder)


def run_evaluation(config: Config, device: torch.device, folder: Path, log: Log) -> None:
    """Evaluates as `config` says and writes the results into `folder`."""
    skeleton, source = load(config.skeleton), _checkpoint(config)
    validation = evaluation_set(config, skeleton)
    validation = with_people(validation) if config.original else validation
    session = open_session(source, config.options(device, common.distributed.local_rank()), skeleton)
    estimator = PoseEstimator.of_session(session, skeleton, config, config.original)
    batch_size = config.batch_size or session.fixed_batch or default_batch(device)
    result = evaluate(estimator, validation, batch_size, config.on_bad_image == "skip", config.num_workers)
    protocol = {
        "annotations": str(validation.annotations),
        "images": result.num_images,
        "of": "images with people" if config.original else "all images",
        "checkpoint": str(source),
        "runtime": session.runtime,
        "input": session.fixed_size or f"short side {config.inference_img_size}",
        "precision": config.amp,
        "decode": "original" if config.original else "improved",
        "skipped": len(result.skipped),
    }
    result.log(log, protocol)
    log_published_lines(result, log)
    if common.distributed.is_main():
        result.detections.write_json(folder / RESULT_FILE)
        if config.report:
            error_report.write(validation, result.detections, skeleton, folder)
    draw_images(validation, result, skeleton, folder, config.save_images)


def _checkpoint(config: Config) -> Path:
    if config.model_path:
        return weights.locate_checkpoint(config.model_path)
    best = Path(config.output_dir) / TRAINED / common.train.checkpoint.BEST
    if best.is_file():
        return best
    raise UserError(f"--model_path is needed: .ckpt, .pth, .onnx, .xml or .om; training has left no {best}")


def log_published_lines(result: Evaluation, log: Log) -> None:
    """COCO's ten numbers under the original's names, in its order."""
    if not len(result.detections):
        log.line("Predict poses size is zero.")
    metrics = [float(result.metrics[name]) for name in COCO_METRICS]
    log.line(f"result:  {dict(zip(PUBLISHED_NAMES, metrics, strict=True))}")


def default_batch(device: torch.device) -> int:
    """A sensible number of images at once."""
    return CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH


def with_people(validation: EvaluationSet) -> EvaluationSet:
    """Only the images that have an annotated person or crowd: those of the original.

    People found in the others then never count as false, so AP comes out higher than by COCO's protocol.
    """
    counts = np.diff(validation.index.person_offsets)
    return dataclasses.replace(validation, rows=validation.rows[counts[validation.rows] > 0])


def evaluation_set(config: DataFlags, skeleton: Skeleton) -> EvaluationSet:
    """The annotated images of the settings. Raises UserError where they or their annotations are not there."""
    labels = located(Path(config.data_dir) / "annotations", config.ann, "--ann")
    folder = located(config.data_dir, config.imgpath_val, "--imgpath_val")
    return EvaluationSet.load(labels, folder, skeleton, config.val_images, config.exif)


def training_evaluation_set(
    config: TrainConfig, skeleton: Skeleton, note: Callable[[str], None]
) -> EvaluationSet | None:
    """The images that a training is evaluated on; None, with a note, where they are not there and no flag names them.

    Raises UserError where named images are not there, or annotations cannot be used.
    """
    places = (Path(config.data_dir) / "annotations", config.ann), (config.data_dir, config.imgpath_val)
    missing = [name for folder, name in places if not common.coco.images.find(folder, name)]
    if missing and (config.imgpath_val, config.ann) == (DataFlags.imgpath_val, DataFlags.ann):
        note(f"note: no evaluation during training: no {', no '.join(missing)} in {config.data_dir}")
        return None  # the published commands name no validation images
    validation = evaluation_set(config, skeleton)
    validation.check()
    return validation


def while_training(
    validation: EvaluationSet, config: TrainConfig, skeleton: Skeleton, state: TrainState, log: Log
) -> Callable[[nn.Module], dict[str, float]]:
    """Measures the current weights; a sheet of predictions goes to the run's folder."""

    def measured(model: nn.Module) -> dict[str, float]:
        session = of_module(LastMaps(model).eval(), state.device, state.dtype)
        estimator = PoseEstimator.of_session(session, skeleton, config)
        result = evaluate(estimator, validation, default_batch(state.device), state.skip_bad)
        log_published_lines(result, log)
        seconds, skipped = result.seconds["total"], len(result.skipped)
        log.line(f"evaluate elapsed time : {seconds:.1f} s, {result.num_images} images, {skipped} skipped")
        sheet = state.store.folder / "pictures" / "predictions.png"
        save_sheet(sheet, validation, result.detections, skeleton, SHEET_ROWS)
        return result.metrics

    return measured


def draw_images(
    validation: EvaluationSet, result: Evaluation, skeleton: Skeleton, folder: Path, num_images: int
) -> None:
    """Writes `<image_id>.png`, as published, with the people found, for the first `num_images` (negative: all).

    Every rank draws its share. An image that cannot be read is left out: the evaluation has reported it.
    """
    rows = validation.rows[:num_images] if num_images >= 0 else validation.rows
    for row in rows[common.distributed.rank() :: common.distributed.world_size()].tolist():
        image_id = validation.index.image_ids[row]
        people = result.detections.keypoints[result.detections.image_ids == image_id]
        with contextlib.suppress(ImageError):
            drawn = drawing.draw_people(validation.read(row), people, skeleton)
            drawing.save_png(folder / f"{image_id}.png", drawn)


if __name__ == "__main__":
    run(main)
