# SPDX-License-Identifier: Apache-2.0
"""Flags -> all that a training run needs, decided before it starts and said aloud."""

import dataclasses
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import common.coco
import common.device
import common.distributed
import common.mini_coco
import common.skeleton
from common.cli import UserError
from common.loader import EpochBatches
from common.log import Log
from common.report import Run
from common.training import Plan
from Lightweight_OpenPose import labels, weights
from Lightweight_OpenPose.config import (
    CPU_IMAGES_PER_PART,
    IMAGES_PER_RANK,
    LEARNING_RATE_PER_IMAGE,
    NETWORK,
    STEP_NAMES,
    Config,
)  # fmt: skip
from Lightweight_OpenPose.data import Augmentation, TrainSamples
from Lightweight_OpenPose.evaluation import Validation, evaluate_while_training

import torch
from torch import nn

PREPARED_LABELS = "prepared_train_annotation.pkl"


@dataclass(frozen=True)
class Setup:
    """A training run: `config` with every open value decided, data, folders, and how a step is divided."""

    config: Config
    skeleton: common.skeleton.Skeleton
    samples: TrainSamples
    folder: Path  # of checkpoints and metrics
    log_folder: Path
    part_size: int  # images that a rank takes at once
    parts: int  # of a rank's step
    num_workers: int

    @property
    def images_per_step(self) -> int:
        """Over all ranks."""
        return self.part_size * self.parts * common.distributed.world_size()

    @property
    def plan(self) -> Plan:
        """What the training loop is told."""
        config = self.config
        return Plan(
            epochs=config.epochs,
            steps_per_epoch=self.positions().steps_per_epoch,
            images_per_step=self.images_per_step,
            parts=self.parts,
            clip_norm=config.clip_norm,
            log_every=config.print_freq,
            evaluate_every=config.eval_freq,
            save_every=config.save_every,
            keep_every=config.keep_every,
        )

    def positions(self, epoch: int = 0, step: int = 0) -> EpochBatches:
        """The batches of the run from a step on."""
        config = self.config
        return EpochBatches(len(self.samples), self.part_size, self.parts, config.seed, config.epochs, epoch, step)

    def log(self, fresh: bool) -> Log:
        """Where the run speaks."""
        return Log(self.metrics_file, self.log_folder, self.folder / "tensorboard", fresh)

    @property
    def metrics_file(self) -> Path:
        """Every number of the run, a line an event."""
        return self.folder / "metrics.jsonl"

    def leave_report(self, began: float) -> None:
        """What the launcher needs to write the result file."""
        if common.distributed.is_main():
            ranks, metrics = common.distributed.world_size(), str(self.metrics_file)
            case = Run(NETWORK, self.config.case, ranks, self.images_per_step, metrics, str(self.folder), began)
            case.leave(self.log_folder)

    def evaluation(
        self, device: torch.device, dtype: torch.dtype | None, log: Log
    ) -> Callable[[nn.Module], dict[str, float]] | None:
        """What the training loop calls at every `eval_freq` epochs; None where it never does."""
        config = self.config
        if not config.eval_freq:
            return None
        annotations, images = config.val_labels, config.val_images_folder
        validation = Validation.load(
            Path(annotations) if annotations else common.coco.annotation_file(config.data_path, "val"),
            Path(images) if images else common.coco.image_folder(config.data_path, "val"),
            self.skeleton,
            num_images=config.val_images,
        )
        return functools.partial(
            evaluate_while_training,
            validation=validation, base_height=config.base_height, skeleton=self.skeleton, device=device,
            dtype=dtype, log=log, pictures=self.folder / "pictures",
        )  # fmt: skip

    def announce(self, log: Log, notes: list[str], device: torch.device, dtype: torch.dtype | None) -> None:
        """Says what will run, and writes the whole configuration into the metrics."""
        config, ranks = self.config, common.distributed.world_size()
        log.line(f"checkpoint_folder :  {self.folder}")
        log.line(f"device: {common.device.describe(device)}, rank: {common.distributed.rank()} / {ranks}")
        for note in notes:
            log.line(note)
        log.line(
            f"{len(self.samples)} samples, {self.images_per_step} images a step ({ranks} ranks x {self.parts} parts x "
            f"{self.part_size}), learning rate {config.base_lr:.3g}, {self.num_workers} workers a rank"
        )
        precision = "float32" if dtype is None else str(dtype).removeprefix("torch.")
        beyond = "; O2 does no more than O1: weights stay float32" if config.amp == "O2" else ""
        log.line(f"precision {config.amp}: {precision}, loss scale {config.loss_scale}{beyond}")
        log.record("start", config=dataclasses.asdict(config), samples=len(self.samples), ranks=ranks, notes=notes,
                   images_per_step=self.images_per_step, device=common.device.describe(device))  # fmt: skip


def prepare(flags: Config, device: torch.device) -> Setup:
    """Decides what the flags left open. Raises UserError, naming flag or file, where the run cannot be."""
    skeleton = common.skeleton.load(flags.skeleton)
    ranks = common.distributed.world_size()
    name = flags.experiment_name or (f"perf_{ranks}p" if flags.case == "perf" else STEP_NAMES[flags.step])
    data_path = _on_main_first(lambda: str(common.mini_coco.resolve(flags.data_path))) if flags.data_path else ""
    config = dataclasses.replace(flags, data_path=data_path, experiment_name=name)
    samples = _train_samples(config, skeleton)
    part_size, parts = _divide(config, len(samples), ranks, device)
    base_lr = config.base_lr or LEARNING_RATE_PER_IMAGE * part_size * parts * ranks
    return Setup(
        config=dataclasses.replace(config, base_lr=base_lr, batch_size=part_size * parts * ranks),
        skeleton=skeleton,
        samples=samples,
        folder=weights.run_folder(config.output_dir, name),
        log_folder=Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0"),
        part_size=part_size,
        parts=parts,
        num_workers=_workers(config.num_workers, device),
    )


def _train_samples(config: Config, skeleton: common.skeleton.Skeleton) -> TrainSamples:
    images = config.train_images_folder
    folder = Path(images) if images else common.coco.image_folder(config.data_path, "train")
    prepared = Path(config.prepared_train_labels or Path(config.output_dir) / PREPARED_LABELS)
    if not config.prepared_train_labels:
        annotations = common.coco.annotation_file(config.data_path, "train")
        _on_main_first(lambda: _prepare_labels(prepared, annotations, config.net_input_size, skeleton.num_keypoints))
    train_labels = labels.read(prepared)
    if train_labels.index.keypoints.shape[1] != skeleton.num_keypoints:
        raise UserError(
            f"{prepared}: people have {train_labels.index.keypoints.shape[1]} keypoints, those of --skeleton="
            f"{config.skeleton} {skeleton.num_keypoints}: name the skeleton of these labels"
        )
    augmentation = Augmentation(
        config.net_input_size, config.person_height, config.scale_min, config.scale_max, config.rotation, config.shift,
        config.flip,
    )  # fmt: skip
    return TrainSamples(train_labels, folder, skeleton, augmentation, config.seed, config.on_bad_image == "skip")


def _prepare_labels(prepared: Path, annotations: Path, net_input_size: int, num_keypoints: int) -> None:
    """Prepares labels where they are missing, or were made from another annotation file than this one."""
    if not labels.is_current(prepared, annotations, net_input_size):
        labels.write(labels.build(annotations, net_input_size, num_keypoints), prepared)


def _on_main_first(make: Callable[[], object]) -> str:
    """Calls `make` on rank 0, then on the others, which find what it has written; returns the result as text."""
    if common.distributed.is_main():
        result = make()
        common.distributed.barrier()
    else:
        common.distributed.barrier()
        result = make()
    return str(result)


def _divide(config: Config, num_samples: int, ranks: int, device: torch.device) -> tuple[int, int]:
    """Images that a rank takes at once, and how often in a step."""
    wanted = config.batch_size or IMAGES_PER_RANK * ranks
    a_rank = min(wanted, num_samples) // ranks
    if not a_rank:
        raise UserError(
            f"{min(wanted, num_samples)} images a step for {ranks} ranks: type --ranks={num_samples} at most"
        )
    limit = config.part_size or (CPU_IMAGES_PER_PART if device.type == "cpu" else a_rank)
    parts = -(-a_rank // limit)
    return a_rank // parts, parts


def _workers(wanted: int, device: torch.device) -> int:
    """One a core that this rank may use; a CPU that trains needs its cores itself."""
    if wanted >= 0:
        return wanted
    if device.type == "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
