# SPDX-License-Identifier: Apache-2.0
"""The maps that a perfect network would give: encoded annotations, at the image's place in the network's input."""

from pathlib import Path

import common.coco.images
import common.coco.reader
from common.coco.annotations import CocoIndex
from common.coco.evaluate import Detections, EvaluationSet, concatenate
from common.skeleton import OPENPOSE, Skeleton
from Lightweight_OpenPose import data
from Lightweight_OpenPose.decode import ORIGINAL_RULES, DecodeRules, decode, to_coco
from Lightweight_OpenPose.model import STRIDE
from Lightweight_OpenPose.predict import InputRule, Letterbox
from Lightweight_OpenPose.targets import encode

import numpy as np
import torch


def encoded(keypoints, place: Letterbox, skeleton: Skeleton = OPENPOSE):
    """(P, num_keypoints, 3) in original pixels -> heatmaps (num_heatmaps, h, w), pafs (num_pafs, h, w) float32."""
    points = data.to_points(keypoints, place.size_img, skeleton)
    points[..., :2] *= place.ratio
    points[..., :2] += (place.pad_in[1], place.pad_in[0])
    cells = place.size_in[0] // STRIDE, place.size_in[1] // STRIDE
    maps = encode(torch.from_numpy(points)[None], cells, skeleton)
    return tuple(part[0].numpy() for part in maps)


def of_image(index: CocoIndex, row: int, rule: InputRule):
    """Heatmaps and pafs of an image's labelled people, and its placement."""
    people = index.people(row)
    labelled = (index.num_keypoints[people] > 0) & ~index.is_crowd[people]
    place = rule.letterbox(tuple(index.image_sizes[row].tolist()))
    return (*encoded(index.keypoints[people][labelled], place), place)


def found_in(heatmaps, pafs, place: Letterbox, image_id: int, rules: DecodeRules = ORIGINAL_RULES) -> Detections:
    """The people that decoding finds in the maps of an image."""
    keypoints, scores = to_coco(decode(heatmaps, pafs, place.geometry, OPENPOSE, rules), OPENPOSE, rules)
    return Detections(np.full(len(scores), image_id), keypoints, scores)


def average_precision_of_ideal_maps(coco_folder: Path, rules: DecodeRules, rule: InputRule) -> dict[str, float]:
    """AP of decoded ground truth on the validation images with labelled people: the decoder's ceiling."""
    index = common.coco.reader.load(common.coco.images.annotation_file(coco_folder, "val"))
    rows = [row for row in range(index.num_images) if (index.num_keypoints[index.people(row)] > 0).any()]
    found = [found_in(*of_image(index, row, rule), int(index.image_ids[row]), rules) for row in rows]
    return EvaluationSet.of(index, index.image_ids[rows]).average_precision(concatenate(found), OPENPOSE.sigmas)
