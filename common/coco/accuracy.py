# SPDX-License-Identifier: Apache-2.0
"""How near keypoints are to where they were annotated: PCK, PCKh, AUC, EPE; AP of parts of a data set.

PCK at t is the part of the labelled keypoints that lie within t times the person's size, PCKh within t times the size
of the head. The size of a person is the longer side of the box; that of a head the length from head to neck where a
skeleton has both, else the largest distance between two labelled points of nose, eyes and ears. A keypoint that was not
detected is wrong. `pck` counts the people who were found, `pck_of_all` everybody. AUC is the area below PCK from 0 to
0.5, as a part of the largest possible. EPE is the mean distance of the keypoints that were detected, in pixels and as a
part of the person's size.
"""

import dataclasses
import itertools
from typing import Any

from common.arrays import BoolArray, Float64Array, Int64Array
from common.cli import UserError
from common.coco.annotations import CocoIndex
from common.coco.errors import KINDS, NOT_LABELLED, Matches
from common.coco.evaluate import Detections, Protocol, average_precision
from common.skeleton import Skeleton

import numpy as np

PCK_THRESHOLDS = (0.05, 0.1, 0.2, 0.5)
CURVE = np.linspace(0, 0.5, 51)
HEAD_ENDS = (("head", "neck"), ("head_top", "upper_neck"), ("head_top", "neck"))
HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
CROWDS = ((1, 1), (2, 3), (4, 7), (8, None))  # people in an image, from and to
OVERLAPS = ((0.0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 1.01))  # largest IoU of two people's boxes in an image


def person_sizes(index: CocoIndex, people: Int64Array) -> Float64Array:
    """(P,) px: the longer side of each box; NaN for an empty box."""
    sides = index.boxes[people, 2:].max(axis=1, initial=0)
    return np.where(sides > 0, sides, np.nan)


def head_sizes(index: CocoIndex, people: Int64Array, skeleton: Skeleton) -> Float64Array:
    """(P,) px; NaN where the points of the head are not labelled. Raises UserError for a skeleton without a head."""
    names = skeleton.keypoints
    ends = next((pair for pair in HEAD_ENDS if set(pair) <= set(names)), None)
    points = ends or tuple(name for name in HEAD if name in names)
    if len(points) < len(HEAD_ENDS[0]):
        raise UserError(f"skeleton {skeleton.name} has no head: neither head and neck, nor two of {', '.join(HEAD)}")
    head = index.keypoints[people][:, [names.index(name) for name in points]].astype(np.float64)
    sizes = np.full(len(people), np.nan)
    for a, b in itertools.combinations(range(len(points)), 2):
        both = (head[:, a, 2] > 0) & (head[:, b, 2] > 0)
        length = np.where(both, np.hypot(*(head[:, a, :2] - head[:, b, :2]).T), np.nan)
        sizes = np.fmax(sizes, length)
    return np.where(sizes > 0, sizes, np.nan)


def pck(distances: Float64Array, labelled: BoolArray, sizes: Float64Array, threshold: float) -> Float64Array:
    """(P, K) distances (NaN: not detected), which are labelled, (P,) sizes -> (K + 1,) PCK of each, and of all.

    People of an unknown size (NaN) do not count. NaN where nothing is labelled.
    """
    counted = labelled & np.isfinite(sizes)[:, None]
    with np.errstate(invalid="ignore"):
        right = counted & (distances <= threshold * sizes[:, None])
    right_sums, sums = (np.append(one.sum(axis=0), one.sum()) for one in (right, counted))
    return np.where(sums > 0, right_sums / np.maximum(sums, 1), np.nan)


def area_under_curve(distances: Float64Array, labelled: BoolArray, sizes: Float64Array) -> Float64Array:
    """(K + 1,) of each keypoint, and of all: 1 where each lies on its place."""
    values = np.array([pck(distances, labelled, sizes, threshold) for threshold in CURVE])
    return np.asarray(((values[1:] + values[:-1]) / 2).mean(axis=0))


def accuracy(index: CocoIndex, matches: Matches, skeleton: Skeleton) -> dict[str, Any]:
    """All of the above as JSON: numbers of each keypoint by its name, and `all`; None where nothing is labelled."""
    labelled = index.keypoints[matches.people, :, 2] > 0
    found = (matches.found_by >= 0)[:, None] & labelled
    sizes, distances = person_sizes(index, matches.people), matches.distances
    names = (*skeleton.keypoints, "all")
    values: dict[str, Any] = {
        "pck": {str(t): _named(names, pck(distances, found, sizes, t)) for t in PCK_THRESHOLDS},
        "pck_of_all": {str(t): _named(names, pck(distances, labelled, sizes, t)) for t in PCK_THRESHOLDS},
        "auc": _named(names, area_under_curve(distances, found, sizes)),
        "epe_px": _named(names, _means(distances)),
        "epe_relative": _named(names, _means(distances / sizes[:, None])),
        "curve": [[float(t), _number(pck(distances, found, sizes, t)[-1])] for t in CURVE],
    }
    try:
        heads = head_sizes(index, matches.people, skeleton)
        values["pckh"] = {str(t): _named(names, pck(distances, found, heads, t)) for t in PCK_THRESHOLDS}
    except UserError as error:
        values["pckh"], values["pckh_note"] = None, str(error)
    return values


def _means(values: Float64Array) -> Float64Array:
    there = np.isfinite(values)
    sums, counts = np.where(there, values, 0).sum(axis=0), there.sum(axis=0)
    sums, counts = np.append(sums, sums.sum()), np.append(counts, counts.sum())
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _named(names: tuple[str, ...], values: Float64Array) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(names, values.tolist(), strict=True)}


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def error_kinds(matches: Matches, skeleton: Skeleton) -> dict[str, dict[str, int]]:
    """How many keypoints of the people who were found are of each kind, by the keypoint's name, and `all`."""
    counts = np.array([(matches.kinds == kind).sum(axis=0) for kind in range(len(KINDS))])
    counts = np.concatenate([counts, counts.sum(axis=1, keepdims=True)], axis=1)
    names = (*skeleton.keypoints, "all")
    return {name: dict(zip(KINDS, counts[:, place].tolist(), strict=True)) for place, name in enumerate(names)}


def without_each(
    index: CocoIndex, image_rows: Int64Array, detections: Detections, skeleton: Skeleton, protocol: Protocol
) -> dict[str, float | None]:
    """AP where one keypoint does not count, for each; None where nobody is left."""
    return {
        name: _part(_without(index, place), index.image_ids[image_rows], detections, skeleton, protocol)
        for place, name in enumerate(skeleton.keypoints)
    }


def _without(index: CocoIndex, place: int) -> CocoIndex:
    keypoints = index.keypoints.copy()
    keypoints[:, place] = 0
    counts = (keypoints[..., 2] > 0).sum(axis=1).astype(np.int16)
    return dataclasses.replace(index, keypoints=keypoints, num_keypoints=counts)


def _part(
    index: CocoIndex, image_ids: Int64Array, detections: Detections, skeleton: Skeleton, protocol: Protocol
) -> float | None:
    """AP of some images; None where nobody counts."""
    if not len(image_ids):
        return None
    try:
        value = average_precision(index, detections, skeleton.sigmas, image_ids.tolist(), protocol)["AP"]
    except UserError:
        return None
    return round(value, 6) if value >= 0 else None


def by_crowd(
    index: CocoIndex, image_rows: Int64Array, detections: Detections, skeleton: Skeleton, protocol: Protocol
) -> list[dict[str, Any]]:
    """AP of the images with so many annotated people, crowds left out."""
    counts = np.array([_people_of(index, row).size for row in image_rows.tolist()], np.int64)
    parts = []
    for least, most in CROWDS:
        rows = image_rows[(counts >= least) & (counts <= (most or counts.max(initial=0)))]
        title = f"{least}" if least == most else f"{least} to {most}" if most else f"{least} or more"
        ap = _part(index, index.image_ids[rows], detections, skeleton, protocol)
        parts.append({"people": title, "images": len(rows), "AP": ap})
    return parts


def by_overlap(
    index: CocoIndex, image_rows: Int64Array, detections: Detections, skeleton: Skeleton, protocol: Protocol
) -> list[dict[str, Any]]:
    """AP of the images whose people overlap so much: the largest IoU of two boxes; images with at least two people."""
    overlaps = np.array([_overlap(index.boxes[_people_of(index, row)]) for row in image_rows.tolist()], np.float64)
    parts = []
    for least, most in OVERLAPS:
        rows = image_rows[(overlaps >= least) & (overlaps < most)]
        ap = _part(index, index.image_ids[rows], detections, skeleton, protocol)
        parts.append({"overlap": f"{least:g} to {min(most, 1):g}", "images": len(rows), "AP": ap})
    return parts


def _people_of(index: CocoIndex, row: int) -> Int64Array:
    people = np.arange(index.people(row).start, index.people(row).stop)
    return people[~index.is_crowd[people]]


def _overlap(boxes: Float64Array) -> float:
    """The largest IoU of two of the boxes, (N, 4) left, top, width, height; -1 for fewer than two."""
    if len(boxes) < 2:  # noqa: PLR2004  a pair
        return -1.0
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    sides = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    shared = np.maximum(sides, 0).prod(axis=2)
    areas = boxes[:, 2:].prod(axis=1)
    union = areas[:, None] + areas[None] - shared
    iou = np.where(union > 0, shared / np.maximum(union, 1e-9), 0)
    return float(iou[~np.eye(len(boxes), dtype=bool)].max())


def lost_keypoints(matches: Matches, index: CocoIndex) -> Float64Array:
    """(P,) labelled keypoints of each person that are not good; all of them of a person who was not found."""
    labelled = (index.keypoints[matches.people, :, 2] > 0).sum(axis=1)
    wrong = (matches.kinds > 0).sum(axis=1).astype(np.float64)
    unfound = (matches.kinds == NOT_LABELLED).all(axis=1)
    return np.asarray(np.where(unfound, labelled, wrong), np.float64)
