# SPDX-License-Identifier: Apache-2.0
"""AP of a checkpoint on COCO keypoints (spec A7).

python eval.py --model_path=0-6_30000.ckpt --imgpath_val=val2017 --ann=person_keypoints_val2017.json
bash test/eval.sh --data_path=/data/coco --model_path=model_best.pth --save_images=8
python -m OpenPose_MindSpore_port.eval --data_path=mini --model_path=openpose.onnx --original

Writes eval_result.json, metrics.jsonl and pictures into output_path. By default all images of the annotation file
count, as COCO asks, and people are found by improved rules; `--people_only` takes the images with people alone,
`--original_decode` finds people as the original does, and `--original` is both: the published figures came so.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import common.coco.evaluate
import common.coco.images
import common.device
import common.distributed
import common.skeleton
import common.train.checkpoint
from common.cli import UserError, parse, run
from common.coco.evaluate import EvaluationSet
from common.coco.images import Exif
from common.device import AmpLevel, AmpType, DeviceName
from common.report import Run
from common.runtime.session import Options, Provider
from common.train.log import Log
from OpenPose_MindSpore_port import inference
from OpenPose_MindSpore_port.config import ALIASES, DATA_FOLDER, MODEL_FOLDER, NETWORK, RETIRED, Inference, flag
from OpenPose_MindSpore_port.evaluation import (
    Evaluation,
    default_batch,
    draw_images,
    evaluate,
    result_lines,
    validation_of,
    with_people,
)
from OpenPose_MindSpore_port.inference import Estimator, InputRule

import torch

RESULT_FILE = "eval_result.json"  # as published
TRAINED = "train_checkpoints"  # where train.py leaves its best checkpoint
ALL_IMAGES = -1


@dataclass(frozen=True)
class Config(Inference):
    """Evaluates a checkpoint of the VGG19 OpenPose of MindSpore."""

    model_path: str = flag(
        "a file: .ckpt, .pth, .safetensors, or exported: .onnx, .xml, .om; empty: the best of training", ""
    )
    data_dir: str = flag("COCO folder (annotations, val2017), or `mini`; empty: COCO_HOME or ./dataset", "")
    imgpath_val: str = flag("folder of the images, in data_dir or a path of its own", "val2017")
    ann: str = flag("annotations, in data_dir/annotations or a path of its own", "person_keypoints_val2017.json")
    output_path: str = flag(f"folder of {RESULT_FILE} and pictures; empty: output_img in output_dir", "")
    output_dir: str = flag("folder of results", str(MODEL_FOLDER))
    log_dir: str = flag("lines of each rank and result file; empty: output_dir/test/output/0", "")
    device: DeviceName = flag("where to compute", "auto")
    skeleton: str = flag("built-in name or YAML file of one's own keypoints", "openpose")
    val_images: int = flag("so many images, chosen as `Lightweight_OpenPose` does; 0: all", 0)
    people_only: bool = flag("only images with annotated people, as the original: AP comes out higher", False)
    original_decode: bool = flag("people as the original finds them: whole pixels, its own thresholds", False)
    original: bool = flag("both, the protocol of the published figures", False)
    batch_size: int = flag("images of one size at once; 0: 16, on a CPU 2", 0, most=10**6)
    provider: Provider = flag("of ONNX Runtime, for an .onnx; auto: that of the device", "auto")
    amp: AmpLevel = flag("precision level", "O0")
    amp_type: AmpType = flag("type of O1; auto: float16, on a CPU bfloat16", "auto")
    num_workers: int = flag("threads that read images ahead, a batch each", 4, least=1, most=1024)
    exif: Exif = flag("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or count it as without people", "error")
    save_images: int = flag(
        "draw the people of so many images as <image_id>.png; -1: of all, as the original", 0, least=ALL_IMAGES
    )

    @property
    def result_folder(self) -> Path:
        """Where results go."""
        return Path(self.output_path or Path(self.output_dir) / "output_img")

    @property
    def checkpoint(self) -> Path:
        """The file to evaluate. Raises UserError where none is named and training has left none."""
        best = Path(self.output_dir) / TRAINED / common.train.checkpoint.BEST
        if not (self.model_path or best.is_file()):
            kinds = ".ckpt, .pth, .safetensors, .onnx, .xml or .om"
            raise UserError(f"--model_path is needed: {kinds}; training has left no {best}")
        return Path(self.model_path or best)

    @property
    def only_people(self) -> bool:
        """Whether images without people are left out."""
        return self.people_only or self.original


def main() -> None:
    """Reads the flags, evaluates, leaves people, metrics, pictures and a result file."""
    began = time.time()
    config = parse(Config, {}, aliases={**_aliases(), "checkpoint_path": "model_path", "output_img_path": "output_path",
                                        "annotation": "ann"}, retired=_retired())  # fmt: skip
    folder = config.result_folder
    log_folder = Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0")
    with common.distributed.process_group(config.device) as device:
        with Log(folder / "metrics.jsonl", log_folder, fresh=True) as log:
            run_evaluation(config, device, folder, log)
        if common.distributed.is_main():
            Run(NETWORK, "eval", 1, 1, str(folder / "metrics.jsonl"), str(folder), began).leave(log_folder)


def _aliases() -> dict[str, str]:
    names = set(Config.__dataclass_fields__)
    return {alias: name for alias, name in ALIASES.items() if name in names}


def _retired() -> dict[str, str]:
    return {name: why for name, why in RETIRED.items() if name not in Config.__dataclass_fields__}


def run_evaluation(config: Config, device: torch.device, folder: Path, log: Log) -> None:
    """Evaluates as `config` says and writes the results into `folder`."""
    skeleton = common.skeleton.load(config.skeleton)
    dtype = common.device.amp_type(device, config.amp, config.amp_type)
    options = Options(config.device, common.distributed.local_rank(), config.provider, dtype)
    source, validation = config.checkpoint, _validation(config, skeleton)
    session = inference.open_session(source, options, skeleton)
    rules = inference.decode_rules(config, config.original_decode or config.original)
    rule = InputRule(config.inference_img_size, session.fixed_size)
    batch_size = config.batch_size or session.fixed_batch or default_batch(device)
    estimator = Estimator(session, skeleton, rules)
    result = evaluate(estimator, validation, rule, batch_size, config.on_bad_image == "skip", config.num_workers)
    protocol = {
        "annotations": str(validation.annotations), "images": result.num_images,
        "of": "images with people" if config.only_people else "all images", "checkpoint": str(source),
        "runtime": session.runtime, "input": rule.fixed_in or f"short side {rule.short_side_in}",
        "precision": config.amp,
        "decode": "original" if config.original_decode or config.original else "improved",
        "skipped": len(result.skipped),
    }  # fmt: skip
    _tell(result, protocol, log)
    if common.distributed.is_main():
        result.detections.write_json(folder / RESULT_FILE)
    if config.save_images:
        draw_images(validation, result.detections, skeleton, folder, config.save_images)


def _validation(config: Config, skeleton: common.skeleton.Skeleton) -> EvaluationSet:
    data_dir = common.distributed.main_process_first(
        lambda: common.coco.images.data_folder(config.data_dir, str(DATA_FOLDER), DATA_FOLDER)
    )
    validation = validation_of(str(data_dir), config.imgpath_val, config.ann, skeleton, config.val_images, config.exif)
    return with_people(validation) if config.only_people else validation


def _tell(result: Evaluation, protocol: dict[str, Any], log: Log) -> None:
    for line in result.skipped:
        log.line(f"skipped: {line}")
    log.line("protocol: " + ", ".join(f"{name} {value}" for name, value in protocol.items()))
    log.line(common.coco.evaluate.table(result.metrics))
    a_image = {name: 1000 * seconds / max(1, result.num_images) for name, seconds in result.seconds.items()}
    log.line("ms an image: " + ", ".join(f"{name} {value:.2f}" for name, value in a_image.items()))
    for line in result_lines(result):
        log.line(line)
    log.record("evaluate", metrics=result.metrics, protocol=protocol, ms_an_image=a_image)


if __name__ == "__main__":
    run(main)
