# SPDX-License-Identifier: Apache-2.0
from functools import cache
from pathlib import Path
from typing import Any

from common.skeleton import COCO
from common.test import top_down_golden as golden
from common.topdown import crops, heatmaps, targets
from common.topdown.crops import Augmentation, Crop
from MIPNet.decode import REFINE

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

SEED = 7
PEOPLE = {"w48_384x288": 4, "w32_256x192": 8, "alphapose": 8}  # people in the decoding cases
FLIP = COCO.keypoint_flip
EQUAL_IMG = 1e-3  # pixels


@cache
def golden_maps(shared: Path, tag: str) -> tuple[Tensor, Tensor]:
    """Heatmaps, and those of the mirrored image."""
    people = golden.people(shared, tag)[: PEOPLE[tag]]
    maps, mirrored = golden.decode_inputs(shared).make(np.stack([person["target"] for person in people]), SEED)
    return torch.from_numpy(maps), torch.from_numpy(mirrored)


def case_maps(shared: Path, tag: str, case: str) -> Tensor:
    maps, mirrored = golden_maps(shared, tag)
    edge = torch.from_numpy(golden.decode_inputs(shared).edge_case(*golden.map_size(tag)))
    return {"plain": maps, "edge": edge, "flip": heatmaps.merge_flip(maps, mirrored, FLIP)}[case]


def golden_crops(shared: Path, tag: str, count: int) -> tuple[Any, Any]:
    people = golden.people(shared, tag)[:count]
    if tag == "alphapose":  # it keeps the crop as a box
        corners = np.stack([person["bbox_out"] for person in people])
        return (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    return np.stack([person["center"] for person in people]), np.stack([person["scale"] for person in people])


@pytest.mark.parametrize("refinement, post", [("quarter", 1), ("none", 0)])
@pytest.mark.parametrize("case", ["plain", "flip", "edge"])
@pytest.mark.parametrize("tag", ["w48_384x288", "w32_256x192"])
def test_golden_mipnet(shared: Path, tag: str, case: str, refinement: Any, post: int) -> None:
    """Bit for bit; the image coordinates up to one rounding of float32."""
    expected = golden.arrays(shared, "decode_mipnet")
    maps = case_maps(shared, tag, case)
    cells, scores = heatmaps.decode(maps, REFINE[refinement], keep_zero=True)
    assert (scores.numpy()[..., None] == expected[f"{tag}/{case}/post{post}/scores"]).all()
    joints = heatmaps.cells_to_image(cells, *golden_crops(shared, tag, len(maps)), golden.map_size(tag))
    assert joints.dtype == np.float32
    np.testing.assert_allclose(joints, expected[f"{tag}/{case}/post{post}/coords"], atol=EQUAL_IMG)
    highest = heatmaps.decode(maps, None, keep_zero=True)[0]
    assert (highest.numpy() == expected[f"{tag}/{case}/post{post}/argmax"]).all()


@pytest.mark.parametrize("seed", range(3))
def test_encode_and_decode_return_the_joints(seed: int) -> None:
    """Any rotation, scale and flip: a joint comes back within half a cell on each axis."""
    random, size_in, stride = np.random.default_rng(seed), (256, 192), 4
    map_size = (size_in[0] // stride, size_in[1] // stride)
    for _ in range(20):
        joints = random.uniform([200, 100], [260, 220], (COCO.num_keypoints, 2))
        everyone = np.ones(COCO.num_keypoints)
        upright = Crop(*crops.fit_boxes([190, 90, 80, 140], size_in))
        crop = Augmentation(rotation_factor=20).vary(upright, joints, everyone, COCO, size_in, random)
        matrix = crops.image_to_crop(crop, size_in)
        joints_in, seen = crops.joints_to_crop(joints, everyone, matrix, crop.flip, COCO)
        inside = ((joints_in >= 0) & (joints_in < np.array(size_in[::-1]) - stride / 2)).all(axis=1)
        maps, weights = targets.encode(
            torch.from_numpy(joints_in)[None], torch.from_numpy(seen)[None], map_size, stride, 2
        )
        cells = heatmaps.decode(maps, None)[0][0].numpy()
        assert inside.sum() > 4 and (weights[0].numpy()[inside] == 1).all()
        back = crops.transform(cells * stride, cv2.invertAffineTransform(matrix))
        back = back[FLIP] if crop.flip else back
        kept = inside[FLIP] if crop.flip else inside
        image_per_cell = crop.size_img[0] / map_size[1]
        assert np.linalg.norm(back - joints, axis=1)[kept].max() <= np.sqrt(0.5) * image_per_cell * (1 + 1e-6)


@pytest.mark.parametrize("keep_zero, cell", [(True, [3.0, 4.0]), (False, [0.0, 0.0])])
def test_a_map_without_a_value_above_zero(keep_zero: bool, cell: list[float]) -> None:
    maps = torch.full((1, 1, 8, 6), -1.0)
    maps[0, 0, 4, 3] = 0
    assert heatmaps.decode(maps, None, keep_zero)[0][0, 0].tolist() == cell
    assert heatmaps.decode(maps - 1, keep_zero=keep_zero)[0][0, 0].tolist() == [0, 0]
