# SPDX-License-Identifier: Apache-2.0
"""Matched people, and the error of each keypoint, after Ronchi and Perona, "Benchmarking and Error Diagnosis in
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
    """P annotated people who count (no crowds, at least one labelled keypoint), and N detections."""

    people: Int64Array  # (P,) rows of the index
    found_by: Int64Array  # (P,) rows of the detections, -1 for a person who was not found
    kinds: npt.NDArray[np.int8]  # (P, K) places in KINDS; NOT_LABELLED, also for all of people who were not found
    distances: Float64Array  # (P, K) px to the annotated place; NaN where not labelled or not detected
    background: BoolArray  # (N,) detections of no person, and in the box of none who does not count


def match(index: CocoIndex, image_rows: Int64Array, detections: Detections, skeleton: Skeleton) -> Matches:
    """Compares the people of some images of an index with the detections there, `MAX_PEOPLE` of each image as in AP."""
    image_of_each = index.image_rows(np.arange(len(index.boxes)))
    counted = ~index.is_crowd & (index.num_keypoints > 0)
    people = np.flatnonzero(counted & np.isin(image_of_each, image_rows))
    shape, owners = (len(people), skeleton.num_keypoints), image_of_each[people]
    matches = Matches(
        people,
        np.full(len(people), -1),
        np.full(shape, NOT_LABELLED, np.int8),
        np.full(shape, np.nan),
        np.zeros(len(detections), np.bool_),
    )
    for row in image_rows.tolist():
        mine = np.flatnonzero(detections.image_ids == index.image_ids[row])
        mine = mine[np.argsort(-detections.scores[mine], kind="stable")][:MAX_PEOPLE]
        places = np.flatnonzero(owners == row)
        _match_image(matches, index, places, mine, detections, skeleton)
        others = index.boxes[(image_of_each == row) & ~counted]
        lost = ~np.isin(mine, matches.found_by[places])
        matches.background[mine] = lost & ~_in_boxes(detections.keypoints[mine], others)
    return matches


def similarities(
    detected: Float64Array, annotated: Float64Array, areas: Float64Array, sigmas: Float64Array
) -> Float64Array:
    """(D, K, 3) detected, (G, K, 3) annotated keypoints, (G,) or (D, G) areas, (K,) sigmas -> ks, (D, G, K) in 0 to 1.

    0 where a keypoint is not detected (score 0) or not labelled.
    """
    squares = ((detected[:, None, :, :2] - annotated[None, :, :, :2]) ** 2).sum(axis=-1)
    ks = np.exp(-squares / (2 * np.maximum(areas, SMALLEST)[..., None] * (2 * sigmas) ** 2))
    return np.asarray(ks * (detected[:, None, :, 2] > 0) * (annotated[None, :, :, 2] > 0))


def _match_image(
    matches: Matches, index: CocoIndex, places: Int64Array, rows: Int64Array, detections: Detections, skeleton: Skeleton
) -> None:
    """Fills in the people of an image, at `places` of the matches; `rows`: its detections, the best first."""
    people, flip, sigmas = matches.people[places], skeleton.keypoint_flip, np.array(skeleton.sigmas)
    annotated, detected = (part.astype(np.float64) for part in (index.keypoints[people], detections.keypoints[rows]))
    own = similarities(detected, annotated, index.areas[people], sigmas)
    mirrored = similarities(detected, annotated[:, flip], index.areas[people], sigmas)
    mirrored[:, :, flip == np.arange(len(flip))] = 0
    labelled, free = annotated[..., 2] > 0, np.ones(len(people), np.bool_)
    for row, oks in enumerate(own.sum(axis=2) / np.maximum(labelled.sum(axis=1), 1)):
        person = int(np.argmax(np.where(free, oks, -1))) if free.any() else -1
        if person >= 0 and oks[person] >= LEAST_OKS:
            free[person], place = False, places[person]
            matches.found_by[place] = rows[row]
            matches.kinds[place] = _kinds(own[row], mirrored[row], person, labelled[person])
            both = labelled[person] & (detected[row, :, 2] > 0)
            distances = np.hypot(*(detected[row, :, :2] - annotated[person, :, :2]).T)
            matches.distances[place] = np.where(both, distances, np.nan)


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
    """(D,) whether the mean of a detection's keypoints is in any of the boxes, (B, 4)."""
    there = detected[..., 2:] > 0
    centres = (detected[..., :2] * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    return np.asarray(((centres[:, None] >= low) & (centres[:, None] <= high)).all(axis=2).any(axis=1))
