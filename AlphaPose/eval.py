# SPDX-License-Identifier: Apache-2.0
"""AP of a checkpoint on COCO keypoints, in given boxes or in those of a detector (spec A2.4).

bash test/train_eval_8p.sh --data_path=/data/coco --checkpoint=fast_res50_256x192.pth
python -m AlphaPose.eval --data_path=mini --checkpoint=model_best.pth --flip-test --save_images=8
python -m AlphaPose.eval --data_path=/data/coco --checkpoint=pose.onnx --detections=person_boxes.json --nms=pose

Writes detections.json, metrics.jsonl, pictures.png and a result file into exp/<exp_id>-<name of --cfg>/eval, and the
published eval.log beside that folder.
"""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import common.checkpoint
import common.coco_eval
import common.device
import common.distributed
import common.drawing
import common.files
import common.mini_coco
import common.skeleton
from AlphaPose import config as recipes
from AlphaPose.config import DEFAULT_CFG, MODEL_FOLDER, NETWORK, text
from AlphaPose.evaluation import (
    DRAWN_ABOVE,
    Evaluation,
    Nms,
    Protocol,
    Scores,
    boxes_of,
    default_batch,
    evaluate,
    load_validation,
)
from AlphaPose.inference import estimator, open_session, recipe_of, rule_of
from AlphaPose.preparation import checkpoint_of, experiment_folder
from common.cli import UserError, parse, run
from common.device import AmpLevel, AmpType, DeviceName
from common.log import Log
from common.report import Run
from common.session import Options, Provider
from common.validation import draw_sheet

import torch

ALIASES = {"batch": "batch_size", "checkpoint_path": "checkpoint", "det_file": "detections", "opt_level": "amp",
           "nThreads": "num_workers", "workers": "num_workers"}  # fmt: skip
LOG_FILE = "eval.log"  # as published


@dataclass(frozen=True)
class Config:
    """Evaluates a checkpoint of AlphaPose."""

    cfg: str = text("recipe file; what a checkpoint says of its own network stands above it", DEFAULT_CFG)
    checkpoint: str = text(
        "a file (.pth, or exported: .onnx, .xml, .om) or a published name; empty: the best of --exp_id", ""
    )
    data_path: str = text("COCO folder, or `mini` for the embedded data set; empty: DATASET.TRAIN.ROOT of --cfg", "")
    boxes: Literal["given", "detected"] = text("where people are: as annotated, or as a detector found them", "given")
    detections: str = text("boxes of a detector, means --boxes=detected; empty: DATASET.TEST.DET_FILE of --cfg", "")
    min_score: float = text("detected boxes below it are not taken", 0.0)
    nms: Nms = text("of people in detected boxes, once their keypoints are known", "none")
    scores: Scores = text("of people in detected boxes: AlphaPose's own, or the detector's as in the Ascend version",
                          "proposal")  # fmt: skip
    flip_test: bool = text("mean of an image's maps and its mirror image's", False)
    batch_size: int = text("people at once; 0: 64, on a CPU 8", 0)
    device: DeviceName = text("where to compute", "auto")
    output_dir: str = text("folder of checkpoints and results", str(MODEL_FOLDER))
    log_dir: str = text("lines of each rank and result file; empty: output_dir/test/output/0", "")
    exp_id: str = text("checkpoints and results are in exp/<exp_id>-<name of --cfg>", "exp_test")
    skeleton: str = text("built-in name or YAML file of one's own keypoints; empty: the checkpoint's, or coco", "")
    val_labels: str = text("inside data_path; empty: DATASET.VAL.ANN of --cfg", "")
    val_images_folder: str = text("inside data_path; empty: DATASET.VAL.IMG_PREFIX of --cfg", "")
    val_images: int = text("so many images; 0: all", 0)
    provider: Provider = text("of ONNX Runtime, for an .onnx; auto: that of the device", "auto")
    amp: AmpLevel = text("precision level", "O0")
    amp_type: AmpType = text("type of O1; auto: float16, on a CPU bfloat16", "auto")
    num_workers: int = text("threads that read", 4)
    on_bad_image: Literal["error", "skip"] = text("an unreadable image: stop, or count it as without people", "error")
    output_name: str = text("file of the people found", "detections.json")
    save_images: int = text("draw so many images: ground truth beside prediction", 0)

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        for name in ("batch_size", "val_images", "save_images"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name}={getattr(self, name)}: a number from 0 on")
        if self.num_workers < 1:
            raise UserError(f"--num_workers={self.num_workers}: at least 1")
        if not self.detected and (self.nms != "none" or self.scores != "proposal"):
            raise UserError("--nms and --scores are for detected boxes: add --detections=FILE or --boxes=detected")

    @property
    def detected(self) -> bool:
        """Whether boxes come from a detector."""
        return self.boxes == "detected" or bool(self.detections)


def main() -> None:
    """Reads the flags, evaluates, leaves people, metrics, pictures and a result file."""
    began = time.time()
    config = parse(Config, {}, aliases=ALIASES, retired=recipes.RETIRED)
    config.check()
    log_folder = Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0")
    with common.distributed.joined(config.device) as device:
        source = checkpoint_of(config.checkpoint, config)
        recipe = _recipe(config, source)
        folder = experiment_folder(recipe) / "eval"
        with Log(folder / "metrics.jsonl", log_folder, fresh=True) as log:
            run_evaluation(config, recipe, source, device, folder, log)
        if common.distributed.is_main():
            Run(NETWORK, "eval", 1, 1, str(folder / "metrics.jsonl"), str(folder), began).leave(log_folder)


def run_evaluation(
    config: Config, recipe: recipes.Config, source: Path, device: torch.device, folder: Path, log: Log
) -> None:
    """Evaluates as `config` says and writes the results into `folder`."""
    skeleton = common.skeleton.load(recipe.skeleton)
    if recipe.num_joints not in (0, skeleton.num_keypoints):
        raise UserError(
            f"{config.cfg}: NUM_JOINTS is {recipe.num_joints}, --skeleton={skeleton.name} has {skeleton.num_keypoints}"
        )
    dtype = common.device.amp_type(device, config.amp, config.amp_type)
    options = Options(config.device, common.distributed.local_rank(), config.provider, dtype)
    session = open_session(source, options, recipe, skeleton)
    validation = load_validation(recipe, skeleton, config.val_images)
    detections = Path(recipe.detections) if config.detected else None
    boxes = boxes_of(validation, detections, config.min_score)
    for line in boxes.notes:
        log.line(f"note: {line}")
    network = estimator(session, rule_of(recipe), skeleton)
    result = evaluate(
        network, validation, boxes, skeleton, config.batch_size or default_batch(device),
        Protocol(config.detected, config.scores, config.nms), config.on_bad_image == "skip", config.num_workers,
    )  # fmt: skip
    protocol = {
        "boxes": str(detections) if detections else "given", "people": result.num_boxes, "images": result.num_images,
        "scores": config.scores if detections else "given box", "nms": config.nms, "flip_test": config.flip_test,
        "annotations": str(validation.annotations), "checkpoint": str(source), "network": recipe.model,
        "input_size": network.size_in, "runtime": session.runtime, "precision": config.amp,
        "skipped": len(result.skipped),
    }  # fmt: skip
    _tell(result, protocol, "det" if detections else "gt", log, folder)
    if common.distributed.is_main():
        result.detections.write_json(folder / config.output_name)
        if config.save_images:
            sheet = draw_sheet(validation, result.detections, skeleton, config.save_images, DRAWN_ABOVE)
            common.drawing.save_png(folder / "pictures.png", sheet)


def _tell(result: Evaluation, protocol: dict[str, Any], kind: str, log: Log, folder: Path) -> None:
    for line in result.skipped:
        log.line(f"skipped: {line}")
    told = "protocol: " + ", ".join(f"{name} {value}" for name, value in protocol.items())
    a_person = {name: 1000 * seconds / max(1, result.num_boxes) for name, seconds in result.seconds.items()}
    published = f"##### {kind} box: {result.metrics['AP']:.4f} mAP #####"
    for line in (
        told,
        common.coco_eval.table(result.metrics),
        "ms a person: " + ", ".join(f"{name} {value:.2f}" for name, value in a_person.items()),
        published,
    ):
        log.line(line)
    log.record("evaluate", metrics=result.metrics, protocol=protocol, ms_a_person=a_person)
    if common.distributed.is_main():
        common.files.write_atomically(folder.parent / LOG_FILE, f"{told}\n{published}\n".encode())


def _recipe(config: Config, source: Path) -> recipes.Config:
    """What the file, the checkpoint and the flags say together; the data set is drawn or found."""
    flags = ("data_path", "detections", "skeleton", "val_labels", "val_images_folder")
    given = {name: getattr(config, name) for name in flags if getattr(config, name)}
    own = {name: getattr(config, name) for name in ("exp_id", "output_dir", "flip_test")}
    recipe = recipe_of(config.cfg, source, **given, **own)
    folder = common.distributed.main_first(lambda: common.mini_coco.resolve(recipe.root))
    return dataclasses.replace(recipe, data_path=str(folder))


if __name__ == "__main__":
    run(main)
