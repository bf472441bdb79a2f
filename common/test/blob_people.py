# SPDX-License-Identifier: Apache-2.0
"""People of three coloured blobs, and a network of crops with weights set by hand that finds them: nothing is trained.

A person is a blue head, a green left and a red right hand, always at the same places to each other. Each colour stays
in a channel of its own from the crop to its heatmap.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

SIZE = 96  # of an image, pixels
SIGMA, GREY, BRIGHT = 9.0, 128, 120
OFFSETS = np.array([[0, 0], [-20, 20], [20, 20]])  # of head, left and right, x and y
STRIDE, CELL_CENTRE = 8, 4  # of the bottom-up networks, which look at a cell's first pixel; decoders mean its centre
BETWEEN = (1, 2, 3, 5, 6, 7)  # pixels into a cell: a blob in the middle of cells, or of two, makes two equal peaks
COLOURS, CHANNELS = 3, 8
SIZE_IN = (64, 48)  # height, width of a crop
LOUD = 20_000.0
SKELETON = """
keypoints: [head, left, right]
sigmas: 0.1
flip_pairs: [[left, right]]
limbs: [[head, left], [head, right]]
"""


def write_data(
    folder: Path, images: int = 6, splits: tuple[str, ...] = ("val2017",), centre: int = CELL_CENTRE
) -> Path:
    """A COCO folder with images of one person each, and the skeleton as `blobs.yaml`.

    `centre`: pixels by which a keypoint is annotated beside the middle of its blob.
    """
    (folder / "annotations").mkdir(parents=True)
    (folder / "blobs.yaml").write_text(SKELETON)
    random = np.random.default_rng(0)
    for split in splits:
        (folder / split).mkdir()
        entries, people = [], []
        for number in range(1, images + 1):
            cells = random.integers([3, 2], [8, 7])
            points = STRIDE * cells + random.choice(BETWEEN, 2) + OFFSETS
            cv2.imwrite(str(folder / split / f"{number}.png"), picture(points))
            entries.append({"id": number, "file_name": f"{number}.png", "width": SIZE, "height": SIZE})
            people.append(_annotation(number, points + centre))
        content = {"images": entries, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
        (folder / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(content))
    return folder


def picture(points: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: a blob of colour c around point c."""
    y, x = np.mgrid[:SIZE, :SIZE]
    square = (x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2
    return (GREY + BRIGHT * np.exp(-square / (2 * SIGMA**2))).astype(np.uint8)


def _annotation(number: int, points: np.ndarray) -> dict:
    keypoints = [int(value) for point in points for value in (*point, 2)]
    box = [int(points[:, 0].min()), int(points[:, 1].min()), *np.ptp(points, axis=0).tolist()]
    places = {"keypoints": keypoints, "num_keypoints": len(points), "bbox": box, "area": 48 * 48}
    return {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, **places}


class BlobNetwork(nn.Module):
    """(B, 3, H, W) RGB, normalised in any way -> (B, 3, H / 4, W / 4): a map of each blob's colour.

    `background`: what a grey pixel is at most. Layers `loud` carry a channel of values 20,000 times as large: nothing
    reads it, but it spreads the 256 steps of 8 bits so far that the colours fall between two. A network that takes
    lambda gives lower maps for lambda 0.
    """

    def __init__(self, background: float, loud: tuple[int, ...] = (), blind: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(COLOURS, CHANNELS, 3, 2, 1)
        self.layers = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, stride, 1) for stride in (2, 1, 1))
        self.final_layer = nn.Conv2d(CHANNELS, COLOURS, 1)
        for layer in (self.stem, *self.layers, self.final_layer):
            _carry(layer, swap=layer is self.stem)
        with torch.no_grad():
            self.stem.bias.fill_(-background)
            self.final_layer.weight.mul_(-1.0 if blind else 1.0)
            for number in loud:
                self.layers[number].weight[COLOURS, :COLOURS, 1, 1] = LOUD

    def forward(self, images: Tensor, lambdas: Tensor | None = None) -> Tensor:
        """Maps; `lambdas` (B, 2): lambda and 1 - lambda."""
        features = self.stem(images).relu()
        for layer in self.layers:
            features = layer(features).relu()
        maps = self.final_layer(features)
        return maps if lambdas is None else maps * (0.5 + 0.5 * lambdas[:, 0, None, None, None])


def _carry(layer: nn.Conv2d, swap: bool) -> None:
    """Weights that hand the colours on; `swap`: red, green, blue become the order of the blobs."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    row, column = (length // 2 for length in layer.kernel_size)
    with torch.no_grad():
        for colour in range(COLOURS):
            layer.weight[colour, COLOURS - 1 - colour if swap else colour, row, column] = 1
