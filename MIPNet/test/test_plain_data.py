# SPDX-License-Identifier: Apache-2.0
"""The plain pipeline that ours is measured against does the same work: two ways to the same samples."""

from pathlib import Path

import common.coco.images
import common.coco.reader
from common.skeleton import COCO
from common.topdown.heatmaps import encode
from MIPNet import data
from MIPNet.config import parse
from MIPNet.test import plain_data

import numpy as np
import pytest

MEAN_DIFFERENCE = 1e-3  # of normalised pixels: a mirrored image is sampled at mirrored places


@pytest.mark.parametrize("words", [(), ("--lambda",)], ids=["plain", "lambda"])
def test_crops_and_targets(tiny_coco: Path, words: tuple[str, ...]) -> None:
    config = parse([*words, "DATASET.PROB_HALF_BODY", "0.5", "DATASET.NUM_JOINTS_HALF_BODY", "4"])
    index = common.coco.reader.load(common.coco.images.annotation_file(tiny_coco, "train"))
    people = data.labelled_people(index, config.people_of)
    train = data.TrainSamples(people, common.coco.images.image_folder(tiny_coco, "train"), COCO, config)
    for place in range(len(train)):
        pixels, targets = plain_data.sample(train, place, np.random.default_rng((config.seed, 0, place)))
        batch = data.collate([train[0, place]])
        assert (data.normalise(batch["image"])[0] - pixels).abs().mean() < MEAN_DIFFERENCE
        joints, visible = (batch[name].reshape(len(targets), -1, *batch[name].shape[batch["visible"].ndim :])
                           for name in ("joints", "visible"))  # fmt: skip
        maps, weights = encode(joints, visible, config.size_map, config.stride, config.yaml.MODEL.SIGMA)
        for ours, weight, (target, wanted) in zip(maps, weights, targets, strict=True):
            np.testing.assert_allclose(ours, target, atol=1e-5)
            np.testing.assert_array_equal(weight, wanted.ravel())
