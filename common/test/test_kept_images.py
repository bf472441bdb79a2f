# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import common.coco
from common.kept_images import KeptImages

import numpy as np
import pytest


def names(tiny_coco: Path) -> list[str]:
    return sorted(path.name for path in (tiny_coco / "train2017").iterdir())


def read(images: KeptImages, folder: Path, name: str) -> np.ndarray:
    return images.read(folder, name, common.coco.read_image(folder, name).shape[1])


def test_the_images_asked_for_last_are_kept(tiny_coco: Path) -> None:
    folder, (first, second, third, *_) = tiny_coco / "train2017", names(tiny_coco)
    images = KeptImages(2)
    a, b = read(images, folder, first), read(images, folder, second)
    assert read(images, folder, first) is a  # now the second is the oldest
    read(images, folder, third)
    assert read(images, folder, first) is a
    again = read(images, folder, second)
    assert again is not b and np.array_equal(again, b)
    assert np.array_equal(a[..., :3], common.coco.read_image(folder, first))


def test_what_is_kept_cannot_be_changed_and_nothing_is_kept_unasked(tiny_coco: Path) -> None:
    folder, name = tiny_coco / "train2017", names(tiny_coco)[0]
    with pytest.raises(ValueError, match="read-only"):
        read(KeptImages(1), folder, name)[:] = 0
    unkept = KeptImages(0)
    assert read(unkept, folder, name) is not read(unkept, folder, name)


def test_what_is_kept_is_whole_and_what_is_not_has_the_rows_asked_for(tiny_coco: Path) -> None:
    folder, name = tiny_coco / "train2017", names(tiny_coco)[0]
    height, width = common.coco.read_image(folder, name).shape[:2]
    assert KeptImages(1).read(folder, name, width, 20).shape == (height, width, 4)
    assert 20 <= len(KeptImages(0).read(folder, name, width, 20)) < 25 < height


def test_a_missing_image_is_an_error_each_time(tiny_coco: Path) -> None:
    images = KeptImages(1)
    for _ in range(2):
        with pytest.raises(common.coco.ImageError, match=r"absent\.jpg"):
            images.read(tiny_coco / "train2017", "absent.jpg", 1)
