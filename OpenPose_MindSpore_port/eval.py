# SPDX-License-Identifier: Apache-2.0
"""AP of a checkpoint on COCO keypoints.

python eval.py --model_path=0-6_30000.ckpt --imgpath_val=val2017 --ann=person_keypoints_val2017.json
bash test/eval.sh --data_path=/data/coco --model_path=model_best.pth --save_images=8
python -m OpenPose_MindSpore_port.eval --data_path=mini --model_path=openpose.onnx --original

Writes eval_result.json, metrics.jsonl and pictures into output_path. By default all images of the annotation file
count, as COCO asks, and people are found by improved rules; `--people_only` takes the images with people alone,
`--original_decode` finds people as the original does, and `--original` is both: the published figures came so.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import common.coco.images
import common.device
import common.distributed
import common.train.checkpoint
from common.bottomup import pipeline
from common.bottomup.pipeline import BottomUpNetwork, Evaluation
from common.cli import ImageError, UserError, flag, parse, run
from common.coco.evaluate import COCO_METRICS, EvaluationSet
from common.coco.images import Exif
from common.report import Run
from common.runtime.session import ComputeFlags, of_module
from common.skeleton import Skeleton, load
from common.train.log import Log
from common.train.state import TrainState
from OpenPose_MindSpore_port import weights
from OpenPose_MindSpore_port.config import ALIASES, DATA_FOLDER, MODEL_FOLDER, NETWORK, RETIRED, Inference, located
from OpenPose_MindSpore_port.config import Config as TrainConfig
from OpenPose_MindSpore_port.decode import to_coco
from OpenPose_MindSpore_port.predict import LastMaps, PoseEstimator, Sizes, open_session, to_input

import numpy as np
import torch
from torch import nn

RESULT_FILE = "eval_result.json"  # as published
TRAINED = "train_checkpoints"  # where train.py leaves its best checkpoint
ALL_IMAGES = -1
ACCELERATOR_BATCH, CPU_BATCH = 16, 2  # images at once; a CPU gains nothing from more
SHEET_ROWS = 6  # images shown at each evaluation during training
PUBLISHED_NAMES = ("AP", "Ap .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)")


@dataclass(frozen=True)
class Config(Inference, ComputeFlags):
    """Evaluates a checkpoint of the VGG19 OpenPose of MindSpore."""

    model_path: str = flag(
        "a file: .ckpt, .pth, .safetensors, or exported: .onnx, .xml, .om; empty: the best of train.py", ""
    )
    data_dir: str = flag("COCO folder (annotations, val2017), or `mini`; empty: COCO_HOME or ./dataset", "")
    imgpath_val: str = flag("folder of the images, in data_dir or a path of its own", "val2017")
    ann: str = flag("annotations, in data_dir/annotations or a path of its own", "person_keypoints_val2017.json")
    output_path: str = flag(f"folder of {RESULT_FILE} and pictures; empty: output_img in output_dir", "")
    output_dir: str = flag("folder of results", str(MODEL_FOLDER))
    log_dir: str = flag("folder of each rank's log and the result file; empty: output_dir/test/output/0", "")
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "openpose")
    val_images: int = flag("images to evaluate, spread as in the published subset; 0: all", 0)
    people_only: bool = flag("only images with annotated people, as the original: AP is higher", False)
    original_decode: bool = flag("people as the original finds them: whole pixels, its rule of joining", False)
    original: bool = flag("--people_only and --original_decode: the protocol of the published figures", False)
    batch_size: int = flag("images of one size at once; 0: 16, on a CPU 2", 0, most=10**6)
    num_workers: int = flag("threads that read images ahead, a batch each", 4, least=1, most=1024)
    exif: Exif = flag("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or count it as without people", "error")
    report: bool = flag("also write report.html, a page of where the network fails, and report.json", False)
    save_images: int = flag(
        "images to draw people in, as <image_id>.png; -1: all, as the original", 0, least=ALL_IMAGES
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
        return weights.locate_checkpoint(self.model_path) if self.model_path else best


def main() -> None:
    """Reads the flags, evaluates, leaves people, metrics, pictures and a result file."""
    began = time.time()
    names = set(Config.__dataclass_fields__)
    aliases = {alias: name for alias, name in ALIASES.items() if name in names}
    aliases |= {"checkpoint_path": "model_path", "output_img_path": "output_path", "annotation": "ann"}
    config = parse(Config, {}, aliases=aliases, retired={name: RETIRED[name] for name in RETIRED.keys() - names})
    folder = config.result_folder
    log_folder = Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0")
    with common.distributed.process_group(config.device) as device:
        with Log(folder / "metrics.jsonl", log_folder, fresh=True) as log:
            run_evaluation(config, device, folder, log)
        if common.distributed.is_main():
            Run(NETWORK, "eval", 1, 1, str(folder / "metrics.jsonl"), str(folder), began).leave(log_folder)


def run_evaluation(config: Config, device: torch.device, folder: Path, log: Log) -> None:
    """Evaluates as `config` says and writes the results into `folder`."""
    config = _find_data(config)
    skeleton = load(config.skeleton)
    source = config.checkpoint
    validation = evaluation_set(
        config.data_dir, config.imgpath_val, config.ann, skeleton, config.val_images, config.exif
    )
    if config.original or config.people_only:
        validation = with_people(validation)
    session = open_session(source, config.options(device, common.distributed.local_rank()), skeleton)
    original = config.original or config.original_decode
    estimator = PoseEstimator.of_session(session, skeleton, config, original)
    batch_size = config.batch_size or session.fixed_batch or default_batch(device)
    result = evaluate(estimator, validation, batch_size, config.on_bad_image == "skip", config.num_workers)
    result.log(
        log,
        {
            "annotations": str(validation.annotations),
            "images": result.num_images,
            "of": "images with people" if config.original or config.people_only else "all images",
            "checkpoint": str(source),
            "runtime": session.runtime,
            "input": session.fixed_size or f"short side {config.inference_img_size}",
            "precision": config.amp,
            "decode": "original" if original else "improved",
            "skipped": len(result.skipped),
        },
    )
    _log_published_lines(result, log)
    if common.distributed.is_main():
        result.detections.write_json(folder / RESULT_FILE)
        if config.report:
            from common.media import error_report  # a training, which evaluates too, needs it not

            error_report.write(validation, result.detections, skeleton, folder)
    if config.save_images:
        draw_images(validation, result, skeleton, folder, config.save_images)


def _find_data(config: Config) -> Config:
    data_dir = common.distributed.main_process_first(
        lambda: common.coco.images.data_folder(config.data_dir, str(DATA_FOLDER), DATA_FOLDER)
    )
    skeleton = common.coco.images.skeleton_name(config.skeleton, Config.skeleton, data_dir)
    return dataclasses.replace(config, data_dir=str(data_dir), skeleton=skeleton)


def _log_published_lines(result: Evaluation, log: Log) -> None:
    if not len(result.detections):
        log.line("Predict poses size is zero.")
    log.line(result_line(result.metrics))


def result_line(metrics: Mapping[str, float]) -> str:
    """The published line: COCO's ten numbers under the original's names, in its order."""
    named = {published: float(metrics[name]) for published, name in zip(PUBLISHED_NAMES, COCO_METRICS, strict=True)}
    return f"result:  {named}"


def evaluate(
    estimator: PoseEstimator,
    validation: EvaluationSet,
    batch_size: int,
    skip_bad: bool = False,
    readers: int = pipeline.READERS,
) -> Evaluation:
    """AP over all images of `validation`; every rank takes its share of them and gets the whole result.

    Raises ImageError for an unreadable image, unless `skip_bad`: then it is counted and has no people.
    """
    network = BottomUpNetwork[Sizes](
        estimator.skeleton,
        letterboxes=lambda size_img: [estimator.sizes(size_img)],
        size_in=lambda sizes: sizes[0],
        to_input=lambda image, sizes: to_input(image, sizes[0]),
        maps=estimator.maps,
        people=lambda maps, sizes: estimator.people(maps[0], sizes[0]),
        to_coco=lambda people: to_coco(people, estimator.skeleton, estimator.original_decode),
    )
    return pipeline.evaluate(network, validation, batch_size, skip_bad, readers)


def default_batch(device: torch.device) -> int:
    """Images of one size that are worth taking at once."""
    return CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH


def with_people(validation: EvaluationSet) -> EvaluationSet:
    """Only the images that have an annotated person or crowd: those of the original.

    People found in the others then never count as false, so AP comes out higher than by COCO's protocol.
    """
    counts = np.diff(validation.index.person_offsets)
    return dataclasses.replace(validation, rows=validation.rows[counts[validation.rows] > 0])


def evaluation_set(
    data_dir: str, images: str, annotations: str, skeleton: Skeleton, num_images: int, exif: Exif = "ignore"
) -> EvaluationSet:
    """Annotated images of `<data_dir>/<images>` and `<data_dir>/annotations/<annotations>`, or paths as they stand.

    Raises UserError where one of them is neither.
    """
    labels = located(Path(data_dir) / "annotations", annotations, "--ann")
    folder = located(data_dir, images, "--imgpath_val")
    return EvaluationSet.load(labels, folder, skeleton, num_images, exif)


def training_evaluation_set(
    config: TrainConfig, skeleton: Skeleton, note: Callable[[str], None]
) -> EvaluationSet | None:
    """The images that a training is evaluated on; None, with a note, where they are not there and nobody named them.

    Raises UserError where named images are not there, or annotations cannot be used.
    """
    places = (Path(config.data_dir) / "annotations", config.ann), (config.data_dir, config.imgpath_val)
    missing = [name for folder, name in places if not common.coco.images.find(folder, name)]
    if missing and (config.imgpath_val, config.ann) == (TrainConfig.imgpath_val, TrainConfig.ann):
        note(f"note: no evaluation during training: no {', no '.join(missing)} in {config.data_dir}")
        return None  # the published commands name no validation images
    validation = evaluation_set(
        config.data_dir, config.imgpath_val, config.ann, skeleton, config.val_images, config.exif
    )
    validation.check()
    return validation


def while_training(
    validation: EvaluationSet, config: TrainConfig, skeleton: Skeleton, state: TrainState, log: Log
) -> Callable[[nn.Module], dict[str, float]]:
    """Measures the weights as they are; a sheet of predictions goes to TensorBoard and the run's folder."""
    from common.media.sheets import leave_sheet

    def measured(model: nn.Module) -> dict[str, float]:
        session = of_module(LastMaps(model).eval(), state.device, state.dtype)
        estimator = PoseEstimator.of_session(session, skeleton, config)
        result = evaluate(estimator, validation, default_batch(state.device))
        _log_published_lines(result, log)
        log.line(f"evaluate elapsed time : {result.seconds['total']:.1f} s, {result.num_images} images")
        leave_sheet(log, state.store.folder / "pictures", validation, result.detections, skeleton, SHEET_ROWS)
        return result.metrics

    return measured


def draw_images(
    validation: EvaluationSet, result: Evaluation, skeleton: Skeleton, folder: Path, num_images: int
) -> None:
    """Writes `<image_id>.png`, as published, with the people found, for the first `num_images` (negative: all).

    Every rank draws its share. An image that cannot be read is left out: the evaluation has reported it.
    """
    from common.media import drawing

    rows = validation.rows[:num_images] if num_images >= 0 else validation.rows
    for row in rows[common.distributed.rank() :: common.distributed.world_size()].tolist():
        try:
            image = validation.read(row)
        except ImageError:
            continue
        image_id = validation.index.image_ids[row]
        people = result.detections.keypoints[result.detections.image_ids == image_id]
        drawing.save_png(folder / f"{image_id}.png", drawing.draw_people(image, people, skeleton))


if __name__ == "__main__":
    run(main)
