# SPDX-License-Identifier: Apache-2.0
"""COCO, CrowdPose or OCHuman -> the people to train on; one composed warp a box, uint8 out of the workers."""

import dataclasses
from pathlib import Path
from typing import Any

import common.coco.images
import common.coco.reader
from common.arrays import Float64Array, FloatArray, Int64Array
from common.cli import UserError
from common.coco.images import read_annotated, warp_image
from common.distributed import main_process_first
from common.skeleton import Skeleton
from common.topdown import crops
from common.topdown.crops import PersonBoxes
from common.train.loader import Position
from MIPNet.config import SKELETONS, Config

import numpy as np
import torch
from torch import Tensor

BRIGHTEST = 255
# of channels 1 to 3, whatever colours these are: ImageNet's, of R, G, B
CHANNEL_MEANS, CHANNEL_DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FEWEST_OF_THE_OTHER = 3  # visible joints: the other person in a box must have more, else the first is taken again


def neighbours(people: PersonBoxes) -> Int64Array:
    """(P,) the place of the person whose box's centre is nearest in the same image; its own if it is alone.

    The first of several that are as near.
    """
    centres, nearest = people.boxes_img[:, :2] + people.boxes_img[:, 2:] / 2, np.arange(len(people))
    for _, places in people.by_image():
        if len(places) > 1:
            away = np.square(centres[places, None] - centres[places]).sum(axis=2)
            np.fill_diagonal(away, np.inf)
            nearest[places] = places[away.argmin(axis=1)]
    return nearest


def resolve_data_folder(config: Config) -> Config:
    """The settings with the folder of the data set in `data_path`, and its own skeleton. Raises UserError."""
    folder = main_process_first(lambda: common.coco.images.data_folder(config.data_path, config.root))
    skeleton = common.coco.images.skeleton_name(config.skeleton, SKELETONS[config.data_set], folder)
    return dataclasses.replace(config, data_path=str(folder), skeleton=skeleton)


def path_of_key(config: Config, key: str) -> Path:
    """The file or folder of a key of DATASET or TEST: in --data_path, else a path of its own. Raises UserError."""
    section, name = key.split(".")
    path = config.yaml[section][name]
    if found := common.coco.images.find(config.root, path):
        return found
    raise UserError(
        f"{Path(config.root) / path}: no such file or folder: --data_path must be the folder of the data set, or "
        f"`mini`; {key} names another place"
    )


class TrainSamples:
    """`samples[epoch, index]`: the crop of one person's box, random in a way that (seed, epoch, index) decides."""

    def __init__(self, config: Config, skeleton: Skeleton) -> None:
        """All people with a joint and a box in the image.

        Raises UserError where there are none, or the annotations are of another skeleton.
        """
        annotations = path_of_key(config, "DATASET.TRAIN_ANNOTATION_FILE")
        self.folder = path_of_key(config, "DATASET.TRAIN_IMAGE_DIR")
        self.index = common.coco.reader.load(annotations, skeleton.num_keypoints)
        self.people = crops.labelled_people(self.index, lenient=True)
        if not len(self.people):
            raise UserError(f"{annotations}: no person with labelled joints; `python -m common.coco` checks it")
        self.skeleton, self.config, self.size_in = skeleton, config, config.size_in
        self.augmentation = crops.Augmentation.of(config.yaml.DATASET)
        padding = config.yaml.TEST.SCALE_THRE
        self.centres_img, self.sizes_img = crops.fit_boxes(self.people.boxes_img, self.size_in, padding)
        self.others = neighbours(self.people) if config.takes_lambda else None

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, position: Position) -> dict[str, Any]:
        """{"image": (h, w, 3) uint8, "joints": (K, 2) float64 input pixels, "visible": (K,) float32}.

        The channels are R, G, B, or B, G, R where the network takes these (COLOR_RGB). Of a data set of pairs, joints
        (2, K, 2) and visible (2, K) are of the person of the box and of the other one. Raises ImageError for an
        unreadable image.
        """
        place, random = position[1], np.random.default_rng((self.config.seed, *position))
        rows = self.people.person_rows[[place] if self.others is None else [place, self.others[place]]]
        image_row = int(self.people.image_rows[place])
        height, width = self.index.image_sizes[image_row].tolist()
        joints, visible = self.index.keypoints[rows, :, :2], np.minimum(self.index.keypoints[rows, :, 2], 1)
        crop = crops.Crop(self.centres_img[place], self.sizes_img[place])
        crop = self.augmentation.vary(crop, joints[0], visible[0], self.skeleton, self.size_in, random)
        matrix = crops.image_to_crop(crop, self.size_in)
        joints, visible = crops.joints_to_crop(joints, visible, matrix, crop.flip, self.skeleton)
        if self.others is None:
            joints, visible = joints[0], visible[0]
        else:
            joints, visible = pair_in_box(joints, visible, self.size_in)
        image = read_annotated(self.folder, self.index.file_name(image_row), (height, width), self.config.exif)
        return {
            "image": warp_image(image, matrix, self.size_in, rgb=self.config.yaml.DATASET.COLOR_RGB),
            "joints": np.where(visible[..., None] > 0, joints, 0.0),
            "visible": visible.astype(np.float32),
        }


def pair_in_box(joints: Float64Array, visible: FloatArray, size_in: crops.Size) -> tuple[Float64Array, FloatArray]:
    """Two people in the crop of the first: joints (2, K, 2) float64, input pixels, and visibility (2, K), in and out.

    Joints outside the crop are not visible; if few of the other person's remain, the first is taken twice.
    """
    visible = visible * ((joints >= 0) & (joints <= size_in[::-1])).all(axis=2)
    if visible[1].sum() <= FEWEST_OF_THE_OTHER:
        return joints[[0, 0]], visible[[0, 0]]
    return joints, visible


def normalise_batch(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 as the network takes it: float32, (pixel / 255 - mean) / deviation of each channel.

    The means are those of the first, second and third channel, in either order, R, G, B or B, G, R.
    """
    means, deviations = (torch.tensor(values, device=images.device) for values in (CHANNEL_MEANS, CHANNEL_DEVIATIONS))
    factors, shifts = 1 / (BRIGHTEST * deviations), means / deviations
    return images.float().mul_(factors[:, None, None]).sub_(shifts[:, None, None])
