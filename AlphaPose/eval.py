# SPDX-License-Identifier: Apache-2.0
"""AP of a checkpoint on COCO keypoints, in given boxes or in those of a detector.

bash test/train_eval_8p.sh --data_path=/data/coco --checkpoint=fast_res50_256x192.pth
python -m AlphaPose.eval --data_path=mini --checkpoint=model_best.pth --flip-test --save_images=8
python -m AlphaPose.eval --data_path=/data/coco --checkpoint=pose.onnx --detections=person_boxes.json --nms=pose

Writes detections.json, metrics.jsonl, pictures.png and a result file into exp/<exp_id>-<name of --cfg>/eval, and
eval.log, as published, beside that folder.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import common.device
import common.distributed
import common.files
from AlphaPose import config as settings
from AlphaPose import data, weights
from AlphaPose.config import DEFAULT_CFG, MODEL_FOLDER, NETWORK, experiment_folder
from AlphaPose.pose_nms import given_box_scores, pose_nms, proposal_scores
from AlphaPose.predict import PoseEstimator, load_config, open_session
from common.arrays import Float32Array
from common.cli import UserError, flag, parse, run
from common.coco.evaluate import Detections, EvaluationSet
from common.coco.images import Exif
from common.media import error_report
from common.media.sheets import save_sheet
from common.report import Run
from common.runtime.session import ComputeFlags, of_module
from common.topdown import crops, nms
from common.topdown.boxes import annotated, detected
from common.topdown.crops import PersonBoxes
from common.topdown.pipeline import Evaluation, evaluate
from common.train.log import Log

import numpy as np
import torch
from torch import nn

ACCELERATOR_BATCH, CPU_BATCH = 64, 8  # people at once; a CPU gains nothing from more
SHEET_ROWS, DRAWN_ABOVE = 6, 0.3  # images shown at each evaluation while training; score of a keypoint that is drawn
ALIASES = {"batch": "batch_size", "det_file": "detections", "nThreads": "num_workers", "workers": "num_workers"}
ALIASES |= {"checkpoint_path": "checkpoint", "opt_level": "amp"}
FLAG_KEYS = {"val_labels": "DATASET.VAL.ANN", "val_images_folder": "DATASET.VAL.IMG_PREFIX"}


@dataclass(frozen=True)
class EvaluationSettings:
    """The flags of every program that measures AP: on which people, and by which rules."""

    cfg: str = flag("yaml config; the settings in a checkpoint override it", DEFAULT_CFG)
    data_path: str = flag("COCO folder, or `mini` for the embedded data set; empty: DATASET.TRAIN.ROOT of --cfg", "")
    detections: str = flag("boxes of a detector; empty: given boxes", "")
    nms: Literal["none", "oks", "pose"] = flag("suppression of people in detected boxes, by their keypoints", "none")
    scores: Literal["proposal", "box"] = flag("scores in detected boxes: AlphaPose's, or the detector's", "proposal")
    flip_test: bool = flag("mean of an image's maps and its mirror image's", False)
    batch_size: int = flag("people at once; 0: 64, on a CPU 8", 0, most=10**6)
    skeleton: str = flag("built-in name or YAML file of your own keypoints; empty: the checkpoint's, or coco", "")
    val_images: int = flag("number of images; 0: all", 0)
    num_workers: int = flag("threads that read", 4, least=1, most=1024)
    exif: Exif = flag("images as stored (as COCO is annotated), or turned by EXIF", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or count it as without people", "error")
    opts: tuple[Any, ...] = ()  # KEY VALUE words, which override all

    def check(self) -> None:
        """Raises UserError for values that contradict each other."""
        if not self.detections and (self.nms != "none" or self.scores != "proposal"):
            raise UserError("--nms and --scores are for detected boxes: add --detections=FILE")

    def config(self, source: Path) -> settings.Config:
        """The settings of yaml config, checkpoint `source` and these flags together. Raises UserError."""
        same = {name: getattr(self, name) for name in ("data_path", "exif", "flip_test", "skeleton")}
        return load_config(self.cfg, source, self.opts, **same)

    def batch_size_on(self, device: torch.device) -> int:
        """People at once: the flag, else a sensible number."""
        return self.batch_size or (CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH)


@dataclass(frozen=True)
class Config(EvaluationSettings, ComputeFlags):
    """Evaluates a checkpoint of AlphaPose. KEY VALUE words change the yaml config, such as LOSS.NORM_TYPE softmax."""

    checkpoint: str = flag("a file (.pth .onnx .xml .om) or a published name; empty: the best of --exp_id", "")
    output_dir: str = flag("folder of checkpoints and results", str(MODEL_FOLDER))
    log_dir: str = flag("folder of each rank's log and the result file; empty: output_dir/test/output/0", "")
    exp_id: str = flag("checkpoints and results are in exp/<exp_id>-<name of --cfg>", "exp_test")
    output_name: str = flag("file of the detected people", "detections.json")
    save_images: int = flag("number of images to draw: ground truth next to prediction", 0)
    report: bool = flag("also write report.html, a page of where the network fails, and report.json", False)


class Evaluator:
    """AP on the images of a configuration; every rank takes its share and gets the whole result."""

    def __init__(self, config: settings.Config, flags: EvaluationSettings) -> None:
        """Raises UserError where images, annotations or boxes are missing, or have no people."""
        self.flags, self.validation = flags, annotated_images(config, "VAL", flags.val_images)
        file = flags.detections
        self.boxes = detected(file, self.validation) if file else annotated(self.validation)

    def __call__(self, estimator: PoseEstimator) -> Evaluation[Detections]:
        """Raises ImageError for an unreadable image, unless bad ones are skipped; UserError for a network of NaN."""
        skip_bad, readers = self.flags.on_bad_image == "skip", self.flags.num_workers
        people_of = functools.partial(self.people, estimator)
        return evaluate(estimator, self.validation, self.boxes, people_of, "coco", skip_bad, readers)

    def people(self, estimator: PoseEstimator, keypoints: Float32Array, boxes: PersonBoxes) -> dict[str, Detections]:
        """People with a score, suppressed as the flags say; boxes are as large as their crops."""
        flags, joint_scores = self.flags, keypoints[..., 2]
        ids = self.validation.index.image_ids[boxes.image_rows]
        _, sizes = crops.fit_boxes(boxes.boxes_img, estimator.network.size_in, estimator.network.padding)
        if flags.nms == "pose":
            kept, keypoints, scores, _ = pose_nms(keypoints, sizes.max(axis=1), boxes.scores, boxes.image_rows)
            return {"": Detections(ids[kept], keypoints, scores.astype(np.float64))}
        if not flags.detections:
            scores = given_box_scores(joint_scores)
        else:
            scores = proposal_scores(joint_scores, boxes.scores) if flags.scores == "proposal" else boxes.scores
        kept = np.arange(len(boxes))
        if flags.nms == "oks":
            scores = nms.confident_mean(joint_scores) * scores
            areas, sigmas = sizes.prod(axis=1), estimator.skeleton.sigmas
            kept = nms.oks_nms(keypoints, areas, scores, sigmas, images=boxes.image_rows)
        return {"": Detections(ids[kept], keypoints[kept], scores[kept].astype(np.float64))}

    def protocol(self, estimator: PoseEstimator) -> dict[str, Any]:
        """The protocol of AP: without it two numbers cannot be compared."""
        return {
            "boxes": self.flags.detections or "given",
            "people": len(self.boxes),
            "images": len(self.validation.rows),
            "scores": self.flags.scores if self.flags.detections else "given box",
            "nms": self.flags.nms,
            "flip_test": estimator.network.flip is not None,
            "annotations": str(self.validation.annotations),
            "input_size": estimator.network.size_in,
        }


def annotated_images(config: settings.Config, split: data.Split, num_images: int = 0) -> EvaluationSet:
    """The images of a part of the data, `num_images` of them or 0 for all. Raises UserError where they are not."""
    annotations, folder = data.path_of_key(config, split, "ANN"), data.path_of_key(config, split, "IMG_PREFIX")
    return EvaluationSet.load(annotations, folder, config.load_skeleton(), num_images, config.exif)


def while_training(
    config: settings.Config, device: torch.device, dtype: torch.dtype | None, log: Log, folder: Path
) -> Callable[[nn.Module], dict[str, float]]:
    """AP in given boxes while a run in `folder` trains. Raises UserError where images are missing or have no people."""
    flags = EvaluationSettings(val_images=config.val_images, on_bad_image=config.on_bad_image)
    evaluator = Evaluator(config, flags)
    evaluator.validation.check()

    def measure(model: nn.Module) -> dict[str, float]:
        session = of_module(model.eval(), device, dtype)
        estimator = PoseEstimator.of_session(session, config, flags.batch_size_on(device))
        result = evaluator(estimator)
        seconds, skipped = result.seconds["total"], len(result.skipped)
        log.line(f"evaluate elapsed time : {seconds:.1f} s, {result.num_boxes} given boxes, {skipped} skipped")
        sheet = folder / "pictures" / "predictions.png"
        save_sheet(sheet, evaluator.validation, result.detections, estimator.skeleton, SHEET_ROWS, DRAWN_ABOVE)
        return result.total

    return measure


def main() -> None:
    """Reads the flags, evaluates, leaves people, metrics, pictures and a result file."""
    began = time.time()
    flags = parse(Config, {}, aliases=ALIASES, retired=settings.RETIRED, keys=FLAG_KEYS)
    flags.check()
    log_folder = Path(flags.log_dir or Path(flags.output_dir) / "test" / "output" / "0")
    with common.distributed.process_group(flags.device) as device:
        folder = experiment_folder(flags.output_dir, flags.exp_id, flags.cfg)
        source, results = weights.checkpoint_of(flags.checkpoint, folder), folder / "eval"
        with Log(results / "metrics.jsonl", log_folder, fresh=True) as log:
            config = flags.config(source)
            session = open_session(source, flags.options(device, common.distributed.local_rank()), config)
            estimator = PoseEstimator.of_session(session, config, flags.batch_size_on(device))
            evaluator = Evaluator(config, flags)
            result = evaluator(estimator)
            protocol = evaluator.protocol(estimator) | {
                "checkpoint": str(source),
                "network": config.yaml.MODEL.TYPE,
                "runtime": session.runtime,
                "precision": flags.amp,
                "skipped": len(result.skipped),
            }
            published = f"##### {'det' if flags.detections else 'gt'} box: {result.total['AP']:.4f} mAP #####"
            lines = [*result.lines(protocol), published]
            for line in lines:
                log.line(line)
            log.record("evaluate", metrics=result.total, protocol=protocol, ms_a_person=result.ms_a_box)
        if common.distributed.is_main():
            common.files.write_atomically(folder / "eval.log", "\n".join([*lines, ""]).encode())
            result.detections.write_json(results / flags.output_name)
            images, skeleton = evaluator.validation, estimator.skeleton
            if flags.report:
                error_report.write(images, result.detections, skeleton, results)
            if flags.save_images:
                picture = results / "pictures.png"
                save_sheet(picture, images, result.detections, skeleton, flags.save_images, DRAWN_ABOVE)
            Run(NETWORK, "eval", 1, 1, str(results / "metrics.jsonl"), str(results), began).leave(log_folder)


if __name__ == "__main__":
    run(main)
