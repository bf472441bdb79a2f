# SPDX-License-Identifier: Apache-2.0
"""Networks of all four directories by `Directory:file`: several images at once are each of them alone."""

import AlphaPose
import Lightweight_OpenPose
import MIPNet.predict
import OpenPose_MindSpore_port
from AlphaPose.config import DEFAULT_CFG
from AlphaPose.predict import load_config
from common.cli import RefusedImageError, UserError
from common.runtime.session import Port, Session
from common.skeleton import COCO, OPENPOSE
from MIPNet import weights
from tools.models import Spec

import numpy as np
import pytest

SIZES = ((60, 80), (90, 50), (60, 80), (72, 96), (60, 80))  # height, width of the images


def session(*channels: int, cell: int = 8, fixed_batch: int | None = None) -> Session:
    """A network that gives shifted means of cells as maps; it counts on its calls for a fixed batch."""

    def forward(arrays):
        batch, _, height, width = arrays[0].shape
        cells = arrays[0].mean(axis=1).reshape(batch, 1, height // cell, cell, width // cell, cell).mean((3, 5))
        cells = np.tanh(np.abs(20 * cells))
        return [np.concatenate([np.roll(cells, shift, (2, 3)) for shift in range(count)], 1) for count in channels]

    ports = (Port("images", (fixed_batch, 3, None, None)),) if fixed_batch else ()
    return Session("cells", "test", forward, ports)


def estimator(directory: str, fixed_batch: int | None):
    if directory == "Lightweight_OpenPose":
        maps = session(OPENPOSE.num_heatmaps, OPENPOSE.num_pafs, fixed_batch=fixed_batch)
        return Lightweight_OpenPose.PoseEstimator.of_session(maps, OPENPOSE)
    if directory == "OpenPose_MindSpore_port":
        maps = session(OPENPOSE.num_pafs, OPENPOSE.num_heatmaps, fixed_batch=fixed_batch)
        return OpenPose_MindSpore_port.PoseEstimator.of_session(maps)
    if directory == "AlphaPose":
        config = load_config(DEFAULT_CFG, weights.Path("x.onnx"))
        return AlphaPose.PoseEstimator.of_session(session(COCO.num_keypoints, cell=4), config)
    config = MIPNet.predict.load_config(weights.Path("x.onnx"), "", ())
    return MIPNet.PoseEstimator.of_session(session(COCO.num_keypoints, cell=4), config, ())


@pytest.mark.parametrize("directory", ["Lightweight_OpenPose", "OpenPose_MindSpore_port", "AlphaPose", "MIPNet"])
@pytest.mark.parametrize("fixed_batch", [None, 2])
def test_a_batch_is_each_image_alone(directory: str, fixed_batch: int | None) -> None:
    opened, random = estimator(directory, fixed_batch), np.random.default_rng(0)
    images = [random.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
    together = opened.batch(images)
    assert [people.to_json() for people in together] == [opened(image).to_json() for image in images]
    assert sum(map(len, together)) > 0


@pytest.mark.parametrize("directory", ["Lightweight_OpenPose", "OpenPose_MindSpore_port"])
def test_a_batch_refuses_what_an_image_alone_is_refused_for(directory: str) -> None:
    with pytest.raises(RefusedImageError, match="400 x 8"):
        estimator(directory, None).batch([np.zeros((8, 400, 3), np.uint8)])


@pytest.mark.parametrize("words", ["pose.onnx", "AlphaPose:", "OpenPose_infer:pose.onnx", ":pose.onnx"])
def test_other_words_name_the_directories(words: str) -> None:
    with pytest.raises(UserError, match="Directory:file, the directory one of Lightweight_OpenPose"):
        Spec.of(words)
