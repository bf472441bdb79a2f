# SPDX-License-Identifier: Apache-2.0
"""Who was found, and what is wrong with each keypoint, after Ronchi and Perona, "Benchmarking and Error Diagnosis in
Multi-Instance Pose Estimation" (https://arxiv.org/abs/1707.05388), section 3.1.

The similarity of a detected keypoint and an annotated one is ks = exp(-d^2 / (2 s^2 k^2)), with the distance d, the
area s^2 of the annotated person, and k = 2 sigma of the keypoint; OKS is the mean of ks over a person's labelled
keypoints. Detections, the best first, are matched to the person of the highest OKS, of at least 0.1. A labelled
keypoint of a person who was found is

    good       ks >= 0.85 at its own place
    jitter     0.5 <= ks < 0.85
    inversion  less, but ks >= 0.5 at its left or right counterpart of the same person
    swap       none of these, but ks >= 0.5 at the same keypoint or its counterpart of another person
    miss       none of these, or not detected at all
"""

from dataclasses import dataclass

from common.arrays import BoolArray, Float64Array, Int64Array
from common.coco.annotations import CocoIndex
from common.coco.evaluate import MAX_PEOPLE, Detections
from common.skeleton import Skeleton

import numpy as np
import numpy.typing as npt

KINDS = ("good", "jitter", "inversion", "swap", "miss")
GOOD, JITTER, INVERSION, SWAP, MISS = range(len(KINDS))
NOT_LABELLED = -1
LEAST_GOOD, LEAST_NEAR, LEAST_OKS = 0.85, 0.5, 0.1
SMALLEST = np.finfo(np.float64).eps  # px^2 of an area, against a division by zero


@dataclass(frozen=True)
class Matches:
    """P annotated people who count (no crowds, at least one labelled keypoint), and N detections.

    people: (P,) rows of the index. found_by: (P,) rows of the detections, -1 where nobody was found. oks: (P,) of the
    match, 0 without. kinds: (P, K) places in KINDS, NOT_LABELLED (also all keypoints of people who were not found).
    distances: (P, K) px to the annotated place; NaN where not labelled or not detected. background: (N,) detections of
    nobody: matched to no person, and in the box of none who does not count.
    """

    people: Int64Array
    found_by: Int64Array
    oks: Float64Array
    kinds: npt.NDArray[np.int8]
    distances: Float64Array
    background: BoolArray


def match(index: CocoIndex, image_rows: Int64Array, detections: Detections, skeleton: Skeleton) -> Matches:
    """Compares the people of some images of an index with the detections there, `MAX_PEOPLE` of each image as in AP."""
    sigmas, flip = np.array(skeleton.sigmas), skeleton.keypoint_flip
    order = np.argsort(detections.image_ids, kind="stable")
    sorted_ids = detections.image_ids[order]
    parts, background = [], np.zeros(len(detections), np.bool_)
    for row in image_rows.tolist():
        start, stop = (np.searchsorted(sorted_ids, index.image_ids[row], side) for side in ("left", "right"))
        mine = order[start:stop]
        mine = mine[np.argsort(-detections.scores[mine], kind="stable")][:MAX_PEOPLE]
        everybody = np.arange(index.people(row).start, index.people(row).stop)
        counts = ~index.is_crowd[everybody] & (index.num_keypoints[everybody] > 0)
        people = everybody[counts]
        part = _match_image(index, people, mine, detections.keypoints[mine], sigmas, flip)
        lost = ~np.isin(mine, part.found_by)
        others = index.boxes[everybody[~counts]]
        background[mine] = lost & ~_in_boxes(detections.keypoints[mine], others)
        parts.append(part)
    return _joined(parts, background, skeleton.num_keypoints)


def similarities(
    detected: Float64Array, annotated: Float64Array, areas: Float64Array, sigmas: Float64Array
) -> Float64Array:
    """(D, K, 3) detected and (G, K, 3) annotated keypoints, (G,) areas, (K,) sigmas -> ks, (D, G, K) in 0 to 1.

    0 where a keypoint is not detected (score 0) or not labelled.
    """
    squares = ((detected[:, None, :, :2] - annotated[None, :, :, :2]) ** 2).sum(axis=-1)
    ks = np.exp(-squares / (2 * np.maximum(areas, SMALLEST)[None, :, None] * (2 * sigmas) ** 2))
    return np.asarray(ks * (detected[:, None, :, 2] > 0) * (annotated[None, :, :, 2] > 0))


def _match_image(
    index: CocoIndex,
    people: Int64Array,
    rows: Int64Array,
    detected: Float64Array,
    sigmas: Float64Array,
    flip: Int64Array,
) -> Matches:
    annotated = index.keypoints[people].astype(np.float64)
    detected = detected.astype(np.float64)
    labelled = annotated[..., 2] > 0
    own = similarities(detected, annotated, index.areas[people], sigmas)
    oks = own.sum(axis=2) / np.maximum(labelled.sum(axis=1), 1)
    owners = _greedy(oks)
    found_by = np.full(len(people), -1, np.int64)
    kinds = np.full(labelled.shape, NOT_LABELLED, np.int8)
    distances = np.full(labelled.shape, np.nan)
    scores = np.zeros(len(people))
    mirrored = similarities(detected, annotated[:, flip], index.areas[people], sigmas)
    mirrored[:, :, flip == np.arange(len(flip))] = 0
    for place, person in enumerate(owners.tolist()):
        if person >= 0:
            found_by[person], scores[person] = rows[place], oks[place, person]
            kinds[person] = _kinds(own[place], mirrored[place], person, labelled[person])
            both = labelled[person] & (detected[place, :, 2] > 0)
            distances[person, both] = np.hypot(*(detected[place, both, :2] - annotated[person, both, :2]).T)
    return Matches(people, found_by, scores, kinds, distances, np.zeros(0, np.bool_))


def _greedy(oks: Float64Array) -> Int64Array:
    """(D, G), the best detection first -> (D,) the person of each, -1 for none."""
    owners = np.full(len(oks), -1, np.int64)
    free = np.ones(oks.shape[1], np.bool_)
    for place, row in enumerate(oks):
        if free.any():
            best = int(np.argmax(np.where(free, row, -1.0)))
            if row[best] >= LEAST_OKS:
                owners[place], free[best] = best, False
    return owners


def _kinds(own: Float64Array, mirrored: Float64Array, person: int, labelled: BoolArray) -> npt.NDArray[np.int8]:
    """ks (G, K) of one detection to each person's same and mirrored keypoints -> (K,) kinds for its person."""
    others = np.delete(np.maximum(own, mirrored), person, axis=0).max(axis=0, initial=0.0)
    conditions = [
        ~labelled,
        own[person] >= LEAST_GOOD,
        own[person] >= LEAST_NEAR,
        mirrored[person] >= LEAST_NEAR,
        others >= LEAST_NEAR,
    ]
    return np.select(conditions, [NOT_LABELLED, GOOD, JITTER, INVERSION, SWAP], MISS).astype(np.int8)


def _in_boxes(detected: Float64Array, boxes: Float64Array) -> BoolArray:
    """(D,) whether the mean of a detection's keypoints lies in any of the boxes, (B, 4)."""
    weights = (detected[..., 2] > 0).astype(np.float64)
    centres = (detected[..., :2] * weights[..., None]).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)[:, None]
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    return np.asarray(((centres[:, None] >= low) & (centres[:, None] <= high)).all(axis=2).any(axis=1))


def _joined(parts: list[Matches], background: BoolArray, num_keypoints: int) -> Matches:
    empty = np.zeros((0, num_keypoints))
    return Matches(
        np.concatenate([np.zeros(0, np.int64), *(part.people for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.found_by for part in parts)]),
        np.concatenate([np.zeros(0), *(part.oks for part in parts)]),
        np.concatenate([empty.astype(np.int8), *(part.kinds for part in parts)]),
        np.concatenate([empty, *(part.distances for part in parts)]),
        background,
    )
