# SPDX-License-Identifier: Apache-2.0
"""Crowd regions in any of COCO's notations are the masks that COCO's own tool makes of them."""

import json
from pathlib import Path

from common.coco import annotations, images, reader
from common.coco.mini import dataset

import numpy as np
import pytest
from pycocotools import mask as masks

# pycocotools' compiled part has not learnt a word of numpy 2.4 yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def load(folder: Path, content: dict) -> annotations.CocoIndex:
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return reader.load(path)


def person(**changes) -> dict:
    return {"id": 7, "image_id": 1, "keypoints": [5, 6, 2] * 3, "bbox": [1, 2, 30, 40], **changes}


def one_person(**changes) -> dict:
    image = {"id": 1, "file_name": "a.jpg", "height": 60, "width": 80}
    return {"images": [image], "annotations": [person(**changes)]}


HEIGHT, WIDTH = 30, 41
POLYGONS = [[3.5, 2.0, 30.2, 4.0, 20.0, 25.5], [0, 0, 5, 0, 5, 5, 0, 5]]


def regions() -> dict[str, object]:
    """One region in COCO's three notations, by COCO's own tool."""
    compressed = masks.merge(masks.frPyObjects(POLYGONS, HEIGHT, WIDTH))
    uncompressed = dataset.run_lengths(masks.decode(compressed).astype(bool))
    return {
        "polygons": POLYGONS,
        "compressed": {"size": [HEIGHT, WIDTH], "counts": compressed["counts"].decode()},
        "uncompressed": uncompressed,
    }


@pytest.mark.parametrize("kind", ["polygons", "compressed", "uncompressed"])
def test_crowd_mask_is_that_of_cocos_tool(tmp_path, kind):
    content = one_person(iscrowd=1, segmentation=regions()[kind])
    content["images"][0].update(height=HEIGHT, width=WIDTH)
    mask = images.crowd_mask(load(tmp_path, content), 0)
    truth = 1 - masks.decode(masks.merge(masks.frPyObjects(POLYGONS, HEIGHT, WIDTH)))
    assert mask is not None and mask.dtype == np.uint8 and mask.flags.c_contiguous
    assert 0 < mask.sum() < mask.size
    np.testing.assert_array_equal(mask, truth)


def test_run_lengths_and_masks_are_one_another_s_inverse():
    rng = np.random.default_rng(0)
    for mask in (rng.integers(0, 2, (7, 5)), np.ones((3, 4), int), np.zeros((3, 4), int)):
        compressed = masks.encode(np.asfortranarray(mask, np.uint8))
        runs = annotations.run_lengths(compressed, *mask.shape)
        outside = annotations.outside(runs).reshape(mask.shape[::-1]).T
        np.testing.assert_array_equal(outside, 1 - mask)


def test_several_crowds_are_all_left_out_and_others_count_only_as_boxes(tmp_path):
    content = one_person(iscrowd=1, segmentation=regions()["polygons"])
    content["annotations"].append(person(id=8, iscrowd=1, bbox=[60, 40, 10, 5]))  # without segmentation: its box
    content["annotations"].append(person(id=9, iscrowd=0, segmentation=[[0, 0, 80, 0, 80, 60]]))
    content["images"].append({"id": 2, "file_name": "b.jpg", "height": 60, "width": 80})
    index = load(tmp_path, content)
    mask = images.crowd_mask(index, 0)
    assert mask is not None and mask.shape == (60, 80)
    assert not mask[40:45, 60:70].any() and mask[46:, 50:].all() and not mask[10, 15]
    assert images.crowd_mask(index, 1) is None


def test_a_polygon_far_outside_asks_for_no_memory():
    huge = annotations.run_lengths([[-1e12, -1e12, 1e12, -1e12, 1e12, 1e12, -1e12, 1e12]], HEIGHT, WIDTH)
    assert not annotations.outside(huge).any()
    with pytest.raises(ValueError, match="image of"):
        annotations.run_lengths(POLYGONS, 10**6, 10**6)
