# SPDX-License-Identifier: Apache-2.0
"""Real estimators behind the page: where their maps lie on an image, and that all four directories go through it."""

import functools
from pathlib import Path
from unittest import mock

from AlphaPose.model import SimplePose
from common.cli import UserError
from common.runtime.session import Session
from common.skeleton import COCO, OPENPOSE
from Lightweight_OpenPose import predict as lightweight
from MIPNet.test.programs import small_checkpoint
from OpenPose_MindSpore_port import predict as port
from tools.models import Spec
from tools.page.models import Model, open_model
from tools.page.service import Service
from tools.page.test.fake import png

import numpy as np
import pytest
import torch

STRIDE = 8
WIDTH, HEIGHT = 333, 207
SPOT = (210, 60)  # x, y of the middle of something bright


def brightness(heat_first: bool) -> Session:
    """The mean of each cell, as all heatmaps, and as all part affinity fields."""

    def forward(arrays):
        batch, _, height, width = arrays[0].shape
        cells = arrays[0].mean(axis=1).reshape(batch, 1, height // STRIDE, STRIDE, width // STRIDE, STRIDE).mean((3, 5))
        heat, pafs = cells.repeat(OPENPOSE.num_heatmaps, 1), cells.repeat(OPENPOSE.num_pafs, 1)
        return [heat, pafs] if heat_first else [pafs, heat]

    return Session("brightness", "test", forward)


def lightweight_estimator():
    with mock.patch.object(lightweight.weights, "locate_checkpoint", lambda *_: Path("x.pth")):
        place = getattr(lightweight, "inference", lightweight)
        with mock.patch.object(place, "open_session", lambda *_: brightness(True)):
            return lightweight.PoseEstimator("x.pth")


@pytest.mark.parametrize(
    ("directory", "opened"),
    [
        ("Lightweight_OpenPose", lightweight_estimator),
        ("OpenPose_MindSpore_port", lambda: port.PoseEstimator.of_session(brightness(False))),
    ],
)
def test_maps_of_bottom_up_networks_lie_where_the_image_is_bright(directory: str, opened) -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[SPOT[1] - 6 : SPOT[1] + 7, SPOT[0] - 6 : SPOT[0] + 7] = 255
    model = Model(Spec(directory, "x.pth"), opened())
    maps = model.maps(image, None)
    assert maps.heatmaps.shape[1] == OPENPOSE.num_points and maps.pafs.shape[1] == OPENPOSE.num_pafs
    y, x = np.unravel_index(maps.heatmaps[0, 0].argmax(), maps.heatmaps.shape[2:])
    place, cell = maps.to_image[0] @ (x, y, 1), maps.to_image[0, 0, 0]
    np.testing.assert_allclose(place, SPOT, atol=0.75 * cell)
    model.people(image)  # the watch is on whatever keeps the session
    assert model.watch.network > 0
    with pytest.raises(UserError, match="takes no lambda"):
        model.sweep(image, None)


def test_small_networks_of_the_top_down_directories_through_the_page(tmp_path: Path) -> None:
    small = {"MODEL.TYPE": "SimplePose", "MODEL.NUM_LAYERS": 18, "DATA_PRESET.IMAGE_SIZE": (64, 48)}
    small["DATA_PRESET.HEATMAP_SIZE"] = (16, 12)
    state = SimplePose(COCO.num_keypoints, 18).state_dict()
    state["final_layer.bias"] += 1  # certain of all people
    torch.save({"state_dict": state, "config": small}, tmp_path / "alpha.pth")
    _, mipnet = small_checkpoint(tmp_path, "--lambda")
    specs = [Spec("AlphaPose", f"{tmp_path}/alpha.pth"), Spec("MIPNet", str(mipnet))]
    service = Service([functools.partial(open_model, spec) for spec in specs])
    assert [(about["boxes"], about["lambda"]) for about in service.about()] == [(True, False), (True, True)]
    image, boxes = png(), [[60.0, 20.0, 90.0, 180.0], [200.0, 20.0, 90.0, 180.0]]
    answers = service.people(image, "a.png", [0, 1], boxes)
    assert all(answer["seconds"]["network"] > 0 and answer["line"]["people"] for answer in answers)
    for number in (0, 1):
        assert service.overlay(image, number, "heatmaps", None, boxes).startswith(b"\x89PNG")
        with pytest.raises(UserError, match="no part affinity fields"):
            service.overlay(image, number, "pafs", None, boxes)
        assert service.camera(image, number, "a", 0.0, smooth=True)["line"]["people"][0]["id"] == 0
    swept = service.sweep(image, 1, boxes)
    keypoints = np.array(swept["keypoints"])
    assert keypoints.shape == (2, 11, COCO.num_points, 3) and swept["merged"]
    (one,) = service.people(image, "a.png", [1], boxes[:1])
    ends = [person["keypoints"]["nose"] for person in one["line"]["people"]]
    assert any(np.allclose(end, keypoints[0, step, 0], atol=0.01) for end in ends for step in (0, -1))
