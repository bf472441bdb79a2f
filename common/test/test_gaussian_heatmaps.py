# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path
from typing import Any

from common.skeleton import COCO
from common.test import top_down_golden as golden
from common.topdown import crops, targets

import numpy as np
import pytest
import torch

MAP_SIZE = (24, 18)
STRIDE = 4


def plain(joints_in: Any, visible: Any, map_size: tuple[int, int], stride: float, sigma: int) -> tuple[Any, Any]:
    """The published rule, joint by joint, cell by cell."""
    height, width = map_size
    maps, weights = np.zeros((len(joints_in), height, width), np.float32), np.array(visible, np.float32)
    for k, (x, y) in enumerate(joints_in):
        column, row = math.trunc(x / stride + 0.5), math.trunc(y / stride + 0.5)
        reach = 3 * sigma
        if column - reach >= width or row - reach >= height or column + reach + 1 < 0 or row + reach + 1 < 0:
            weights[k] = 0
        for j in range(height) if weights[k] > 0.5 else ():
            for i in range(width):
                if max(abs(i - column), abs(j - row)) <= reach:
                    maps[k, j, i] = math.exp(-((i - column) ** 2 + (j - row) ** 2) / (2 * sigma**2))
    return maps, weights


def check(case: dict[str, Any], prefix: str, joints: Any, visible: Any, tag: str) -> None:
    tensors = torch.as_tensor(joints)[None], torch.as_tensor(visible)[None]
    maps, weights = targets.encode(*tensors, golden.map_size(tag), golden.STRIDE, golden.SIGMAS[tag])
    assert maps.dtype == weights.dtype == torch.float32
    assert (weights[0].numpy() == case[f"{prefix}target_weight"].reshape(-1)).all()
    if f"{prefix}target" in case:
        expected = case[f"{prefix}target"]
        np.testing.assert_allclose(maps[0].numpy(), expected, rtol=0, atol=2e-7)
        assert ((maps[0].numpy() == 0) == (expected == 0)).all()


@pytest.mark.parametrize("tag", golden.TAGS)
def test_golden_targets(shared: Path, tag: str) -> None:
    compared = 0
    for person in golden.people(shared, tag):
        for prefix in ("", "aug_", "lambda_A_", "lambda_B_"):
            if f"{prefix}joints" in person:
                compared += 1
                check(person, prefix, person[f"{prefix}joints"], person[f"{prefix}vis"], tag)
    assert compared == (0 if tag == "alphapose" else 4 * golden.PEOPLE)


def test_golden_targets_of_alphapose(shared: Path) -> None:
    """Its joints in the crop are not recorded: they come through the crop's matrix."""
    for person in golden.people(shared, "alphapose"):
        check(person, "", crops.transform(person["joints_in"], person["trans"]), person["vis"], "alphapose")
        width_img, flip = golden.image(shared, person).shape[1], bool(person["aug_flip"])
        crop = golden.augmented_crop(person, width_img)
        matrix = crops.image_to_crop(crop, golden.SIZES_IN["alphapose"])
        joints, visible = crops.joints_to_crop(person["joints_in"], person["vis"], matrix, flip, COCO)
        check(person, "aug_", joints, visible, "alphapose")


@pytest.mark.parametrize("sigma", [1, 2, 3])
def test_equal_to_the_plain_rule(sigma: int) -> None:
    """Joints inside, on borders and far outside; hidden ones; the cells in which the patch test says yes and no."""
    random = np.random.default_rng(sigma)
    joints = random.uniform(-60, 140, (40, 2))
    edges = np.array([-1, 0, 1])[:, None] * STRIDE + np.array([-3 * sigma - 1, 3 * sigma + MAP_SIZE[1]]) * STRIDE
    joints = np.vstack([joints, [[x, 30.0] for x in edges.ravel()], [[30.0, y] for y in edges.ravel()]])
    visible = random.integers(0, 2, len(joints))
    maps, weights = targets.encode(
        torch.as_tensor(joints)[None], torch.as_tensor(visible)[None], MAP_SIZE, STRIDE, sigma
    )
    expected_maps, expected_weights = plain(joints, visible, MAP_SIZE, STRIDE, sigma)
    np.testing.assert_allclose(maps[0].numpy(), expected_maps, rtol=0, atol=2e-7)
    assert (weights[0].numpy() == expected_weights).all()
    assert ((maps[0].numpy() == 0) == (expected_maps == 0)).all()
