# SPDX-License-Identifier: Apache-2.0
"""Standing people by histograms of oriented gradients (Dalal, Triggs 2005, CVPR): a detector without a download.

The measures and the weights of the linear classifier, `hog_people.npy`, are those of OpenCV's people detector
(Apache-2.0), which OpenCV 5 no longer has. It finds upright people who stand free; whoever needs more names another
detector.
"""

import functools
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

WEIGHTS = Path(__file__).parent / "hog_people.npy"
WINDOW = (128, 64)  # height, width of what the classifier sees, pixels
CELL, BINS = 8, 9  # pixels; directions between 0 and 180 degrees
BLOCK_CELLS = 2  # a block is normalised as one; blocks overlap by a cell
BLOCK = CELL * BLOCK_CELLS
SIGMA = BLOCK / 4  # of the weight of pixels round a block's middle
CLIP, FIRST_NORM_FLOOR, SECOND_NORM_FLOOR = 0.2, 0.1, 1e-3
LONGEST = 640  # pixels: images are scaled to it, but made no more than twice as large
MOST_ZOOM = 2.0
BORDER = 16  # pixels round the scaled image: windows reach out of it as far as they are larger than people
STEP = 1.1  # between the sizes at which people are looked for
# A window is larger than the person in it: left, top, right, bottom margins as parts of its width and height.
MARGINS = (0.1, 0.07, 0.1, 0.13)


def detect(image: Pixels, min_score: float) -> tuple[Floats, Floats]:
    """(H, W, 3) uint8 -> boxes (N, 4) left, top, width, height in pixels of the image, and scores (N,) above a least.

    A score is the distance from the classifier's border, 0 and more for people. Overlapping boxes are all returned.
    """
    zoom = min(MOST_ZOOM, LONGEST / max(image.shape[:2]))
    boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
    while zoom * image.shape[0] + 2 * BORDER >= WINDOW[0] and zoom * image.shape[1] + 2 * BORDER >= WINDOW[1]:
        size = (max(1, round(image.shape[1] * zoom)), max(1, round(image.shape[0] * zoom)))
        scaled = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        answer = window_scores(np.asarray(cv2.copyMakeBorder(scaled, *4 * (BORDER,), cv2.BORDER_REPLICATE)))
        rows, columns = np.nonzero(answer >= min_score)
        places = np.stack([columns, rows], axis=1) * CELL - BORDER
        width, height = WINDOW[1], WINDOW[0]
        left_top = places + (MARGINS[0] * width, MARGINS[1] * height)
        right_bottom = places + ((1 - MARGINS[2]) * width, (1 - MARGINS[3]) * height)
        boxes.append(np.hstack([left_top, right_bottom - left_top]) / zoom)
        scores.append(answer[rows, columns].astype(np.float64))
        zoom /= STEP
    return np.concatenate(boxes), np.concatenate(scores)


def window_scores(image: Pixels) -> npt.NDArray[np.float32]:
    """The classifier's answer at each window, whose corners are a cell apart: (rows, columns) float32."""
    weights, bias = _classifier()
    with torch.inference_mode():
        answer: npt.NDArray[np.float32] = torch.nn.functional.conv2d(blocks(image)[None], weights)[0, 0].numpy()
    return answer + bias


def blocks(image: Pixels) -> Tensor:
    """(H, W, 3) uint8 -> (36, rows, columns) float32: the normalised histograms of all blocks.

    Of a block: cells column by column, of a cell its directions.
    """
    histograms = torch.nn.functional.conv2d(_directions(image)[:, None], _cell_windows(), stride=CELL)
    features = histograms.transpose(0, 1).flatten(0, 1)  # (cells, directions) -> one axis
    floor = FIRST_NORM_FLOOR * len(features)
    features = (features / (features.norm(dim=0) + floor)).clamp_(max=CLIP)
    normalised: Tensor = features / (features.norm(dim=0) + SECOND_NORM_FLOOR)
    return normalised


def _directions(image: Pixels) -> Tensor:
    """(BINS, H, W) float32: the strength of each pixel's gradient, shared by the two nearest directions."""
    framed = np.sqrt(cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REFLECT_101).astype(np.float32))
    dx, dy = framed[1:-1, 2:] - framed[1:-1, :-2], framed[2:, 1:-1] - framed[:-2, 1:-1]
    strongest = (dx**2 + dy**2).argmax(axis=2)[..., None]
    dx, dy = (np.take_along_axis(axis, strongest, 2)[..., 0] for axis in (dx, dy))
    strength, angle = cv2.cartToPolar(dx, dy)
    place = angle * np.float32(BINS / np.pi) - np.float32(0.5)
    lower = np.floor(place)
    upper_share = place - lower
    first = lower.astype(np.int64) % BINS
    found = np.zeros((BINS, *image.shape[:2]), np.float32)
    np.put_along_axis(found, first[None], (strength * (1 - upper_share))[None], 0)
    np.put_along_axis(found, ((first + 1) % BINS)[None], (strength * upper_share)[None], 0)
    return torch.from_numpy(found)


@functools.cache
def _cell_windows() -> Tensor:
    """(cells of a block, 1, BLOCK, BLOCK) float32: how much each pixel of a block counts in each of its cells."""
    place = np.arange(BLOCK)
    near = 1 - np.abs((place + 0.5) / CELL - 0.5 - np.arange(BLOCK_CELLS)[:, None])
    along = np.maximum(near, 0) * np.exp(-((place - BLOCK / 2) ** 2) / (2 * SIGMA**2))
    windows = np.einsum("ai,bj->baij", along, along)  # column by column
    return torch.from_numpy(windows.reshape(BLOCK_CELLS**2, 1, BLOCK, BLOCK).astype(np.float32))


@functools.cache
def _classifier() -> tuple[Tensor, float]:
    """Weights (1, 36, rows, columns) of the blocks of a window, and the bias."""
    numbers = np.load(WEIGHTS, allow_pickle=False)
    rows, columns = (side // CELL - BLOCK_CELLS + 1 for side in WINDOW)
    grid = numbers[:-1].reshape(columns, rows, BLOCK_CELLS**2 * BINS)
    return torch.from_numpy(np.ascontiguousarray(grid.transpose(2, 1, 0))[None]), float(numbers[-1])
