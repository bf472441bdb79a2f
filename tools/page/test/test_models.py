# SPDX-License-Identifier: Apache-2.0
"""Where the maps of real estimators lie on an image: networks that see nothing but how bright each cell is."""

from pathlib import Path
from unittest import mock

from common.cli import UserError
from common.runtime.session import Session
from common.skeleton import OPENPOSE
from Lightweight_OpenPose import predict as lightweight
from OpenPose_MindSpore_port import predict as port
from tools.models import Spec
from tools.page.models import Model

import numpy as np
import pytest

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
    with mock.patch.object(lightweight.weights, "locate", lambda *_: Path("x.pth")):
        place = getattr(lightweight, "inference", lightweight)
        with mock.patch.object(place, "open_session", lambda *_: brightness(True)):
            return lightweight.PoseEstimator("x.pth")


@pytest.mark.parametrize(
    ("directory", "opened"),
    [
        ("Lightweight_OpenPose", lightweight_estimator),
        ("OpenPose_MindSpore_port", lambda: port.PoseEstimator(brightness(False))),
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
    model.people(image)  # the watch lies on whatever keeps the session
    assert model.watch.network > 0
    with pytest.raises(UserError, match="takes no lambda"):
        model.sweep(image, None)
