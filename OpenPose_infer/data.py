# SPDX-License-Identifier: Apache-2.0
"""The annotated images that AP is measured on, and the flags that name them."""

from dataclasses import dataclass
from pathlib import Path

import common.coco.images
from common.cli import flag
from common.coco.evaluate import EvaluationSet
from common.coco.images import Exif
from common.skeleton import Skeleton


@dataclass(frozen=True)
class DataFlags:
    """Which images: the flags of every program that measures AP."""

    data_path: str = flag("COCO folder (annotations, val2017), or `mini`; empty: COCO_HOME or ./data/coco", "")
    labels: str = flag("annotations; empty: data_path/annotations/person_keypoints_val2017.json", "")
    images_folder: str = flag("folder of validation images; empty: data_path/val2017", "")
    val_images: int = flag("number of images, chosen as by `make_val_subset.py`; 0: all", 0)
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "openpose")


def data_path(config: DataFlags) -> Path:
    """The folder of the data set. Raises UserError where there is none and flags do not name labels and images."""
    own = Path(config.data_path) if config.labels and config.images_folder else None
    return common.coco.images.data_folder(config.data_path, otherwise=own)


def evaluation_set(config: DataFlags, folder: Path, skeleton: Skeleton, exif: Exif = "ignore") -> EvaluationSet:
    """The images of `labels` and `images_folder`, else the validation images of the data set in `folder`."""
    labels = config.labels or common.coco.images.annotation_file(folder, "val")
    images = config.images_folder or common.coco.images.image_folder(folder, "val")
    return EvaluationSet.load(Path(labels), Path(images), skeleton, config.val_images, exif)
