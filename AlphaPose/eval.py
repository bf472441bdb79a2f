# SPDX-License-Identifier: Apache-2.0
"""AP of a checkpoint on COCO keypoints, in given boxes or in those of a detector.

bash test/train_eval_8p.sh --data_path=/data/coco --checkpoint=fast_res50_256x192.pth
python -m AlphaPose.eval --data_path=mini --checkpoint=model_best.pth --flip-test --save_images=8
python -m AlphaPose.eval --data_path=/data/coco --checkpoint=pose.onnx --detections=person_boxes.json --nms=pose

Writes detections.json, metrics.jsonl, pictures.png and a result file into exp/<exp_id>-<name of --cfg>/eval, and the
published eval.log beside that folder.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import common.coco.evaluate
import common.device
import common.distributed
import common.files
import common.media.drawing
from AlphaPose import config as settings
from AlphaPose import data, weights
from AlphaPose.config import DEFAULT_CFG, MODEL_FOLDER, NETWORK, experiment_folder
from AlphaPose.predict import PoseEstimator, load_config, open_session
from AlphaPose.scoring import Nms, Protocol, Scores, count_people
from common.cli import UserError, flag, parse, run
from common.coco.evaluate import Detections, EvaluationSet
from common.coco.images import Exif
from common.media import error_report
from common.media.sheets import draw_sheet, leave_sheet
from common.report import Run
from common.runtime.session import ComputeFlags, of_module
from common.topdown import boxes, pipeline
from common.topdown.boxes import PersonBoxes
from common.topdown.crops import PeopleRule
from common.train.log import Log

import torch
from torch import nn

ACCELERATOR_BATCH, CPU_BATCH = 64, 8  # people at once; a CPU gains nothing from more
SHEET_ROWS, DRAWN_ABOVE = 6, 0.3  # images shown at each evaluation while training; score of a keypoint that is drawn
LOG_FILE = "eval.log"  # as published
ALIASES = {"batch": "batch_size", "det_file": "detections", "nThreads": "num_workers", "workers": "num_workers"}


@dataclass(frozen=True)
class EvaluationSettings:
    """The flags of every program that measures AP: on which people, and by which rules."""

    cfg: str = flag("yaml config; what a checkpoint says of its own network wins over it", DEFAULT_CFG)
    data_path: str = flag("COCO folder, or `mini` for the embedded data set; empty: DATASET.TRAIN.ROOT of --cfg", "")
    boxes: Literal["given", "detected"] = flag("where people are: as annotated, or as a detector found them", "given")
    detections: str = flag("boxes of a detector, means --boxes=detected; empty: DATASET.TEST.DET_FILE of --cfg", "")
    min_score: float = flag("detected boxes below it are not taken", 0.0)
    nms: Nms = flag("suppression of people in detected boxes, once their keypoints are known", "none")
    scores: Scores = flag(
        "scores of people in detected boxes: AlphaPose's own, or the detector's as in the Ascend version", "proposal"
    )
    flip_test: bool = flag("mean of an image's maps and its mirror image's", False)
    batch_size: int = flag("people at once; 0: 64, on a CPU 8", 0, most=10**6)
    skeleton: str = flag("built-in name or YAML file of your own keypoints; empty: the checkpoint's, or coco", "")
    val_labels: str = flag("annotations, in data_path; empty: DATASET.VAL.ANN of --cfg", "")
    val_images_folder: str = flag("folder of the images, in data_path; empty: DATASET.VAL.IMG_PREFIX of --cfg", "")
    val_images: int = flag("number of images; 0: all", 0)
    num_workers: int = flag("threads that read", 4, least=1, most=1024)
    exif: Exif = flag("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or count it as without people", "error")

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        if not self.detected and (self.nms != "none" or self.scores != "proposal"):
            raise UserError("--nms and --scores are for detected boxes: add --detections=FILE or --boxes=detected")

    @property
    def detected(self) -> bool:
        """Whether boxes come from a detector."""
        return self.boxes == "detected" or bool(self.detections)

    @property
    def split(self) -> Literal["VAL", "TEST"]:
        """The section of DATASET that says where images and annotations are."""
        return "TEST" if self.detected else "VAL"

    def config(self, source: Path, **flags: Any) -> settings.Config:
        """What the yaml config, the checkpoint `source`, these flags and `flags` say together. Raises UserError."""
        places = {"ANN": self.val_labels, "IMG_PREFIX": self.val_images_folder, "DET_FILE": self.detections}
        opts = [word for key, value in places.items() if value for word in (f"DATASET.{self.split}.{key}", value)]
        same = {name: getattr(self, name) for name in ("data_path", "exif", "flip_test", "skeleton")}
        return load_config(self.cfg, source, opts, **same, **flags)


@dataclass(frozen=True)
class Config(EvaluationSettings, ComputeFlags):
    """Evaluates a checkpoint of AlphaPose."""

    checkpoint: str = flag(
        "a file (.pth, or exported: .onnx, .xml, .om) or a published name; empty: the best of --exp_id", ""
    )
    output_dir: str = flag("folder of checkpoints and results", str(MODEL_FOLDER))
    log_dir: str = flag("folder of each rank's log and the result file; empty: output_dir/test/output/0", "")
    exp_id: str = flag("checkpoints and results are in exp/<exp_id>-<name of --cfg>", "exp_test")
    output_name: str = flag("file of the people found", "detections.json")
    save_images: int = flag("number of images to draw: ground truth beside prediction", 0)
    report: bool = flag("also write report.html, a page of where the network fails, and report.json", False)


@dataclass
class Evaluation:
    """What an evaluation found, and where its time went."""

    metrics: dict[str, float]
    detections: Detections
    num_images: int
    num_boxes: int
    seconds: dict[str, float]  # of this rank: read, crop, network, decode (side by side), nms, evaluation; total
    skipped: list[str]


class Evaluator:
    """AP on the images of a configuration; every rank takes its share and gets the whole result."""

    def __init__(self, config: settings.Config, flags: EvaluationSettings) -> None:
        """Raises UserError where images, annotations or boxes are missing, or have no people."""
        self.flags, self.validation = flags, annotated_images(config, flags.split, flags.val_images)
        self.detections = Path(config.yaml.DATASET.TEST.DET_FILE) if flags.detected else None
        self.boxes = boxes_of(self.validation, self.detections, flags.min_score)

    def __call__(self, estimator: PoseEstimator) -> Evaluation:
        """Raises ImageError for an unreadable image, unless bad ones are skipped."""
        began, validation, network = time.perf_counter(), self.validation, estimator.network
        skip = self.flags.on_bad_image == "skip"
        estimates = pipeline.estimate_boxes(
            network, validation, self.boxes, estimator.batch_size, skip, self.flags.num_workers
        )
        estimated = time.perf_counter()
        keypoints, found = estimates.keypoints_img, estimates.boxes
        protocol = Protocol(self.flags.detected, self.flags.scores, self.flags.nms)
        ids = validation.index.image_ids
        detections = count_people(keypoints, found, ids, network.size_in, estimator.skeleton, protocol)
        counted = time.perf_counter()
        metrics = common.distributed.broadcast_object(
            validation.average_precision(detections, estimator.skeleton.sigmas) if common.distributed.is_main() else {}
        )
        ended = time.perf_counter()
        seconds = {"nms": counted - estimated, "evaluation": ended - counted, "total": ended - began}
        images, people = len(validation.rows), len(self.boxes)
        return Evaluation(metrics, detections, images, people, estimates.seconds | seconds, estimates.skipped)

    def protocol(self, estimator: PoseEstimator) -> dict[str, Any]:
        """How AP is measured: without it two numbers cannot be compared."""
        return {
            "boxes": str(self.detections or "given"),
            "people": len(self.boxes),
            "images": len(self.validation.rows),
            "scores": self.flags.scores if self.detections else "given box",
            "nms": self.flags.nms,
            "flip_test": estimator.network.flip is not None,
            "annotations": str(self.validation.annotations),
            "input_size": estimator.network.size_in,
        }


def annotated_images(config: settings.Config, split: data.Split, num_images: int = 0) -> EvaluationSet:
    """The images of a part of the data, `num_images` of them or 0 for all. Raises UserError where they are not."""
    annotations, folder = data.path_of_key(config, split, "ANN"), data.path_of_key(config, split, "IMG_PREFIX")
    return EvaluationSet.load(annotations, folder, config.load_skeleton(), num_images, config.exif)


def boxes_of(images: EvaluationSet, detections: Path | None = None, min_score: float = 0.0) -> PersonBoxes:
    """The boxes of a detection file, or None: those of the annotated people that AlphaPose counts. Raises UserError."""
    if detections is None:
        return boxes.annotated(images, PeopleRule())
    if not detections.exists():
        raise UserError(f"{detections}: no such file; name the boxes of a detector with --detections")
    return boxes.detected(detections, images, min_score)


def batch_size_of(flags: EvaluationSettings, device: torch.device) -> int:
    """People at once: what the flags say, else what is worth it."""
    return flags.batch_size or (CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH)


def while_training(
    config: settings.Config, device: torch.device, dtype: torch.dtype | None, log: Log, folder: Path
) -> Callable[[nn.Module], dict[str, float]]:
    """Measures AP in given boxes while a run in `folder` trains; a sheet of predictions goes to the log and pictures/.

    Raises UserError where validation images are missing, or hold nobody.
    """
    flags = EvaluationSettings(val_images=config.val_images)
    evaluator = Evaluator(config, flags)
    evaluator.validation.check()

    def evaluate(model: nn.Module) -> dict[str, float]:
        estimator = PoseEstimator.of_session(of_module(model.eval(), device, dtype), config)
        estimator.batch_size = batch_size_of(flags, device)
        result = evaluator(estimator)
        log.line(f"evaluate elapsed time : {result.seconds['total']:.1f} s, {result.num_boxes} people in given boxes")
        pictures = folder / "pictures"
        leave_sheet(log, pictures, evaluator.validation, result.detections, estimator.skeleton, SHEET_ROWS, DRAWN_ABOVE)
        return result.metrics

    return evaluate


def main() -> None:
    """Reads the flags, evaluates, leaves people, metrics, pictures and a result file."""
    began = time.time()
    names = ALIASES | {"checkpoint_path": "checkpoint", "opt_level": "amp"}
    flags = parse(Config, {}, aliases=names, retired=settings.RETIRED)
    flags.check()
    log_folder = Path(flags.log_dir or Path(flags.output_dir) / "test" / "output" / "0")
    with common.distributed.process_group(flags.device) as device:
        folder = experiment_folder(flags.output_dir, flags.exp_id, flags.cfg)
        source = weights.checkpoint_of(flags.checkpoint, folder)
        with Log(folder / "eval" / "metrics.jsonl", log_folder, fresh=True) as log:
            run_evaluation(flags, source, device, folder, log)
        if common.distributed.is_main():
            results = folder / "eval"
            Run(NETWORK, "eval", 1, 1, str(results / "metrics.jsonl"), str(results), began).leave(log_folder)


def run_evaluation(flags: Config, source: Path, device: torch.device, folder: Path, log: Log) -> None:
    """Evaluates a network file as `flags` say and writes the results into the run's `folder`."""
    config = flags.config(source)
    options = flags.options(device, common.distributed.local_rank())
    session = open_session(source, options, config)
    estimator, evaluator = PoseEstimator.of_session(session, config), Evaluator(config, flags)
    estimator.batch_size = batch_size_of(flags, device)
    for line in evaluator.boxes.notes:
        log.line(f"note: {line}")
    result = evaluator(estimator)
    protocol = {
        **evaluator.protocol(estimator),
        "checkpoint": str(source),
        "network": config.yaml.MODEL.TYPE,
        "runtime": session.runtime,
        "precision": flags.amp,
        "skipped": len(result.skipped),
    }
    log_result(result, protocol, "det" if flags.detected else "gt", log, folder / LOG_FILE)
    if common.distributed.is_main():
        results, validation, skeleton = folder / "eval", evaluator.validation, estimator.skeleton
        result.detections.write_json(results / flags.output_name)
        if flags.report:
            error_report.write(validation, result.detections, skeleton, results)
        if flags.save_images:
            sheet = draw_sheet(validation, result.detections, skeleton, flags.save_images, DRAWN_ABOVE)
            common.media.drawing.save_png(results / "pictures.png", sheet)


def log_result(result: Evaluation, protocol: dict[str, Any], kind: str, log: Log, published_log: Path) -> None:
    """Protocol, COCO's table, where the time went, and the published line; that one into `published_log`, too."""
    for line in result.skipped:
        log.line(f"skipped: {line}")
    stated = "protocol: " + ", ".join(f"{name} {value}" for name, value in protocol.items())
    a_person = {name: 1000 * seconds / max(1, result.num_boxes) for name, seconds in result.seconds.items()}
    published = f"##### {kind} box: {result.metrics['AP']:.4f} mAP #####"
    for line in (
        stated,
        common.coco.evaluate.table(result.metrics),
        "ms a person: " + ", ".join(f"{name} {value:.2f}" for name, value in a_person.items()),
        published,
    ):
        log.line(line)
    log.record("evaluate", metrics=result.metrics, protocol=protocol, ms_a_person=a_person)
    if common.distributed.is_main():
        common.files.write_atomically(published_log, f"{stated}\n{published}\n".encode())


if __name__ == "__main__":
    run(main)
