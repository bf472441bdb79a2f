# SPDX-License-Identifier: Apache-2.0
"""The maps that a perfect network would give, in the geometry of evaluation, and the decoder's AP on them."""

from pathlib import Path

import common.coco.images
import common.coco.reader
from common.coco.evaluate import Detections, EvaluationSet, concatenate, no_detections
from common.skeleton import Skeleton
from OpenPose_MindSpore_port import data
from OpenPose_MindSpore_port.config import Inference, TargetRules
from OpenPose_MindSpore_port.decode import Size, decode, to_coco
from OpenPose_MindSpore_port.model import STRIDE
from OpenPose_MindSpore_port.predict import input_size
from OpenPose_MindSpore_port.targets import encode

import numpy as np
import torch

Case = tuple[np.ndarray, np.ndarray, tuple[Size, Size]]  # heatmaps, pafs, sizes of network input and image


def drawn(points_in, size_in: tuple[int, int], skeleton: Skeleton):
    """(P, num_points, 3) of the network input -> heatmaps (num_heatmaps, h, w), pafs (num_pafs, h, w) float32."""
    points = torch.from_numpy(np.asarray(points_in, np.float64))[None]
    maps = encode(points, (size_in[0] // STRIDE, size_in[1] // STRIDE), skeleton, TargetRules())
    return tuple(part[0].numpy() for part in maps)


def of_labelled_images(coco_folder: Path, split: str, skeleton: Skeleton, original: bool = False) -> dict[int, Case]:
    """By image id: the maps of all labelled people of each image that has some; `original`: as it places points."""
    centre = 0.0 if original else 0.5
    index, cases = common.coco.reader.load(common.coco.images.annotation_file(coco_folder, split)), {}
    for row in range(index.num_images):
        people = index.people(row)
        keypoints = index.keypoints[people][(index.num_keypoints[people] > 0) & ~index.is_crowd[people]]
        if len(keypoints):
            size_img = tuple(index.image_sizes[row].tolist())
            size_in = input_size(size_img, Inference.inference_img_size)
            points = data.to_points(keypoints, skeleton)
            points[..., :2] = np.trunc(points[..., :2])  # the original's neck is a whole pixel; annotations are
            points[..., :2] = (points[..., :2] + centre) * size_in[::-1] / np.array(size_img[::-1]) - centre
            cases[int(index.image_ids[row])] = (*drawn(points, size_in, skeleton), (size_in, size_img))
    return cases


def average_precision_of(cases: dict[int, Case], annotations: Path, skeleton: Skeleton, original: bool) -> float:
    """AP of the decoded maps on these images: the decoder's ceiling."""
    found = [no_detections(skeleton.num_keypoints)]
    for image_id, case in cases.items():
        keypoints, scores = to_coco(decode(*case, skeleton, original=original), skeleton, original)
        found.append(Detections(np.full(len(scores), image_id), keypoints, scores))
    index = common.coco.reader.load(annotations)
    return EvaluationSet.of(index, list(cases)).average_precision(concatenate(found), skeleton.sigmas)["AP"]
