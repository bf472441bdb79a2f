# SPDX-License-Identifier: Apache-2.0
"""COCO -> training batches (spec A6): one composed warp a sample, uint8 out of the workers."""

import os
import stat
import zlib
from pathlib import Path
from typing import Any

import common.coco.images
from common import files
from common.arrays import Float64Array, UInt8Array
from common.cli import UserError
from common.coco.images import warp_image
from common.distributed import main_process_first
from common.skeleton import Skeleton
from common.train.loader import Position, readable_sample
from OpenPose_MindSpore_port import ignore_masks
from OpenPose_MindSpore_port.augmentation import (
    GREY,
    Augmentation,
    Draw,
    change_colours,
    compose,
    draw,
    transform_points,
    usable_cells,
    warp_mask,
)
from OpenPose_MindSpore_port.config import Config
from OpenPose_MindSpore_port.labels import TrainLabels
from OpenPose_MindSpore_port.labels import build as build_labels
from OpenPose_MindSpore_port.model import STRIDE

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LARGEST_PIXEL, OFFSET = 255, 0.5
MASK_FOLDER = "ignore_mask_train"
EVERYBODY_WRITES = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
VISIBLE = 2  # COCO's v of a point that is labelled and seen


def to_points(keypoints: npt.NDArray[Any], skeleton: Skeleton) -> Float64Array:
    """Annotated keypoints as the points that the network learns.

    `keypoints`: (P, num_keypoints, 3) x_img, y_img, v as in COCO. A derived point (the neck) is the mean of its
    sources, visible where all are labelled, otherwise absent. Returns (P, num_points, 3) float64, all 0 where absent.
    """
    known = np.asarray(keypoints, np.float64)
    points = np.zeros((len(known), skeleton.num_points, 3))
    taken = skeleton.keypoint_of_point >= 0
    points[:, taken] = known[:, skeleton.keypoint_of_point[taken]]
    for name, sources in skeleton.derived.items():
        from_points = known[:, [skeleton.keypoints.index(source) for source in sources]]
        labelled = (from_points[..., 2] > 0).all(axis=1)
        derived = points[:, skeleton.points.index(name)]
        derived[labelled, :2] = from_points[labelled, :, :2].mean(axis=1)
        derived[labelled, 2] = VISIBLE
    return points


class TrainSamples:
    """`samples[epoch, index]`: one training sample, random in a way that (seed, epoch, index) decides."""

    def __init__(
        self,
        labels: TrainLabels,
        folder: Path,
        masks: Path,
        skeleton: Skeleton,
        augmentation: Augmentation,
        seed: int,
        skip_bad: bool,
        exif: common.coco.images.Exif = "ignore",
    ) -> None:
        """`masks`: folder of ignore masks."""
        self.labels, self.folder, self.masks, self.skeleton = labels, folder, masks, skeleton
        self.augmentation, self.seed, self.skip_bad = augmentation, seed, skip_bad
        self.exif = exif
        self.points = to_points(labels.index.keypoints, skeleton).astype(np.float32)  # halves of pixels stay exact

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: Position) -> dict[str, Any]:
        """{"image": (insize, insize, 3) uint8 BGR, "usable": (insize/8, insize/8) float32, "points": (P, num_points,
        3) float32 in input pixels, "replaced": 0 or 1}.

        An unreadable image raises ImageError; where bad ones are skipped, the next readable sample takes its place. An
        ignore mask that is damaged or of another size raises UserError.
        """
        epoch, index = position
        random = np.random.default_rng((self.seed, epoch, index))
        return readable_sample(lambda found: self._sample(found, random), len(self), index, self.skip_bad)

    def _sample(self, index: int, random: np.random.Generator) -> dict[str, Any]:
        coco = self.labels.index
        points = self.points[coco.people(index)].astype(np.float64)
        drawn = draw(self.augmentation, len(points), random)
        height, width = coco.image_sizes[index].tolist()
        image = common.coco.images.read_annotated(self.folder, coco.file_name(index), (height, width), self.exif)
        mask = ignore_masks.read(self.masks, int(coco.image_ids[index]), (height, width))
        return self.augmented(image, mask, points, drawn)

    def augmented(
        self, image: UInt8Array, mask: UInt8Array | None, points: Float64Array, drawn: Draw
    ) -> dict[str, Any]:
        """The sample that a draw makes: all in original pixels, `image` (h, w, 3), `mask` (h, w) uint8 of 0 and 255,
        or None."""
        size = self.augmentation.insize
        matrix = compose(points, self.augmentation, drawn)
        crop = warp_image(image, matrix, (size, size), GREY)
        crop = crop if drawn.colour is None else change_colours(crop, drawn.colour)
        masked_in = None if mask is None else warp_mask(mask, matrix, size)
        points_in = transform_points(points, matrix, drawn.flip, self.skeleton)
        return {
            "image": crop,
            "usable": usable_cells(masked_in, size // STRIDE),
            "points": points_in.astype(np.float32),
        }


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Samples as one batch: image (B, 3, S, S) uint8, usable (B, 1, s, s) float32, points (B, P, num_points, 3)
    float32; samples with fewer than P people are filled with people that have no points."""
    most = max(len(sample["points"]) for sample in samples)
    points = np.zeros((len(samples), most, *samples[0]["points"].shape[1:]), np.float32)
    for row, sample in zip(points, samples, strict=True):
        row[: len(sample["points"])] = sample["points"]
    return {
        "image": torch.from_numpy(np.stack([sample["image"] for sample in samples])).permute(0, 3, 1, 2),
        "usable": torch.from_numpy(np.stack([sample["usable"] for sample in samples])[:, None]),
        "points": torch.from_numpy(points),
        "replaced": torch.tensor(sum(sample["replaced"] for sample in samples)),
    }


def normalise(images: Tensor) -> Tensor:
    """uint8 BGR as the network takes it: pixel / 255 - 0.5, float32."""
    return images.float().div_(LARGEST_PIXEL).sub_(OFFSET)  # in place: a fresh tensor of this size is slow


def train_samples(config: Config, skeleton: Skeleton) -> TrainSamples:
    """Everybody to train on; ignore masks are made where there are none."""
    folder = located(config.data_dir, config.train_dir, "--train_dir")
    annotations = located(str(Path(config.data_dir) / "annotations"), config.train_ann, "--train_ann")
    train_labels = build_labels(annotations, config.label_rules, skeleton.num_keypoints)
    masks = main_process_first(lambda: mask_folder(config, annotations, train_labels))
    return TrainSamples(
        train_labels, folder, masks, skeleton, config.augmentation, config.seed, config.on_bad_image == "skip",
        config.exif,
    )  # fmt: skip


def located(data_dir: str, name: str, flag: str) -> Path:
    """A file or folder of the data set, or a path of its own. Raises UserError, naming `flag`."""
    if found := common.coco.images.find(data_dir, name):
        return found
    raise UserError(
        f"{Path(data_dir) / name}: no such file or folder: --data_path is needed, a COCO folder (annotations, "
        f"train2017, val2017) or `mini`; else COCO_HOME, DATA_PATH, ./dataset, ./data/coco; {flag} names another place"
    )


def mask_folder(config: Config, annotations: Path, train_labels: TrainLabels) -> Path:
    """Where the ignore masks are: made there whole or not at all, in output_dir where data_dir is read-only.

    Raises UserError where --maskpath_train is not there.
    """
    if config.maskpath_train:
        return located(config.data_dir, config.maskpath_train, "--maskpath_train")
    of_data = Path(config.data_dir) / MASK_FOLDER
    # the name tells data sets apart that share an output folder
    own = Path(config.output_dir) / f"{MASK_FOLDER}_{zlib.crc32(str(annotations.resolve()).encode()):08x}"
    for folder in (of_data, own):
        if folder.is_dir():
            return folder
    folder = of_data if _is_writable(Path(config.data_dir)) else own
    if not train_labels.masked.any():
        return folder
    files.remove_unfinished(folder.parent)
    growing = files.unfinished_name(folder)
    ignore_masks.write(annotations, growing, config.label_rules)
    try:
        growing.replace(folder)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; name another place with --maskpath_train") from error
    return folder


def _is_writable(folder: Path) -> bool:
    """Whether one may write there; a folder that nobody may write into is left alone, also by the superuser."""
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & EVERYBODY_WRITES)


def mask_note(samples: TrainSamples) -> list[str]:
    """What must be said of images whose other people have no mask; a few have none because nothing is masked."""
    count = ignore_masks.missing(samples.masks, samples.labels)
    if not count:
        return []
    return [
        f"note: {count} images have people who are not learned and no mask in {samples.masks}: they count as "
        "background, unless learned people hide them (python gen_ignore_mask.py writes masks)"
    ]
