# SPDX-License-Identifier: Apache-2.0
"""The maps that a perfect network would give: encoded annotations, in the geometry of validation."""

from pathlib import Path

import common.coco.images
import common.coco.reader
from common.coco.evaluate import Detections, average_precision, concatenate, no_detections
from common.skeleton import Skeleton
from Lightweight_OpenPose import data
from Lightweight_OpenPose.config import Config
from Lightweight_OpenPose.decode import DecodeRules, decode, to_coco
from Lightweight_OpenPose.model import STRIDE
from Lightweight_OpenPose.predict import Letterbox, scaled_letterbox
from Lightweight_OpenPose.targets import encode

import numpy as np
import torch


def encoded(keypoints, place: Letterbox, skeleton: Skeleton):
    """(P, num_keypoints, 3) in original pixels -> heatmaps (num_heatmaps, h, w), pafs (num_pafs, h, w) float32."""
    points = data.to_points(keypoints, place.size_img, skeleton)
    points[..., :2] *= place.ratio
    points[..., :2] += (place.pad_in[1], place.pad_in[0])
    cells = place.input_size[0] // STRIDE, place.input_size[1] // STRIDE
    maps = encode(torch.from_numpy(points)[None], cells, skeleton, Config().target_rules)
    return tuple(part[0].numpy() for part in maps)


def average_precision_of_ideal_maps(
    coco_folder: Path, split: str, skeleton: Skeleton, rules: DecodeRules, base_height: int
) -> dict[str, float]:
    """AP of decoded ground truth on the images with labelled people: the decoder's ceiling."""
    annotations = common.coco.images.annotation_file(coco_folder, split)
    index = common.coco.reader.load(annotations)
    found, images = [no_detections(skeleton.num_keypoints)], []
    for row in range(index.num_images):
        people = index.people(row)
        labelled = (index.num_keypoints[people] > 0) & ~index.is_crowd[people]
        if labelled.any():
            place = scaled_letterbox(tuple(index.image_sizes[row].tolist()), base_height)
            maps = encoded(index.keypoints[people][labelled], place, skeleton)
            keypoints, scores = to_coco(decode(*maps, place.geometry, skeleton, rules), skeleton, rules)
            found.append(Detections(np.full(len(scores), index.image_ids[row]), keypoints, scores))
            images.append(int(index.image_ids[row]))
    return average_precision(annotations, concatenate(found), skeleton.sigmas, images)
