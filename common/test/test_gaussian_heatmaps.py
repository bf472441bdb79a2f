# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

from common.skeleton import COCO
from common.test import top_down_golden as golden
from common.topdown import crops, targets

import numpy as np
import pytest
import torch


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
