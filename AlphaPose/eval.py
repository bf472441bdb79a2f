# SPDX-License-Identifier: Apache-2.0
"""AP of a checkpoint on COCO keypoints, in given boxes or in those of a detector (spec A2.4).

bash test/train_eval_8p.sh --data_path=/data/coco --checkpoint=fast_res50_256x192.pth
python -m AlphaPose.eval --data_path=mini --checkpoint=model_best.pth --flip-test --save_images=8
python -m AlphaPose.eval --data_path=/data/coco --checkpoint=pose.onnx --detections=person_boxes.json --nms=pose

Writes detections.json, metrics.jsonl, pictures.png and a result file into exp/<exp_id>-<name of --cfg>/eval, and the
published eval.log beside that folder.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.coco.evaluate
import common.device
import common.distributed
import common.files
import common.media.drawing
from AlphaPose import config as recipes
from AlphaPose import examination
from AlphaPose.config import MODEL_FOLDER, NETWORK, flag
from AlphaPose.evaluation import DRAWN_ABOVE, Evaluation
from AlphaPose.examination import Conditions
from AlphaPose.inference import open_session
from AlphaPose.preparation import checkpoint_of, experiment_folder
from common.cli import parse, run
from common.device import AmpLevel, AmpType, DeviceName
from common.media import error_report
from common.media.sheets import draw_sheet
from common.report import Run
from common.runtime.session import Options, Provider
from common.train.log import Log

import torch

ALIASES = {**examination.ALIASES, "checkpoint_path": "checkpoint", "opt_level": "amp"}
LOG_FILE = "eval.log"  # as published


@dataclass(frozen=True)
class Config(Conditions):
    """Evaluates a checkpoint of AlphaPose."""

    checkpoint: str = flag(
        "a file (.pth, or exported: .onnx, .xml, .om) or a published name; empty: the best of --exp_id", ""
    )
    device: DeviceName = flag("where to compute", "auto")
    output_dir: str = flag("folder of checkpoints and results", str(MODEL_FOLDER))
    log_dir: str = flag("lines of each rank and result file; empty: output_dir/test/output/0", "")
    exp_id: str = flag("checkpoints and results are in exp/<exp_id>-<name of --cfg>", "exp_test")
    provider: Provider = flag("of ONNX Runtime, for an .onnx; auto: that of the device", "auto")
    amp: AmpLevel = flag("precision level", "O0")
    amp_type: AmpType = flag("type of O1; auto: float16, on a CPU bfloat16", "auto")
    output_name: str = flag("file of the people found", "detections.json")
    save_images: int = flag("draw so many images: ground truth beside prediction", 0)
    report: bool = flag("also write report.html, a page of where the network fails, and report.json", False)

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        self.check_conditions()


def main() -> None:
    """Reads the flags, evaluates, leaves people, metrics, pictures and a result file."""
    began = time.time()
    config = parse(Config, {}, aliases=ALIASES, retired=recipes.RETIRED)
    config.check()
    log_folder = Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0")
    with common.distributed.process_group(config.device) as device:
        source = checkpoint_of(config.checkpoint, config)
        recipe = config.recipe(source, exp_id=config.exp_id, output_dir=config.output_dir)
        folder = experiment_folder(recipe) / "eval"
        with Log(folder / "metrics.jsonl", log_folder, fresh=True) as log:
            run_evaluation(config, recipe, source, device, folder, log)
        if common.distributed.is_main():
            Run(NETWORK, "eval", 1, 1, str(folder / "metrics.jsonl"), str(folder), began).leave(log_folder)


def run_evaluation(
    config: Config, recipe: recipes.Config, source: Path, device: torch.device, folder: Path, log: Log
) -> None:
    """Evaluates as `config` says and writes the results into `folder`."""
    skeleton = examination.skeleton_of(recipe)
    dtype = common.device.amp_type(device, config.amp, config.amp_type)
    options = Options(config.device, common.distributed.local_rank(), config.provider, dtype)
    session = open_session(source, options, recipe, skeleton)
    examined = examination.prepare(config, recipe, skeleton)
    for line in examined.boxes.notes:
        log.line(f"note: {line}")
    result = examined.evaluate(session, device)
    protocol = {
        **examined.protocol(examined.estimator(session)), "checkpoint": str(source), "network": recipe.yaml.MODEL.TYPE,
        "runtime": session.runtime, "precision": config.amp, "skipped": len(result.skipped),
    }  # fmt: skip
    _tell(result, protocol, "det" if config.detected else "gt", log, folder)
    if common.distributed.is_main():
        result.detections.write_json(folder / config.output_name)
        if config.report:
            error_report.write(examined.validation, result.detections, skeleton, folder)
        if config.save_images:
            sheet = draw_sheet(examined.validation, result.detections, skeleton, config.save_images, DRAWN_ABOVE)
            common.media.drawing.save_png(folder / "pictures.png", sheet)


def _tell(result: Evaluation, protocol: dict[str, Any], kind: str, log: Log, folder: Path) -> None:
    for line in result.skipped:
        log.line(f"skipped: {line}")
    told = "protocol: " + ", ".join(f"{name} {value}" for name, value in protocol.items())
    a_person = {name: 1000 * seconds / max(1, result.num_boxes) for name, seconds in result.seconds.items()}
    published = f"##### {kind} box: {result.metrics['AP']:.4f} mAP #####"
    for line in (
        told,
        common.coco.evaluate.table(result.metrics),
        "ms a person: " + ", ".join(f"{name} {value:.2f}" for name, value in a_person.items()),
        published,
    ):
        log.line(line)
    log.record("evaluate", metrics=result.metrics, protocol=protocol, ms_a_person=a_person)
    if common.distributed.is_main():
        common.files.write_atomically(folder.parent / LOG_FILE, f"{told}\n{published}\n".encode())


if __name__ == "__main__":
    run(main)
