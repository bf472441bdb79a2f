# SPDX-License-Identifier: Apache-2.0
"""The images that show a quantiser which values a network sees: prepared exactly as inference prepares them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import common.coco.images
from common.cli import UserError
from common.runtime.session import Array
from Lightweight_OpenPose.inference import InputRule, to_input

import numpy as np

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def choose(calibration_path: str, data_path: Path | None, wanted: int) -> list[Path]:
    """`wanted` images spread evenly over a folder: `calibration_path`, else `train2017` or `val2017` of `data_path`.

    Training images, where they are there, so that the quantised network is judged on others. Raises UserError.
    """
    if wanted < 1:
        raise UserError(f"--calibration_images={wanted}: at least 1")
    folder = Path(calibration_path) if calibration_path else _of_data_set(data_path)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --calibration_path takes a folder of images")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise UserError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}); name another --calibration_path")
    rows = np.unique(np.linspace(0, len(images) - 1, wanted).round().astype(int))
    return [images[row] for row in rows]


def _of_data_set(data_path: Path | None) -> Path:
    if data_path is None:
        raise UserError("--calibration_path is needed: a folder of images like those that the network will see")
    folders = [data_path / f"{split}2017" for split in common.coco.images.SPLITS]
    return next(filter(Path.is_dir, folders), data_path / "train2017")


def inputs(images: Sequence[Path], rule: InputRule) -> Iterator[Array]:
    """(3, H, W) float32 network input of each image. Raises ImageError for an unreadable one."""
    for path in images:
        image = common.coco.images.read_image(path.parent, path.name)
        yield to_input(image, rule.frame(image.shape[:2]))
