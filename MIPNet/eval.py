# SPDX-License-Identifier: Apache-2.0
"""AP of a checkpoint on COCO, CrowdPose or OCHuman, in given boxes or in those of a detector (spec A1.7).

bash test/eval.sh --data_path=/data/coco --checkpoint_path=model_best.pth
python -m MIPNet.eval --lambda --data_path=mini --checkpoint_path=model_best.pth --save_images=8
python -m MIPNet.eval --cfg experiments/crowdpose/hrnet/w48_384x288_adam_lr1e-3_lambda.yaml \
    --data_path=/data/crowdpose --checkpoint_path=pose.onnx --detections=boxes.json TEST.FLIP_TEST false

Writes detections.json (and detections_l0.json, detections_l1.json: of each lambda alone), metrics.jsonl, pictures.png
and a result file into output/<data set>/<network>/<name of --cfg>/eval.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.cli
import common.coco.evaluate
import common.device
import common.distributed
import common.files
import common.media.drawing
import common.train.checkpoint
from common.cli import UserError
from common.coco.evaluate import EvaluationSet
from common.device import AmpLevel, AmpType, DeviceName
from common.media.sheets import draw_sheet
from common.report import Run
from common.runtime.session import Options, Provider
from common.topdown.pipeline import Estimator
from common.train.log import Log
from MIPNet import config as recipes
from MIPNet import examination, recipe_file, weights
from MIPNet.config import DEFAULT_CFG, MODEL_FOLDER, NETWORK, RETIRED, flag
from MIPNet.evaluation import DRAWN_ABOVE, Evaluation, Protocol, lambda_name, published_rows, table_of
from MIPNet.examination import Conditions
from MIPNet.inference import open_session, recipe_of
from MIPNet.preparation import experiment_folder

import torch

ALIASES = {**examination.ALIASES, "check_point": "checkpoint_path", "checkpoint": "checkpoint_path",
           "pth_path": "checkpoint_path", "modelDir": "checkpoints", "opt_level": "amp"}  # fmt: skip


@dataclass(frozen=True)
class Config(Conditions):
    """Evaluates a checkpoint of MIPNet. KEY VALUE words change the recipe, such as TEST.FLIP_TEST false."""

    checkpoint_path: str = flag(
        "a file (.pth, or exported: .onnx, .xml, .om) or a published name; empty: TEST.MODEL_FILE, or the best run",
        "",
    )
    device: DeviceName = flag("where to compute", "auto")
    output_dir: str = flag("folder of checkpoints and results", str(MODEL_FOLDER))
    log_dir: str = flag("lines of each rank and result file; empty: output_dir/test/output/0", "")
    checkpoints: str = flag("OUTPUT_DIR, in output_dir", "")
    experiment: str = flag("added to the name of --cfg", "")
    provider: Provider = flag("of ONNX Runtime, for an .onnx; auto: that of the device", "auto")
    amp: AmpLevel = flag("precision level", "O0")
    amp_type: AmpType = flag("type of O1; auto: float16, on a CPU bfloat16", "auto")
    output_name: str = flag("file of the people found", "detections.json")
    save_images: int = flag("draw so many images: ground truth beside prediction", 0)

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        self.check_conditions()


def main() -> None:
    """Reads the flags, evaluates, leaves people, metrics, pictures and a result file."""
    began = time.time()
    flags, pairs = recipe_file.split(sys.argv[1:])
    config = common.cli.parse(Config, {}, flags, ALIASES, RETIRED, recipe_file.published_words)
    config.check()
    log_folder = Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0")
    with common.distributed.process_group(config.device) as device:
        source, recipe = prepare(config, recipe_file.fields_of(recipe_file.COMMAND_LINE, pairs))
        folder = experiment_folder(recipe) / "eval"
        with Log(folder / "metrics.jsonl", log_folder, fresh=True) as log:
            run_evaluation(config, recipe, source, device, folder, log)
        if common.distributed.is_main():
            Run(NETWORK, "eval", 1, 1, str(folder / "metrics.jsonl"), str(folder), began).leave(log_folder)


def prepare(config: Config, pairs: dict[str, Any]) -> tuple[Path, recipes.Config]:
    """The network file, and what recipe file, checkpoint, flags and KEY VALUE words (`pairs`) say together."""
    given = {**config.fields("checkpoints", "experiment"), "output_dir": config.output_dir}
    source = _checkpoint(config, {**given, **pairs})
    return source, config.recipe(source, given, pairs)


def _checkpoint(config: Config, given: dict[str, Any]) -> Path:
    own = recipe_of(config.cfg or DEFAULT_CFG, None, {}, given)
    if config.checkpoint_path or own.model_file:
        return weights.locate(config.checkpoint_path or own.model_file)
    best = experiment_folder(own) / common.train.checkpoint.BEST
    if not best.is_file():
        raise UserError(f"--checkpoint_path is needed: {best} is not there")
    return best


def run_evaluation(
    config: Config, recipe: recipes.Config, source: Path, device: torch.device, folder: Path, log: Log
) -> None:
    """Evaluates as `config` says and writes the results into `folder`."""
    skeleton = examination.skeleton_of(recipe)
    dtype = common.device.amp_type(device, config.amp, config.amp_type)
    options = Options(config.device, common.distributed.local_rank(), config.provider, dtype)
    session, said = open_session(source, options, recipe, skeleton, config.lambdas)
    examined = examination.prepare(config, recipe, skeleton)
    for line in (said, *(f"note: {note}" for note in examined.boxes.notes)):
        if line:
            log.line(line)
    result = examined.evaluate(session, device)
    arch = recipe.model if not session.inputs else source.stem
    facts = {**examined.facts(session), "checkpoint": str(source), "runtime": session.runtime,
             "precision": config.amp, "skipped": len(result.skipped)}  # fmt: skip
    tell(result, examined.protocol(session), arch, facts, log)
    if common.distributed.is_main():
        write(result, examined.estimator(session), examined.validation, folder, config.output_name)
        if config.save_images:
            sheet = draw_sheet(examined.validation, result.detections, skeleton, config.save_images, DRAWN_ABOVE)
            common.media.drawing.save_png(folder / "pictures.png", sheet)


def tell(result: Evaluation, protocol: Protocol, arch: str, facts: dict[str, Any], log: Log) -> None:
    """Protocol, the publication's table, COCO's table, and where the time went; the same into the metrics."""
    a_box = {name: 1000 * seconds / max(1, result.num_boxes) for name, seconds in result.seconds.items()}
    for line in (
        *(f"skipped: {line}" for line in result.skipped),
        "protocol: " + ", ".join(f"{name} {value}" for name, value in facts.items()),
        *table_of(result, arch, protocol),
        common.coco.evaluate.table(result.metrics),
        f"ms a box ({result.num_boxes}): " + ", ".join(f"{name} {value:.2f}" for name, value in a_box.items()),
    ):
        log.line(line)
    alone = {lambda_name((value,)): metrics for value, metrics in result.by_lambda.items()}
    log.record("evaluate", metrics=result.metrics, by_lambda=alone, protocol=facts, ms_a_box=a_box)


def write(result: Evaluation, network: Estimator, validation: EvaluationSet, folder: Path, name: str) -> None:
    """The people of all modes into `name`, those of each alone beside it, with the published fields."""
    for value, people in {None: result.people, **result.people_by_lambda}.items():
        path = folder / name
        if value is not None:
            path = path.with_stem(f"{path.stem}_{lambda_name((value,))}")
        rows = published_rows(people, result.found, validation, network)
        common.files.write_atomically(path, json.dumps(rows, indent=4, sort_keys=True).encode())


if __name__ == "__main__":
    common.cli.run(main)
