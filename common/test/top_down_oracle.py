# SPDX-License-Identifier: Apache-2.0
"""A top-down network that knows the answers: it returns the ideal maps of the crop that it is shown, or of its mirror.

An evaluation must find the annotated keypoints with it, on any number of ranks.
"""

from collections.abc import Callable, Sequence

from common.arrays import Float32Array, UInt8Array
from common.coco.evaluate import EvaluationSet
from common.coco.images import warp_image
from common.runtime.session import Session
from common.skeleton import Skeleton
from common.topdown import crops
from common.topdown.crops import PersonBoxes
from common.topdown.targets import encode

import numpy as np
import torch

STRIDE = 4  # input pixels a map cell


def session(
    images: EvaluationSet,
    boxes: PersonBoxes,
    people: Sequence[np.ndarray],
    size_in: crops.Size,
    normalise: Callable[[UInt8Array], Float32Array],
    skeleton: Skeleton,
    sigma: float,
) -> Session:
    """[crops (B, 3, H, W)] -> [maps (B, modes * K, h, w)]; `people`: for each mode, the rows of who is in each box."""
    known: dict[int, np.ndarray] = {}
    size_map = size_in[0] // STRIDE, size_in[1] // STRIDE
    for image_row, rows in boxes.by_image():
        image = images.read(image_row)
        for row in rows:
            box = crops.Crop(*crops.fit_boxes(boxes.boxes_img[row], size_in))
            matrix = crops.image_to_crop(box, size_in)
            keypoints = images.index.keypoints[[mode[row] for mode in people]]
            moved = torch.from_numpy(np.stack([crops.transform(one[:, :2], matrix) for one in keypoints]))
            maps = encode(moved, torch.from_numpy(keypoints[..., 2] > 0), size_map, STRIDE, sigma)[0].numpy()
            crop = normalise(warp_image(image, matrix, size_in)[None])[0]
            known[_name(crop)] = maps.reshape(-1, *size_map)
            known[_name(crop[..., ::-1])] = _mirrored(maps, skeleton.keypoint_flip).reshape(-1, *size_map)
    return Session("oracle", "memory", lambda inputs: [np.stack([known[_name(crop)] for crop in inputs[0]])])


def answering(*answers: np.ndarray) -> Session:
    """A network that gives these maps, one after the other."""
    left = iter(answers)
    return Session("golden", "memory", lambda arrays: [next(left)])


def _name(crop: np.ndarray) -> int:
    return hash(crop.tobytes())


def _mirrored(maps: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """What an ideal network answers for the mirrored crop: one column beside, as `merge_flip` expects."""
    moved = np.zeros_like(maps)
    moved[..., :-1] = maps[..., 1:]
    return np.ascontiguousarray(moved[:, flip][..., ::-1])
