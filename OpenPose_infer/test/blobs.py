# SPDX-License-Identifier: Apache-2.0
"""People of three coloured blobs, and networks with weights set by hand that find them: nothing is trained.

A person is a blue head, a green left and a red right hand, always at the same places to each other. Channel c of such
a network carries colour c from the image to heatmap c; the fields are constant.
"""

import json
from pathlib import Path

from Lightweight_OpenPose.model import STRIDE, ContextModule, PoseEstimationWithMobileNet, conv, conv_depthwise

import cv2
import numpy as np
import torch
from torch import nn

SIZE = 96  # of image and network input, pixels
SIGMA, GREY, BRIGHT = 9.0, 128, 120
OFFSETS = np.array([[0, 0], [-20, 20], [20, 20]])  # of head, left and right, x and y
CELL_CENTRE = 4  # the networks look at the first pixel of a cell, the decoder takes that for the cell's centre
BETWEEN = (1, 2, 3, 5, 6, 7)  # pixels into a cell: a blob in the middle of cells, or of two, makes two equal peaks
COLOURS = 3
SKELETON = """
keypoints: [head, left, right]
sigmas: 0.1
flip_pairs: [[left, right]]
limbs: [[head, left], [head, right]]
"""


def write_data(folder: Path, images: int = 6) -> Path:
    """A COCO folder with images of one person each in `val2017`, and the skeleton as `blobs.yaml`."""
    (folder / "val2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    (folder / "blobs.yaml").write_text(SKELETON)
    random, entries, people = np.random.default_rng(0), [], []
    for number in range(1, images + 1):
        cells = random.integers([3, 2], [8, 7])
        points = STRIDE * cells + random.choice(BETWEEN, 2) + OFFSETS
        cv2.imwrite(str(folder / "val2017" / f"{number}.png"), picture(points))
        entries.append({"id": number, "file_name": f"{number}.png", "width": SIZE, "height": SIZE})
        people.append(_annotation(number, points + CELL_CENTRE))
    content = {"images": entries, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    (folder / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(content))
    return folder


def picture(points: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: a blob of colour c around point c."""
    y, x = np.mgrid[:SIZE, :SIZE]
    square = (x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2
    return (GREY + BRIGHT * np.exp(-square / (2 * SIGMA**2))).astype(np.uint8)


def _annotation(number: int, points: np.ndarray) -> dict:
    keypoints = [int(value) for point in points for value in (*point, 2)]
    box = [int(points[:, 0].min()), int(points[:, 1].min()), *np.ptp(points, axis=0).tolist()]
    return {"id": number, "image_id": number, "category_id": 1, "keypoints": keypoints, "num_keypoints": len(points),
            "bbox": box, "area": 48 * 48, "iscrowd": 0}  # fmt: skip


class Small(PoseEstimationWithMobileNet):
    """The layers' names of the real network, a handful of channels."""

    def __init__(self, stages: int = 1) -> None:
        super().__init__(stages, COLOURS + 1, 4, num_channels=8)
        self.model = nn.Sequential(conv(3, 8, stride=2, bias=False), *(conv_depthwise(8, 8, 2) for _ in range(2)))
        self.cpm = ContextModule(8, 8)


def finder(model: PoseEstimationWithMobileNet, loud: tuple[int, ...] = ()) -> PoseEstimationWithMobileNet:
    """The same network, finding people. Backbone blocks `loud` carry a channel of values 20,000 times as large.

    Nothing reads that channel, but it spreads the 256 steps of 8 bits so far that the colours fall between two.
    """
    with torch.no_grad():
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Conv2d):
                _carry(layer, "trunk" in name and ("cpm" in name or ".trunk." in name.split("trunk", 1)[1]))
        for stage in (model.initial_stage, *model.refinement_stages):
            stage.heatmaps[1][0].weight *= 2
            stage.pafs[1][0].weight.zero_()
            stage.pafs[1][0].bias.copy_(torch.tensor([-0.7, 0.7, 0.7, 0.7]))
        for block in loud:
            layer = [part for part in model.model[block] if isinstance(part, nn.Conv2d)][-1]
            layer.weight[COLOURS, :COLOURS, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 20_000
    return model.eval()


def _carry(layer: nn.Conv2d, silent: bool) -> None:
    """Weights that hand the colours on; none where `silent`: the branch beside a sum."""
    row, column = (length // 2 for length in layer.kernel_size)
    layer.weight.zero_()
    if layer.bias is not None:
        layer.bias.zero_()
    for channel in range(0 if silent else COLOURS):
        layer.weight[channel, channel if layer.groups == 1 else 0, row, column] = 1
