# SPDX-License-Identifier: Apache-2.0
"""AP of a checkpoint on COCO, CrowdPose or OCHuman, in given boxes or in those of a detector.

bash test/eval.sh --data_path=/data/coco --checkpoint_path=model_best.pth
python -m MIPNet.eval --lambda --data_path=mini --checkpoint_path=model_best.pth --save_images=8
python -m MIPNet.eval --cfg experiments/crowdpose/hrnet/w48_384x288_adam_lr1e-3_lambda.yaml \
    --data_path=/data/crowdpose --checkpoint_path=pose.onnx --detections=boxes.json TEST.FLIP_TEST false

Writes detections.json (and detections_l0.json, detections_l1.json: of each lambda alone), metrics.jsonl, pictures.png
and a result file into output/<data set>/<network>/<name of --cfg>/eval. A network with lambda finds several people in a
box: the modes are merged, and each mode alone counts too.
"""

import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import common.cli
import common.distributed
import common.files
import common.train.checkpoint
from common.arrays import Float32Array
from common.cli import UserError, flag
from common.coco.evaluate import EvaluationSet
from common.coco.images import Exif
from common.media.sheets import save_sheet
from common.report import Run
from common.runtime.session import ComputeFlags, of_module
from common.topdown import crops, pipeline
from common.topdown.boxes import annotated, detected
from common.topdown.crops import PersonBoxes
from common.topdown.pipeline import Evaluation, evaluate
from common.train.log import Log
from MIPNet import config as settings
from MIPNet import data, predict, weights
from MIPNet.config import MODEL_FOLDER, NETWORK, parse_flags
from MIPNet.predict import LAMBDAS, MergedPeople, PoseEstimator

import numpy as np
import torch
from torch import nn

SHEET_ROWS, DRAWN_ABOVE = 6, 0.3  # images shown at each evaluation while training; score of a keypoint that is drawn
PUBLISHED = ("center", "scale", "annotation_id", "box_score", "keypoint_score")  # beside COCO's, of a person
NO_ANNOTATION = -1  # in place of an annotation's id (published)
# how the publication's table names the suffixes of AP and AR
TITLES = {"50": " .5", "75": " .75", "m": " (M)", "l": " (L)", "easy": " (easy)", "med": " (medium)", "hard": " (hard)"}
ALIASES = {"workers": "num_workers", "opt_level": "amp"} | dict.fromkeys(
    ("check_point", "checkpoint", "pth_path"), "checkpoint_path"
)
FLAG_KEYS = {  # flag -> the key that it sets
    "modelDir": "OUTPUT_DIR",
    "dataDir": "DATA_DIR",
    "flip_test": "TEST.FLIP_TEST",
    "nms": "TEST.NMS",
    "refinement": "TEST.REFINEMENT",
}


@dataclass(frozen=True)
class EvaluationSettings:
    """The flags of every program that measures AP: on which people, and by which rules."""

    cfg: str = flag("yaml config; empty: that of the checkpoint's training, or w48_384x288_adam_lr1e-3", "")
    data_path: str = flag("folder of the data set, or `mini` for the embedded one; empty: DATASET.ROOT of --cfg", "")
    detections: str = flag("boxes of a detector; empty: given boxes, unless TEST.USE_GT_BBOX is false", "")
    lambdas: tuple[float, ...] = flag("lambdas of the people in a box, for a network that takes lambda", LAMBDAS)
    batch_size: int = flag("people at once; 0: TEST.BATCH_SIZE_PER_GPU, on a CPU 8", 0, most=10**6)
    skeleton: str = flag("built-in name or YAML file of your own keypoints; empty: that of the data set", "")
    val_images: int = flag("number of images; 0: all", 0)
    num_workers: int = flag("threads that read", 4, least=1, most=1024)
    exif: Exif = flag("images as stored (as COCO is annotated), or turned by EXIF", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or count it as without people", "error")
    opts: tuple[Any, ...] = ()  # KEY VALUE words, which override all

    def config(self, source: Path | None, **flags: Any) -> settings.Config:
        """The settings of yaml config, checkpoint and flags together. Raises UserError."""
        boxes = ("TEST.COCO_BBOX_FILE", self.detections, "TEST.USE_GT_BBOX", False) if self.detections else ()
        same = {name: getattr(self, name) for name in ("data_path", "skeleton", "val_images", "exif", "on_bad_image")}
        return predict.load_config(source, self.cfg, (*boxes, *self.opts), **same, **flags)


@dataclass(frozen=True)
class Config(EvaluationSettings, ComputeFlags):
    """Evaluates a checkpoint of MIPNet. KEY VALUE words change the yaml config, such as TEST.IN_VIS_THRE 0.3.

    Flags for keys: --flip_test (true, false), --nms (suppression of people found twice: oks, none, or recipe: as
    published), --refinement (of peaks: quarter, dark).
    """

    checkpoint_path: str = flag("file (.pth .onnx .xml .om) or published name; empty: TEST.MODEL_FILE, or the best", "")
    output_dir: str = flag("folder of checkpoints and results", str(MODEL_FOLDER))
    log_dir: str = flag("folder of each rank's log and the result file; empty: output_dir/test/output/0", "")
    save_images: int = flag("number of images to draw: ground truth next to prediction", 0)
    report: bool = flag("also write report.html, a page of where the network fails, and report.json", False)


def annotated_images(config: settings.Config, split: str, num_images: int = 0) -> EvaluationSet:
    """The images of "TRAIN" or "TEST", `num_images` of them or 0 for all. Raises UserError where they are missing."""
    annotations = data.path_of_key(config, f"DATASET.{split}_ANNOTATION_FILE")
    folder = data.path_of_key(config, f"DATASET.{split}_IMAGE_DIR")
    return EvaluationSet.load(annotations, folder, config.load_skeleton(), num_images, config.exif)


class Evaluator:
    """AP on the validation images of a configuration; every rank takes its share and gets the whole result."""

    def __init__(self, config: settings.Config, readers: int = pipeline.READERS) -> None:
        """`readers`: threads. Raises UserError where images, annotations or boxes are missing, or have no people."""
        self.config, self.readers, test = config, readers, config.yaml.TEST
        self.validation = annotated_images(config, "TEST", config.val_images)
        if test.USE_GT_BBOX:
            self.box_file, self.boxes = Path("given"), annotated(self.validation, lenient=True)
        else:
            self.box_file = data.path_of_key(config, "TEST.COCO_BBOX_FILE")
            self.boxes = detected(self.box_file, self.validation, test.IMAGE_THRE)

    def __call__(self, estimator: PoseEstimator) -> Evaluation[MergedPeople]:
        """Raises ImageError for an unreadable image, unless bad ones are skipped; UserError for a network of NaN."""
        skip_bad, rules = self.config.on_bad_image == "skip", self.config.data_set
        people_of = functools.partial(self.people, estimator)
        return evaluate(estimator, self.validation, self.boxes, people_of, rules, skip_bad, self.readers)

    def people(self, estimator: PoseEstimator, keypoints: Float32Array, boxes: PersonBoxes) -> dict[str, MergedPeople]:
        """The people of all lambdas together, and of each alone."""
        keypoints = keypoints.reshape(len(boxes), estimator.num_modes, estimator.skeleton.num_keypoints, 3)
        found = keypoints, boxes.boxes_img, boxes.scores, self.validation.index.image_ids[boxes.image_rows]
        people = {lambda_name(estimator.lambdas): estimator.merge(*found)}
        for mode, value in enumerate(estimator.lambdas) if estimator.num_modes > 1 else ():
            people[lambda_name([value])] = estimator.merge(*found, [mode])
        return people

    def protocol(self, estimator: PoseEstimator) -> dict[str, Any]:
        """The protocol of AP: without it two numbers cannot be compared."""
        return {
            "boxes": str(self.box_file),
            "data_set": self.config.data_set,
            "annotations": str(self.validation.annotations),
            "images": len(self.validation.rows),
            "lambdas": estimator.lambdas or "none",
            "nms": predict.nms_of(self.config, estimator.num_modes),
            "flip_test": self.config.yaml.TEST.FLIP_TEST,
            "refinement": predict.refinement_of(self.config),
            "input_size": estimator.network.size_in,
        }

    def published(self, people: MergedPeople, boxes: PersonBoxes, estimator: PoseEstimator) -> list[dict[str, Any]]:
        """People as published: COCO's fields, and centre, scale (of 200 pixels), scores, annotation."""
        boxes, network, ids = boxes.select(people.boxes), estimator.network, self.validation.index.annotation_ids
        centres, sizes = crops.fit_boxes(boxes.boxes_img, network.size_in, network.padding)
        annotations = np.append(ids, NO_ANNOTATION)[boxes.person_rows]
        columns = (centres, sizes / 200, annotations, people.box_scores, people.keypoint_scores)
        rows = zip(people.to_json(), *(values.tolist() for values in columns), strict=True)
        return [entry | dict(zip(PUBLISHED, row, strict=True)) for entry, *row in rows]


def published_table(metrics: Mapping[str, Mapping[str, float]], arch: str) -> list[str]:
    """The publication's table, a line each: a header, a rule, and the numbers of each name of `Evaluation.metrics`."""
    titles = [name[:2] + TITLES.get(name[2:], "") for name in next(iter(metrics.values()))]
    lines = ["| Arch " + " ".join(f"| {title}" for title in titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for name, numbers in metrics.items():
        row = " ".join(f"| {value:.3f}" for value in numbers.values())
        lines.append(f"| {f'{name}:{arch}' if name else arch} {row} |")
    return lines


def lambda_name(lambdas: Sequence[float]) -> str:
    """The name of the people of these lambdas: l0,1; empty for a network without lambda."""
    return "l" + ",".join(f"{value:g}" for value in lambdas) if lambdas else ""


def batch_size_of(config: settings.Config, device: torch.device) -> int:
    """People at once, at most a sensible number."""
    most = config.yaml.TEST.BATCH_SIZE_PER_GPU
    return min(most, predict.CPU_BATCH) if device.type == "cpu" else most


def while_training(
    config: settings.Config, device: torch.device, dtype: torch.dtype | None, log: Log, folder: Path
) -> Callable[[nn.Module], dict[str, float]]:
    """What the training loop calls every EPOCH_EVAL_FREQ epochs. `folder`: of the run. Raises UserError."""
    evaluator = Evaluator(config)
    evaluator.validation.check(config.data_set)

    def measure(model: nn.Module) -> dict[str, float]:
        session = of_module(predict.for_inference(model, LAMBDAS), device, dtype)
        estimator = PoseEstimator.of_session(session, config, LAMBDAS, batch_size_of(config, device))
        result = evaluator(estimator)
        seconds, skipped = result.seconds["total"], len(result.skipped)
        log.line(f"evaluate elapsed time : {seconds:.1f} s, {result.num_boxes} boxes, {skipped} skipped")
        for line in published_table(result.metrics, config.yaml.MODEL.NAME):
            log.line(line)
        sheet = folder / "pictures" / "predictions.png"
        save_sheet(sheet, evaluator.validation, result.detections, estimator.skeleton, SHEET_ROWS, DRAWN_ABOVE)
        return result.total

    return measure


def main() -> None:
    """Reads the flags, evaluates, leaves people, metrics, pictures and a result file."""
    began = time.time()
    flags = parse_flags(Config, None, ALIASES, FLAG_KEYS)
    log_folder = Path(flags.log_dir or Path(flags.output_dir) / "test" / "output" / "0")
    with common.distributed.process_group(flags.device) as device:
        run = flags.config(None, output_dir=flags.output_dir)
        name, best = flags.checkpoint_path or run.yaml.TEST.MODEL_FILE, run.folder / common.train.checkpoint.BEST
        if not (name or best.is_file()):
            raise UserError(f"--checkpoint_path is needed: {best} is not there")
        source = weights.locate_checkpoint(name or str(best))
        config = data.resolve_data_folder(flags.config(source, output_dir=flags.output_dir))
        folder = config.folder / "eval"
        with Log(folder / "metrics.jsonl", log_folder, fresh=True) as log:
            options = flags.options(device, common.distributed.local_rank())
            session, report = predict.open_session(source, options, config, flags.lambdas)
            batch_size = flags.batch_size or batch_size_of(config, device)
            estimator = PoseEstimator.of_session(session, config, flags.lambdas, batch_size)
            evaluator = Evaluator(config, flags.num_workers)
            result = evaluator(estimator)
            protocol = evaluator.protocol(estimator) | {
                "checkpoint": str(source),
                "runtime": session.runtime,
                "precision": flags.amp,
                "skipped": len(result.skipped),
            }
            arch = source.stem if session.inputs else config.yaml.MODEL.NAME
            for line in (*filter(None, [report]), *result.lines(protocol, published_table(result.metrics, arch))):
                log.line(line)
            alone = {name: result.metrics[name] for name in list(result.metrics)[1:]}
            log.record("evaluate", metrics=result.total, by_lambda=alone, protocol=protocol, ms_a_box=result.ms_a_box)
        if common.distributed.is_main():
            write_results(flags, evaluator, estimator, result, folder)
            Run(NETWORK, "eval", 1, 1, str(folder / "metrics.jsonl"), str(folder), began).leave(log_folder)


def write_results(
    flags: Config, evaluator: Evaluator, estimator: PoseEstimator, result: Evaluation[MergedPeople], folder: Path
) -> None:
    """The people as published, of each lambda alone too; the page and the pictures that the flags ask for."""
    images, skeleton = evaluator.validation, estimator.skeleton
    for name, people in result.people.items():
        file = "detections.json" if people is result.detections else f"detections_{name}.json"
        rows = evaluator.published(people, result.boxes, estimator)
        common.files.write_atomically(folder / file, json.dumps(rows, indent=4, sort_keys=True).encode())
    if flags.report:
        from common.media import error_report  # not needed by a training, which evaluates too

        error_report.write(images, result.detections, skeleton, folder, evaluator.config.data_set)
    if flags.save_images:
        save_sheet(folder / "pictures.png", images, result.detections, skeleton, flags.save_images, DRAWN_ABOVE)


if __name__ == "__main__":
    common.cli.run(main)
