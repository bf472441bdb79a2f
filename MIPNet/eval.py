# SPDX-License-Identifier: Apache-2.0
"""AP of a checkpoint on COCO, CrowdPose or OCHuman, in given boxes or in those of a detector (spec A1.7).

bash test/eval.sh --data_path=/data/coco --checkpoint_path=model_best.pth
python -m MIPNet.eval --lambda --data_path=mini --checkpoint_path=model_best.pth --save_images=8
python -m MIPNet.eval --cfg experiments/crowdpose/hrnet/w48_384x288_adam_lr1e-3_lambda.yaml \
    --data_path=/data/crowdpose --checkpoint_path=pose.onnx --detections=boxes.json TEST.FLIP_TEST false

Writes detections.json (and detections_l0.json, detections_l1.json: of each lambda alone), metrics.jsonl, pictures.png
and a result file into output/<data set>/<network>/<name of --cfg>/eval.
"""

import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import common.checkpoint
import common.cli
import common.coco_eval
import common.device
import common.distributed
import common.drawing
import common.files
import common.mini_coco
import common.skeleton
from common.cli import UserError
from common.device import AmpLevel, AmpType, DeviceName
from common.log import Log
from common.report import Run
from common.session import Options, Provider, Session
from common.top_down import Estimator
from common.validation import Validation, draw_sheet
from MIPNet import config as recipes
from MIPNet import recipe_file, weights
from MIPNet.config import DEFAULT_CFG, MODEL_FOLDER, NETWORK, RETIRED, text
from MIPNet.evaluation import (
    DRAWN_ABOVE,
    Evaluation,
    Nms,
    Protocol,
    batch_size_of,
    detections_of,
    evaluate,
    lambda_name,
    load_validation,
    looked_for,
    protocol_of,
    published_rows,
    table_of,
)
from MIPNet.inference import (
    LAMBDAS,
    InputRule,
    check_lambdas,
    estimator,
    fitting,
    open_session,
    recipe_of,
    rule_of,
)
from MIPNet.preparation import check_joints, experiment_folder

import torch

ALIASES = {"check_point": "checkpoint_path", "checkpoint": "checkpoint_path", "pth_path": "checkpoint_path",
           "dataDir": "data_dir", "modelDir": "checkpoints", "opt_level": "amp", "workers": "num_workers"}  # fmt: skip
PAIRS_OF_RECIPE = ("data_path", "data_dir", "val_labels", "val_images_folder", "skeleton", "checkpoints", "experiment")


@dataclass(frozen=True)
class Config:
    """Evaluates a checkpoint of MIPNet. KEY VALUE words change the recipe, such as TEST.FLIP_TEST false."""

    cfg: str = text("recipe file; empty: that of the checkpoint's training, or w48_384x288_adam_lr1e-3", "")
    checkpoint_path: str = text(
        "a file (.pth, or exported: .onnx, .xml, .om) or a published name; empty: TEST.MODEL_FILE, or the best run",
        "",
    )
    data_path: str = text("folder of the data set, or `mini` for the embedded one; empty: DATASET.ROOT of --cfg", "")
    detections: str = text("boxes of a detector; empty: given boxes, unless TEST.USE_GT_BBOX is false", "")
    lambdas: tuple[float, ...] = text("of the people in a box, for a network that takes lambda", LAMBDAS)
    nms: Nms = text("of people found twice; recipe: OKS-NMS, on CrowdPose as published", "recipe")
    refinement: Literal["recipe", "none", "quarter", "dark"] = text("of peaks; recipe: TEST.POST_PROCESS", "recipe")
    flip_test: bool = text("mean of an image's maps and its mirror image's, where TEST.FLIP_TEST says so too", True)
    batch_size: int = text("people at once; 0: TEST.BATCH_SIZE_PER_GPU, on a CPU 8", 0)
    device: DeviceName = text("where to compute", "auto")
    output_dir: str = text("folder of checkpoints and results", str(MODEL_FOLDER))
    log_dir: str = text("lines of each rank and result file; empty: output_dir/test/output/0", "")
    checkpoints: str = text("OUTPUT_DIR, in output_dir", "")
    experiment: str = text("added to the name of --cfg", "")
    data_dir: str = text("DATA_DIR: DATASET.ROOT is in it", "")
    skeleton: str = text("built-in name or YAML file of one's own keypoints; empty: that of the data set", "")
    val_labels: str = text("in data_path; empty: DATASET.TEST_ANNOTATION_FILE of --cfg", "")
    val_images_folder: str = text("in data_path; empty: DATASET.TEST_IMAGE_DIR of --cfg", "")
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
        check_lambdas(self.lambdas)


def main() -> None:
    """Reads the flags, evaluates, leaves people, metrics, pictures and a result file."""
    began = time.time()
    flags, pairs = recipe_file.split(sys.argv[1:])
    config = common.cli.parse(Config, {}, flags, ALIASES, RETIRED, recipe_file.published_words)
    config.check()
    log_folder = Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0")
    with common.distributed.joined(config.device) as device:
        source, recipe = prepare(config, recipe_file.fields_of("command line", pairs))
        folder = experiment_folder(recipe) / "eval"
        with Log(folder / "metrics.jsonl", log_folder, fresh=True) as log:
            run_evaluation(config, recipe, source, device, folder, log)
        if common.distributed.is_main():
            Run(NETWORK, "eval", 1, 1, str(folder / "metrics.jsonl"), str(folder), began).leave(log_folder)


def prepare(config: Config, pairs: dict[str, Any]) -> tuple[Path, recipes.Config]:
    """The network file, and what recipe file, checkpoint, flags and KEY VALUE words (`pairs`) say together."""
    given = {name: getattr(config, name) for name in PAIRS_OF_RECIPE if getattr(config, name)}
    given["output_dir"] = config.output_dir
    if config.detections:
        given |= {"detections": config.detections, "given_boxes": False}
    source = _checkpoint(config, {**given, **pairs})
    recipe = recipe_of(config.cfg, source, given, pairs)
    folder = common.distributed.main_first(lambda: common.mini_coco.resolve(recipe.root))
    return source, dataclasses.replace(recipe, data_path=str(folder), flip_test=config.flip_test and recipe.flip_test)


def _checkpoint(config: Config, given: dict[str, Any]) -> Path:
    own = recipe_of(config.cfg or DEFAULT_CFG, None, {}, given)
    if config.checkpoint_path or own.model_file:
        return weights.locate(config.checkpoint_path or own.model_file)
    best = experiment_folder(own) / common.checkpoint.BEST
    if not best.is_file():
        raise UserError(f"--checkpoint_path is needed: {best} is not there")
    return best


def run_evaluation(
    config: Config, recipe: recipes.Config, source: Path, device: torch.device, folder: Path, log: Log
) -> None:
    """Evaluates as `config` says and writes the results into `folder`."""
    skeleton = common.skeleton.load(recipe.skeleton_name)
    check_joints(recipe, skeleton)
    dtype = common.device.amp_type(device, config.amp, config.amp_type)
    options = Options(config.device, common.distributed.local_rank(), config.provider, dtype)
    session, said = open_session(source, options, recipe, skeleton, config.lambdas)
    rule = fitting(rule_of(recipe, config.lambdas), session, config.lambdas)
    if config.refinement != "recipe":
        rule = dataclasses.replace(rule, refinement=config.refinement)
    protocol = protocol_of(recipe, rule, config.nms)
    validation = load_validation(recipe, skeleton, config.val_images)
    boxes = looked_for(recipe, validation)
    for line in (said, *(f"note: {note}" for note in boxes.notes)):
        if line:
            log.line(line)
    network = estimator(session, rule, skeleton)
    result = evaluate(
        network, validation, boxes, skeleton, config.batch_size or batch_size_of(recipe, device), protocol,
        config.on_bad_image == "skip", config.num_workers,
    )  # fmt: skip
    arch = recipe.model if not session.inputs else source.stem
    facts = facts_of(recipe, rule, protocol, validation, source, session, config)
    tell(result, protocol, arch, {**facts, "skipped": len(result.skipped)}, log)
    if common.distributed.is_main():
        write(result, network, validation, folder, config.output_name)
        if config.save_images:
            sheet = draw_sheet(validation, result.detections, skeleton, config.save_images, DRAWN_ABOVE)
            common.drawing.save_png(folder / "pictures.png", sheet)


def facts_of(
    recipe: recipes.Config, rule: InputRule, protocol: Protocol, validation: Validation, source: Path,
    session: Session, config: Config,
) -> dict[str, Any]:  # fmt: skip
    """The protocol, as it stands in the output: without it two numbers cannot be compared."""
    return {
        "boxes": str(detections_of(recipe) or "given"),
        "data_set": recipe.people_of,
        "annotations": str(validation.annotations),
        "images": len(validation.rows),
        "lambdas": protocol.lambdas or "none",
        "nms": protocol.nms_of(rule.modes),
        "flip_test": rule.flip_test,
        "refinement": rule.refinement,
        "input_size": rule.size_in,
        "checkpoint": str(source),
        "runtime": session.runtime,
        "precision": config.amp,
    }


def tell(result: Evaluation, protocol: Protocol, arch: str, facts: dict[str, Any], log: Log) -> None:
    """Protocol, the publication's table, COCO's table, and where the time went; the same into the metrics."""
    a_box = {name: 1000 * seconds / max(1, result.num_boxes) for name, seconds in result.seconds.items()}
    for line in (
        *(f"skipped: {line}" for line in result.skipped),
        "protocol: " + ", ".join(f"{name} {value}" for name, value in facts.items()),
        *table_of(result, arch, protocol),
        common.coco_eval.table(result.metrics),
        f"ms a box ({result.num_boxes}): " + ", ".join(f"{name} {value:.2f}" for name, value in a_box.items()),
    ):
        log.line(line)
    alone = {lambda_name((value,)): metrics for value, metrics in result.by_lambda.items()}
    log.record("evaluate", metrics=result.metrics, by_lambda=alone, protocol=facts, ms_a_box=a_box)


def write(result: Evaluation, network: Estimator, validation: Validation, folder: Path, name: str) -> None:
    """The people of all modes into `name`, those of each alone beside it, with the published fields."""
    for value, people in {None: result.people, **result.people_by_lambda}.items():
        path = folder / name
        if value is not None:
            path = path.with_stem(f"{path.stem}_{lambda_name((value,))}")
        rows = published_rows(people, result.found, validation, network)
        common.files.write_atomically(path, json.dumps(rows, indent=4, sort_keys=True).encode())


if __name__ == "__main__":
    common.cli.run(main)
