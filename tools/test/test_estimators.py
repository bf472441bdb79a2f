# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""`PoseEstimator` of every directory says in one line what is wrong with its arguments."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import AlphaPose.config
import Lightweight_OpenPose.predict
import MIPNet.config
import OpenPose_MindSpore_port.predict
from AlphaPose.predict import PoseEstimator as AlphaPoseEstimator
from common.cli import UserError
from common.runtime.session import Options, Session
from common.skeleton import OPENPOSE
from MIPNet.export import metadata_of
from MIPNet.predict import PoseEstimator as MIPNetEstimator

import cv2
import numpy as np
import pytest

NOTHING = Session("blind", "memory", lambda arrays: [])
LAMBDA = ("MODEL.NAME", "pose_hrnet_se_lambda", "DATASET.DATASET", "coco_lambda")
TOP_DOWN: dict[str, Callable[[], Any]] = {
    "AlphaPose": lambda: AlphaPoseEstimator.of_session(NOTHING, AlphaPose.config.Config()),
    "MIPNet": lambda: MIPNetEstimator.of_session(NOTHING, MIPNet.config.Config()),
}
ALL = TOP_DOWN | {
    "Lightweight_OpenPose": lambda: Lightweight_OpenPose.predict.PoseEstimator.of_session(NOTHING, OPENPOSE),
    "OpenPose_MindSpore_port": lambda: OpenPose_MindSpore_port.predict.PoseEstimator.of_session(NOTHING),
}
WRONG_IMAGES = {
    "not NoneType": cv2.imread("missing.jpg"),
    r"not \(9, 9\) uint8": np.zeros((9, 9), np.uint8),
    r"not \(9, 9, 4\) uint8": np.zeros((9, 9, 4), np.uint8),
    r"not \(9, 9, 3\) float64": np.zeros((9, 9, 3)),
    r"not \(0, 9, 3\) uint8": np.zeros((0, 9, 3), np.uint8),
    "missing.jpg: No such file": "missing.jpg",
}


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_image_is_named(name: str) -> None:
    estimator = ALL[name]()
    for message, image in WRONG_IMAGES.items():
        for call in (estimator, lambda image, find=estimator: find.batch([image])):
            with pytest.raises(UserError, match=message):
                call(image)
    assert estimator.batch([]) == []


@pytest.mark.parametrize("name", TOP_DOWN)
@pytest.mark.parametrize("boxes", [[[1, 2, 3]], [1, 2, 3, 4], [[1, 2, 3, np.nan]], [[1, 2], [3]], "box", [[1] * 4] * 0])
def test_what_are_no_boxes_is_named(name: str, boxes: Any) -> None:
    image, estimator = np.zeros((9, 9, 3), np.uint8), TOP_DOWN[name]()
    if boxes == []:
        assert len(estimator(image, boxes)) == 0
        return
    with pytest.raises(UserError, match="boxes=.*finite numbers: left, top, width, height"):
        estimator(image, boxes)


def test_options_are_options_or_the_name_of_a_device() -> None:
    assert Options.of(None) == Options() and Options.of("cpu") == Options("cpu")
    assert Options.of(asked := Options("cpu", threads=2)) is asked
    with pytest.raises(UserError, match="options='gpu': Options, or a device: auto, npu, cuda, cpu"):
        Options.of("gpu")


@pytest.mark.parametrize("lambdas", [(), (2.0,), (0.0, 0.0), (float("nan"),)])
def test_lambdas_that_no_network_takes(lambdas: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="different numbers from 0 to 1"):
        MIPNetEstimator.of_session(NOTHING, MIPNet.config.Config(opts=LAMBDA), lambdas)


@pytest.mark.parametrize(
    ("opts", "refinement", "suppression"),
    [
        ((), "quarter", "oks"),
        (LAMBDA, "quarter", "oks"),
        (("DATASET.DATASET", "crowdpose", "MODEL.NUM_JOINTS", 0, "TEST.POST_PROCESS", False), "none", "none"),
        (("TEST.REFINEMENT", "dark", "TEST.NMS", "none"), "dark", "none"),
    ],
)
def test_a_network_says_how_its_maps_are_decoded(opts: tuple[Any, ...], refinement: str, suppression: str) -> None:
    decoder = metadata_of(MIPNet.config.Config(opts=opts), {})["decoder"]
    assert (decoder["refinement"], decoder["suppression"]) == (refinement, suppression)
    assert f"{refinement}:" in Path("deploy/js/heatmaps.js").read_text()
