# SPDX-License-Identifier: Apache-2.0
"""AP of a checkpoint on COCO keypoints, with the protocol of the publication.

bash test/eval.sh --data_path=/data/coco --step=1 --checkpoint_path=model_best.pth
python -m Lightweight_OpenPose.eval --data_path=mini --checkpoint_path=model_best.pth --save_images=8 --multiscale

Writes detections.json, metrics.jsonl, pictures and a result file into eval_step<step>.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import common.coco.images
import common.device
import common.distributed
import common.media.drawing
import common.skeleton
import common.train.checkpoint
from common.bottomup import pipeline
from common.bottomup.pipeline import BottomUpNetwork, Evaluation, Maps
from common.cli import UserError, flag, parse, run
from common.coco.evaluate import EvaluationSet
from common.coco.images import Exif
from common.media import error_report
from common.media.sheets import draw_sheet, leave_sheet
from common.report import Run
from common.runtime.session import PYTORCH, ComputeFlags, of_module
from common.train.log import Log
from common.train.state import TrainState
from Lightweight_OpenPose import config as training
from Lightweight_OpenPose import weights
from Lightweight_OpenPose.config import ALIASES, MODEL_FOLDER, NETWORK, RETIRED, STEP_NAMES
from Lightweight_OpenPose.decode import DecodedPeople, DecodeRules, decode_scales, to_coco
from Lightweight_OpenPose.predict import (
    MULTI_SCALE,
    SINGLE_SCALE,
    InputRule,
    Letterbox,
    PoseEstimator,
    open_session,
    to_input,
)

import torch
from torch import nn

PUBLISHED_HEIGHT = 368  # of an image in the network, input pixels
ACCELERATOR_BATCH, CPU_BATCH = 32, 2  # images at once; a CPU gains nothing from more
MAX_PEAKS_IN_TRAINING = 100  # of one type: early maps are noise with thousands; no image has as many people
SHEET_ROWS = 6  # images shown at each evaluation while training
SIDES = 2  # of an input: height and width


@dataclass(frozen=True)
class Config(ComputeFlags):
    """Evaluates a checkpoint of Lightweight OpenPose."""

    data_path: str = flag("COCO folder (annotations, val2017), or `mini`; empty: COCO_HOME or ./data/coco", "")
    step: int = flag(
        "names the output folder, and the training step whose best checkpoint is taken", 1, least=1, most=3
    )
    checkpoint_path: str = flag(
        "a file (.pth, or exported: .onnx, .xml, .om) or a published name; empty: the best of --step", ""
    )
    output_dir: str = flag("folder of checkpoints and results", str(MODEL_FOLDER))
    log_dir: str = flag("folder of each rank's log and the result file; empty: output_dir/test/output/0", "")
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "openpose")
    val_labels: str = flag("annotations; empty: data_path/annotations/person_keypoints_val2017.json", "")
    val_images_folder: str = flag("folder of validation images; empty: data_path/val2017", "")
    val_images: int = flag("number of images, chosen as by `make_val_subset.py`; 0: all", 0)
    base_height: int = flag(
        "height of an image in the network, input pixels; 0: as the checkpoint was trained, or 368", 0, most=4096
    )
    input_size: tuple[int, ...] = flag(
        "height,width of one input that every image is put into, as the offline inference does; empty: by height",
        (),
        least=1,
        most=4096,
    )
    multiscale: bool = flag("mean of the maps at 0.5, 1, 1.5 and 2 times that height", False)
    half_pixel: bool = flag("the publication's shift of keypoints by half a pixel; without it AP rises a little", True)
    batch_size: int = flag("images of one size at once; 0: 32, on a CPU 2", 0, most=10**6)
    num_workers: int = flag("threads that read images ahead, a batch each", 4, least=1, most=1024)
    exif: Exif = flag("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or count it as without people", "error")
    output_name: str = flag("file of the detections", "detections.json")
    save_images: int = flag("number of images to draw: ground truth beside prediction", 0)
    report: bool = flag("also write report.html, a page of where the network fails, and report.json", False)
    weights_only: bool = flag("accepted as published", False)


def main() -> None:
    """Reads the flags, evaluates, leaves detections, metrics, pictures and a result file."""
    began = time.time()
    config = parse(
        Config, {}, aliases={**ALIASES, "labels": "val_labels", "images_folder": "val_images_folder"}, retired=RETIRED
    )
    if config.step not in STEP_NAMES:
        raise UserError(f"--step={config.step}: choose 1, 2 or 3")
    if config.input_size and (len(config.input_size) != SIDES or config.multiscale):
        raise UserError("--input_size=368,640 is one height and width, without --multiscale")
    folder = Path(config.output_dir) / f"eval_step{config.step}"
    log_folder = Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0")
    with common.distributed.process_group(config.device) as device:
        with Log(folder / "metrics.jsonl", log_folder, fresh=True) as log:
            run_evaluation(config, device, folder, log)
        if common.distributed.is_main():
            Run(NETWORK, "eval", 1, 1, str(folder / "metrics.jsonl"), str(folder), began).leave(log_folder)


def run_evaluation(config: Config, device: torch.device, folder: Path, log: Log) -> None:
    """Evaluates as `config` says and writes the results into `folder`."""
    config = _find_data(config)
    skeleton = common.skeleton.load(config.skeleton)
    source = _checkpoint(config)
    session = open_session(source, config.options(device, common.distributed.local_rank()), skeleton)
    content = common.train.checkpoint.read(source) if source.suffix in PYTORCH else {}
    trained_height = int(content.get("config", {}).get("base_height", PUBLISHED_HEIGHT))
    rule = InputRule(config.base_height or trained_height, config.input_size or None)
    estimator = PoseEstimator.of_session(session, skeleton, DecodeRules(half_pixel=config.half_pixel))
    validation = load_validation(config, skeleton)
    scales = MULTI_SCALE if config.multiscale else SINGLE_SCALE
    result = evaluate(
        estimator,
        validation,
        rule,
        config.batch_size or session.fixed_batch or default_batch(device),
        scales,
        config.on_bad_image == "skip",
        config.num_workers,
    )
    result.log(
        log,
        {
            "annotations": str(validation.annotations),
            "images": result.num_images,
            "checkpoint": str(source),
            "refinement_stages": weights.count_refinement_stages(content) if content else len(session.outputs) // 2 - 1,
            "runtime": session.runtime,
            "base_height": rule.base_height,
            "input_size": config.input_size,
            "scales": scales,
            "precision": config.amp,
            "half_pixel": config.half_pixel,
            "skipped": len(result.skipped),
        },
    )
    log.line(f"final eval acc:{result.metrics['AP']:.4f}")
    if common.distributed.is_main():
        result.detections.write_json(folder / config.output_name)
        if config.report:
            error_report.write(validation, result.detections, skeleton, folder)
        if config.save_images:
            sheet = draw_sheet(validation, result.detections, skeleton, config.save_images)
            common.media.drawing.save_png(folder / "pictures.png", sheet)


def _checkpoint(config: Config) -> Path:
    if config.checkpoint_path:
        return weights.locate_checkpoint(config.checkpoint_path)
    best = weights.run_folder(config.output_dir, STEP_NAMES[config.step]) / common.train.checkpoint.BEST
    if not best.is_file():
        raise UserError(f"--checkpoint_path is needed: step {config.step} has left no {best}")
    return best


def _find_data(config: Config) -> Config:
    own = Path(config.data_path) if config.val_images_folder else None
    data_path = common.coco.images.data_folder(config.data_path, otherwise=own)
    skeleton = common.coco.images.skeleton_name(config.skeleton, Config.skeleton, data_path)
    return dataclasses.replace(config, data_path=str(data_path), skeleton=skeleton)


def load_validation(config: Config | training.Config, skeleton: common.skeleton.Skeleton) -> EvaluationSet:
    """The images to evaluate on, with what is annotated in them. Raises UserError where they are not there."""
    return EvaluationSet.load(
        Path(config.val_labels) if config.val_labels else common.coco.images.annotation_file(config.data_path, "val"),
        Path(config.val_images_folder)
        if config.val_images_folder
        else common.coco.images.image_folder(config.data_path, "val"),
        skeleton,
        config.val_images,
        config.exif,
    )


def evaluate(
    estimator: PoseEstimator,
    validation: EvaluationSet,
    rule: InputRule,
    batch_size: int,
    scales: tuple[float, ...] = SINGLE_SCALE,
    skip_bad: bool = False,
    readers: int = pipeline.READERS,
) -> Evaluation:
    """AP over all images of `validation`; every rank takes its share of them and gets the whole result.

    Reading, the network and decoding work side by side. Raises ImageError for an unreadable image, unless `skip_bad`:
    then it is counted and has no people.
    """
    network = BottomUpNetwork[Letterbox](
        estimator.skeleton,
        letterboxes=lambda size_img: [rule.letterbox(size_img, scale) for scale in scales],
        size_in=lambda place: place.input_size,
        to_input=to_input,
        maps=estimator.maps,
        people=lambda maps, letterboxes: _people(estimator, maps, letterboxes),
        to_coco=lambda people: to_coco(people, estimator.skeleton, estimator.rules),
    )
    return pipeline.evaluate(network, validation, batch_size, skip_bad, readers)


def _people(
    estimator: PoseEstimator, maps: Sequence[Maps], letterboxes: Sequence[Sequence[Letterbox]]
) -> list[DecodedPeople]:
    """The people of each image; those of several scales are found in the mean of their maps."""
    if len(maps) == 1:
        return estimator.people(maps[0], letterboxes[0])
    return [_people_of_scales(estimator, maps, letterboxes, position) for position in range(len(letterboxes[0]))]


def _people_of_scales(
    estimator: PoseEstimator, maps: Sequence[Maps], letterboxes: Sequence[Sequence[Letterbox]], position: int
) -> DecodedPeople:
    scales = [
        (heatmaps[position], pafs[position], places[position].geometry)
        for (heatmaps, pafs), places in zip(maps, letterboxes, strict=True)
    ]
    return decode_scales(scales, estimator.skeleton, estimator.rules)


def while_training(
    validation: EvaluationSet, base_height: int, skeleton: common.skeleton.Skeleton, state: TrainState, log: Log
) -> Callable[[nn.Module], dict[str, float]]:
    """Measures the weights as they are; a sheet of predictions goes to TensorBoard and the run's folder."""

    def measured(model: nn.Module) -> dict[str, float]:
        session = of_module(model.eval(), state.device, state.dtype)
        estimator = PoseEstimator.of_session(session, skeleton, DecodeRules(max_peaks=MAX_PEAKS_IN_TRAINING))
        result = evaluate(estimator, validation, InputRule(base_height), default_batch(state.device))
        log.line(f"evaluate elapsed time : {result.seconds['total']:.1f} s, {result.num_images} images")
        leave_sheet(log, state.store.folder / "pictures", validation, result.detections, skeleton, SHEET_ROWS)
        return result.metrics

    return measured


def default_batch(device: torch.device) -> int:
    """Images of one size that are worth taking at once."""
    return CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH


if __name__ == "__main__":
    run(main)
