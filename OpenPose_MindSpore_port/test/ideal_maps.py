# SPDX-License-Identifier: Apache-2.0
"""The maps that a perfect network would give, in the geometry of evaluation, and the decoder's AP on them."""

from pathlib import Path

import common.coco.images
import common.coco.reader
from common.coco.evaluate import Detections, average_precision, concatenate, no_detections
from common.skeleton import Skeleton
from OpenPose_MindSpore_port import data
from OpenPose_MindSpore_port.decode import DecodeRules, decode, to_coco
from OpenPose_MindSpore_port.inference import InputRule
from OpenPose_MindSpore_port.model import STRIDE
from OpenPose_MindSpore_port.targets import TargetRules, encode

import numpy as np
import torch

Case = tuple[np.ndarray, np.ndarray, tuple[int, int], tuple[int, int]]  # heatmaps, fields, size_in, size_img


def drawn(points_in, size_in: tuple[int, int], skeleton: Skeleton):
    """(P, num_points, 3) of the network input -> heatmaps (num_heatmaps, h, w), fields (num_fields, h, w) float32."""
    points = torch.from_numpy(np.asarray(points_in, np.float64))[None]
    maps = encode(points, (size_in[0] // STRIDE, size_in[1] // STRIDE), skeleton, TargetRules())
    return tuple(part[0].numpy() for part in maps)


def with_noise(maps, level: float, random: np.random.Generator):
    """Normal noise of one level on all maps: two float32 arrays."""
    return tuple((one + random.normal(0, level, one.shape)).astype(np.float32) for one in maps)


def people_in(count: int, size_in: tuple[int, int], skeleton: Skeleton, random: np.random.Generator, height: float):
    """(count, num_points, 3) float64: points scattered like a person of about `height` network-input pixels."""
    shape = np.random.default_rng(0).uniform(-0.5, 0.5, (skeleton.num_points, 2)) * (0.5, 1)
    centres = random.uniform((0, 0), size_in[::-1], (count, 1, 2))
    jitter = random.normal(0, 0.03, (count, *shape.shape))
    points = np.ones((count, skeleton.num_points, 3))
    points[..., :2] = centres + (shape + jitter) * height * random.uniform(0.7, 1.3, (count, 1, 1))
    return points


def of_labelled_images(
    coco_folder: Path, split: str, skeleton: Skeleton, pixel_centres: bool = True
) -> dict[int, Case]:
    """By image id: the maps of all labelled people of each image that has some; see `DecodeRules.pixel_centres`."""
    centre = 0.5 if pixel_centres else 0.0
    index, cases = common.coco.reader.load(common.coco.images.annotation_file(coco_folder, split)), {}
    for row in range(index.num_images):
        people = index.people(row)
        keypoints = index.keypoints[people][(index.num_keypoints[people] > 0) & ~index.is_crowd[people]]
        if len(keypoints):
            place = InputRule().frame(tuple(index.image_sizes[row].tolist()))
            points = data.to_points(keypoints, skeleton)
            points[..., :2] = np.trunc(points[..., :2])  # the original's neck is a whole pixel; annotations are
            ratio = np.array(place.size_in[::-1]) / place.size_img[::-1]
            points[..., :2] = (points[..., :2] + centre) * ratio - centre
            cases[int(index.image_ids[row])] = (*drawn(points, place.size_in, skeleton), place.size_in, place.size_img)
    return cases


def average_precision_of(
    cases: dict[int, Case], annotations: Path, skeleton: Skeleton, rules: DecodeRules
) -> dict[str, float]:
    """AP of the decoded maps on these images: the decoder's ceiling."""
    found = [no_detections(skeleton.num_keypoints)]
    for image_id, case in cases.items():
        keypoints, scores = to_coco(decode(*case, skeleton, rules), skeleton, rules)
        found.append(Detections(np.full(len(scores), image_id), keypoints, scores))
    return average_precision(annotations, concatenate(found), skeleton.sigmas, list(cases))
