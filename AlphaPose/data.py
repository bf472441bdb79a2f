# SPDX-License-Identifier: Apache-2.0
"""COCO -> the people to train on; one composed warp a person, uint8 out of the workers."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import common.coco.images
import common.coco.reader
from AlphaPose.config import Config
from common.arrays import Float64Array
from common.cli import UserError
from common.coco.images import read_annotated, warp_image
from common.distributed import main_process_first
from common.skeleton import Skeleton
from common.topdown import crops
from common.train.loader import Position

import numpy as np
import torch
from torch import Tensor

Split = Literal["TRAIN", "VAL"]
CHANNEL_MEANS = (0.406, 0.457, 0.480)  # of R, G, B: those of B, G, R, which the published weights were trained with
BRIGHTEST, DARK = 255, 1  # a crop without a value above `DARK` is not divided by the brightest

# The dynamic proposals of the second stage: edges of a detector's boxes over those of the person,
# as parts of its width and height: mean and standard deviation, left, top, right, bottom.
EDGE_MEANS = (-0.0142, 0.0043, 0.0154, -0.0013)
EDGE_DEVIATIONS = (0.1158, 0.0680, 0.1337, 0.0711)
SUB_PATCH_ABOVE = 0.85  # a larger random share is that of a patch inside the box, which is taken instead
BORDER = (1, 3)  # pixels that a moved edge stays from the image's first, and from its last


def path_of_key(config: Config, split: Split, name: Literal["ANN", "IMG_PREFIX"]) -> Path:
    """The annotations or the image folder of a part of the data set. Raises UserError, naming the key."""
    root, place = _root(config, split), config.yaml.DATASET[split][name]
    if found := common.coco.images.find(root, place):
        return found
    cure = f"--data_path must be a COCO folder, or `mini`, and DATASET.{split}.{name} a place in it"
    raise UserError(f"{root / place}: no such file or folder; {cure}")


def _root(config: Config, split: Split) -> Path:
    dataset = config.yaml.DATASET
    usual = dataset[split].ROOT or dataset.TRAIN.ROOT
    return main_process_first(lambda: common.coco.images.data_folder(config.data_path, usual))


def with_skeleton(config: Config) -> Config:
    """The settings with the skeleton of the data set, where it has one and the flags name no other."""
    name = common.coco.images.skeleton_name(config.skeleton, Config.skeleton, _root(config, "TRAIN"))
    return dataclasses.replace(config, skeleton=name)


class TrainSamples:
    """`samples[epoch, index]`: one person's crop, random in a way that (seed, epoch, index) decides."""

    def __init__(self, config: Config, skeleton: Skeleton) -> None:
        """All people with a labelled joint. Raises UserError where there are none, or for another skeleton's file."""
        annotations, self.folder = (path_of_key(config, "TRAIN", name) for name in ("ANN", "IMG_PREFIX"))
        self.index = common.coco.reader.load(annotations, skeleton.num_keypoints)
        self.people = crops.labelled_people(self.index)
        if not len(self.people):
            raise UserError(f"{annotations}: no person with labelled joints; `python -m common.coco` checks it")
        self.skeleton, self.config, self.size_in = skeleton, config, config.size_in
        self.augmentation = crops.Augmentation.of(config.yaml.DATASET.TRAIN.AUG)
        self.centres_img, self.sizes_img = crops.fit_boxes(self.people.boxes_img, self.size_in)

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, position: Position) -> dict[str, Any]:
        """{"image": (h, w, 3) uint8 RGB, "joints": (K, 2) float64 input pixels, "visible": (K,) float32}.

        Raises ImageError for an unreadable image.
        """
        (epoch, place), random = position, np.random.default_rng((self.config.seed, *position))
        row, image_row = int(self.people.person_rows[place]), int(self.people.image_rows[place])
        height, width = self.index.image_sizes[image_row].tolist()
        joints, visible = self.index.keypoints[row, :, :2], np.minimum(self.index.keypoints[row, :, 2], 1)
        crop = crops.Crop(self.centres_img[place], self.sizes_img[place])
        if self.config.dpg and epoch >= self.config.yaml.TRAIN.DPG_MILESTONE:
            box = proposal(self.people.boxes_img[place], (height, width), random)
            crop = crops.Crop(*crops.fit_boxes(box, self.size_in))
        crop = self.augmentation.vary(crop, joints, visible, self.skeleton, self.size_in, random)
        matrix = crops.image_to_crop(crop, self.size_in)
        joints, visible = crops.joints_to_crop(joints, visible, matrix, crop.flip, self.skeleton)
        image = read_annotated(self.folder, self.index.file_name(image_row), (height, width), self.config.exif)
        return {
            "image": warp_image(image, matrix, self.size_in, rgb=True),
            "joints": np.where(visible[:, None] > 0, joints, 0.0),
            "visible": visible.astype(np.float32),
        }


def proposal(box_img: Float64Array, size_img: tuple[int, int], random: np.random.Generator) -> Float64Array:
    """A box as a detector might give it, for one (4,) left, top, width, height; inside the image."""
    start, size = box_img[:2], box_img[2:]
    share = random.random()
    if share > SUB_PATCH_ABOVE:
        return np.concatenate([start + random.random(2) * (1 - share) * size, share * size])
    moves = random.normal(EDGE_MEANS, EDGE_DEVIATIONS) * np.tile(size, 2)
    last = np.array([size_img[1], size_img[0]]) - BORDER[1]
    first = np.clip(start + moves[:2], BORDER[0], np.maximum(last, BORDER[0]))
    end = np.minimum(np.maximum(start + size + moves[2:], first + 1), np.maximum(last + 1, first + 1))
    return np.concatenate([first, end - first])


def normalise_batch(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 RGB as the network takes it: float32, a 255th, minus the channels' means."""
    divisor = torch.where(images.amax(dim=(1, 2, 3), keepdim=True) > DARK, float(BRIGHTEST), 1.0)
    means = torch.tensor(CHANNEL_MEANS, device=images.device)
    return images.float().div_(divisor).sub_(means[:, None, None])
