# SPDX-License-Identifier: Apache-2.0
"""How close keypoints are to their annotations: PCK, PCKh, AUC, EPE; AP of parts of a data set.

PCK at t is the part of the labelled keypoints within t times the person's size, PCKh within t times the size
of the head. The size of a person is the longer side of the box; that of a head the length from head to neck where a
skeleton has both, else the largest distance between two labelled points of nose, eyes and ears. A keypoint that was not
detected is wrong. `pck` counts the people who were found, `pck_of_all` all people. AUC is the area below PCK from 0 to
0.5, as a part of the largest possible. EPE is the mean distance of the keypoints that were detected, in pixels and as a
part of the person's size.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from common.arrays import BoolArray, Float64Array, Int64Array
from common.cli import UserError
from common.coco.annotations import CocoIndex
from common.coco.errors import KINDS, Matches
from common.coco.evaluate import Detections, EvaluationSet, Protocol
from common.skeleton import Skeleton

import numpy as np
from faster_coco_eval.core import mask as coco_mask

PCK_THRESHOLDS = (0.05, 0.1, 0.2, 0.5)
CURVE = np.linspace(0, 0.5, 51)
HEAD_ENDS = (("head", "neck"), ("head_top", "upper_neck"), ("head_top", "neck"))
HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
Measure = Callable[[EvaluationSet], float | None]  # `precision` of the same detections


def accuracy(index: CocoIndex, matches: Matches, skeleton: Skeleton) -> dict[str, Any]:
    """All of the above as JSON: numbers of each keypoint by its name, and `all`; None where nothing is labelled."""
    distances, labelled = matches.distances, index.keypoints[matches.people, :, 2] > 0
    found = (matches.found_by >= 0)[:, None] & labelled
    sides = index.boxes[matches.people, 2:].max(axis=1, initial=0)
    sizes, heads = np.where(sides > 0, sides, np.nan), _head_sizes(index, matches.people, skeleton)

    def parts(counted: BoolArray, lengths: Float64Array) -> dict[str, Any]:
        return {str(t): _named(skeleton, _pck(distances, counted, lengths, t)) for t in PCK_THRESHOLDS}

    curve = np.array([_pck(distances, found, sizes, t) for t in CURVE])
    return {
        "pck": parts(found, sizes),
        "pck_of_all": parts(labelled, sizes),
        "pckh": None if heads is None else parts(found, heads),
        "auc": _named(skeleton, ((curve[1:] + curve[:-1]) / 2).mean(axis=0)),
        "epe_px": _named(skeleton, _means(distances)),
        "epe_relative": _named(skeleton, _means(distances / sizes[:, None])),
        "curve": [[float(t), _number(value)] for t, value in zip(CURVE, curve[:, -1], strict=True)],
    }


def _head_sizes(index: CocoIndex, people: Int64Array, skeleton: Skeleton) -> Float64Array | None:
    """(P,) px; NaN where the points of the head are not labelled. None for a skeleton without a head."""
    names = skeleton.keypoints
    points = next((pair for pair in HEAD_ENDS if set(pair) <= set(names)), [name for name in HEAD if name in names])
    if len(points) <= 1:
        return None
    head = index.keypoints[people][:, [names.index(name) for name in points]].astype(np.float64)
    head[head[..., 2] <= 0] = np.nan
    gaps = np.hypot(*np.moveaxis(head[:, :, None, :2] - head[:, None, :, :2], 3, 0))
    lengths = np.fmax.reduce(gaps.reshape(len(people), -1), axis=1)
    return np.where(lengths > 0, lengths, np.nan)


def _pck(distances: Float64Array, labelled: BoolArray, sizes: Float64Array, threshold: float) -> Float64Array:
    """(P, K) distances (NaN: not detected), which are labelled, (P,) sizes -> (K + 1,) PCK of each, and of all.

    People of an unknown size (NaN) do not count. NaN where nothing is labelled.
    """
    return _means(np.where(labelled & np.isfinite(sizes)[:, None], distances <= threshold * sizes[:, None], np.nan))


def _means(values: Float64Array) -> Float64Array:
    """(P, K) -> (K + 1,): the mean of each column, and of all, without NaN; NaN where there is nothing else."""
    sums, counts = np.nansum(values, axis=0), np.isfinite(values).sum(axis=0)
    sums, counts = np.append(sums, sums.sum()), np.append(counts, counts.sum())
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _named(skeleton: Skeleton, values: Float64Array) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip((*skeleton.keypoints, "all"), values, strict=True)}


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def error_kinds(matches: Matches, skeleton: Skeleton) -> dict[str, dict[str, int]]:
    """How many keypoints of the people who were found are of each kind, by the keypoint's name, and `all`."""
    counts = np.array([(matches.kinds == kind).sum(axis=0) for kind in range(len(KINDS))])
    columns = [*counts.T.tolist(), counts.sum(axis=1).tolist()]
    names = (*skeleton.keypoints, "all")
    return {name: dict(zip(KINDS, column, strict=True)) for name, column in zip(names, columns, strict=True)}


def precision(
    detections: Detections, skeleton: Skeleton, protocol: Protocol, validation: EvaluationSet
) -> float | None:
    """AP of some images; None where no people count."""
    try:
        value = validation.average_precision(detections, skeleton.sigmas, protocol)["AP"]
    except UserError:
        return None
    return round(value, 6) if value >= 0 else None


def without_each(validation: EvaluationSet, skeleton: Skeleton, measure: Measure) -> dict[str, float | None]:
    """AP where one keypoint does not count, for each; None where no people are left."""
    found = {}
    for place, name in enumerate(skeleton.keypoints):
        keypoints = validation.index.keypoints.copy()
        keypoints[:, place] = 0
        counts = (keypoints[..., 2] > 0).sum(axis=1).astype(np.int16)
        index = dataclasses.replace(validation.index, keypoints=keypoints, num_keypoints=counts)
        found[name] = measure(dataclasses.replace(validation, index=index))
    return found


def by_part(part: str, validation: EvaluationSet, measure: Measure) -> list[dict[str, Any]]:
    """AP of the images in the ranges of one of PARTS."""
    index, values = validation.index, []
    count, ranges = PARTS[part]
    for row in validation.rows.tolist():
        people = index.people(row)
        values.append(count(index.boxes[people][~index.is_crowd[people]]))
    rows = []
    for name, (least, below) in ranges.items():
        chosen = (np.array(values) >= least) & (np.array(values) < below)
        images = dataclasses.replace(validation, rows=validation.rows[chosen])
        rows.append({part: name, "images": len(images.rows), "AP": measure(images)})
    return rows


def _overlap(boxes: Float64Array) -> float:
    """The largest IoU of two of the boxes, (N, 4) left, top, width, height; -1 for fewer than two."""
    iou = np.asarray(coco_mask.iou(boxes, boxes, [False] * len(boxes))).reshape(len(boxes), len(boxes))
    return float(iou[~np.eye(len(boxes), dtype=bool)].max(initial=-1))


# Of the people's boxes in an image, (N, 4), crowds left out: a number, and its ranges by name: from, and below.
PARTS: dict[str, tuple[Callable[[Float64Array], float], dict[str, tuple[float, float]]]] = {
    "people": (len, {"1": (1, 2), "2 to 3": (2, 4), "4 to 7": (4, 8), "8 or more": (8, np.inf)}),
    "overlap": (
        _overlap,
        {"0 to 0.1": (0, 0.1), "0.1 to 0.3": (0.1, 0.3), "0.3 to 0.5": (0.3, 0.5), "0.5 to 1": (0.5, np.inf)},
    ),
}
