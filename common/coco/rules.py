# SPDX-License-Identifier: Apache-2.0
"""The check of a data set: what its reader reports of an annotation file, and what breaks these rules.

Swapped sides show in the people who face the camera: their right side is on the left of the image.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.arrays import BoolArray, FloatArray
from common.cli import UserError, printable
from common.coco import reader
from common.coco.annotations import CocoIndex
from common.coco.reader import Fault
from common.skeleton import COCO, Skeleton

import numpy as np

TOLERANCE_IMG = 1.0  # pixels that a box or a keypoint may reach beyond the image: rounding
RARE = 0.01  # of the people whose sides can be checked: up to it swapped sides are slips, above it systematic
PAIRS = ("eye", "ear", "shoulder", "hip")  # not elbows and further: arms and legs cross
MIN_PAIRS = 2  # labelled pairs: a single one may be a slip, or a turned head
FACE = ("nose", "left_eye", "right_eye")
VISIBLE = 2
OTHER_SIDE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
CURES = {
    "file": "Copy or export the annotation file again",
    "images": "Put the images there",
    "image": "Or take the image and its annotations out of the file",
    "exif": "If it was annotated as shown upright by a tool, use --exif=turn in the check, training and evaluation",
    "size": "Write the size that the image has, or restore the image that was annotated",
    "field": "See cocodataset.org, Data format, Keypoint detection",
    "duplicate": "Give each its own id",
    "visibility": "v is 0 (not labelled), 1 (labelled but hidden) or 2 (visible)",
    "outside": "Write pixels of the original image; x, y, v are 0, 0, 0 where a keypoint is not labelled",
    "area": "Write the area of the segmentation in square pixels; leave `area` out, and that of the box counts",
    "category": "Name the category of people `person`",
    "box": "A box is left, top, width, height in pixels of the original image",
    "crowd": "Correct the segmentation, it must fit the image",
    "sides": "Exchange left and right: the right eye of a person who faces the camera is on the left of the image",
    "people": "Training and evaluation need people with keypoints",
    "skeleton": "Correct the skeleton file or `categories`",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or (`is_error` False) worth a look."""

    file: str
    subject: str  # "image 42", "annotation 7", or "" for the whole file
    kind: str  # a key of CURES
    what: str
    is_error: bool = True

    def __str__(self) -> str:
        place = f"{self.file}: {self.subject}" if self.subject else self.file
        return printable(f"{'error' if self.is_error else 'warning'}: {place}: {self.what}. {CURES[self.kind]}")


def check(path: Path, skeleton: Skeleton | None = None) -> tuple[CocoIndex, list[Finding]]:
    """The usable part of an annotation file, and its errors; `skeleton`: the one that it should have."""
    try:
        index, faults = reader.parse(reader.read(path))
    except UserError as error:
        what = str(error).removeprefix(f"{path}: ")
        return reader.parse({})[0], [Finding(str(path), "", "file", what)]
    faults = [fault for fault in faults if fault.kind != "box"]  # a rule names each of these
    names = names_of(index, skeleton)
    if skeleton and names != skeleton.keypoints:
        what = f"its keypoints are {', '.join(names)}, those of the skeleton {', '.join(skeleton.keypoints)}"
        faults.append(Fault("categories", "skeleton", what))
    faults += (*_broken(index), *_exchanged_sides(index, names))
    counts = ~index.is_crowd & (index.num_keypoints > 0)
    if not counts.any() and not any(fault.is_error for fault in faults):
        faults.append(Fault("", "people", "no people with keypoints are annotated"))
    return index, [Finding(str(path), *fault) for fault in faults]


def names_of(index: CocoIndex, skeleton: Skeleton | None) -> tuple[str, ...]:
    """Those of the file, else of the skeleton, else COCO's, where there are as many; else numbers."""
    count = index.keypoints.shape[1]
    fitting = (one.keypoints for one in (skeleton, COCO) if one and count in (0, one.num_keypoints))
    return tuple(index.keypoint_names.tolist()) or next(fitting, tuple(map(str, range(count))))


def _broken(index: CocoIndex) -> Iterator[Fault]:
    """People whose ids, visibilities, keypoints or boxes break the rules."""
    size = index.image_sizes[index.image_rows(np.arange(len(index.boxes)))][:, ::-1]
    points, v = index.keypoints[..., :2], index.keypoints[..., 2]
    low, extent = index.boxes[:, :2], index.boxes[:, 2:]
    ids, times = np.unique(index.annotation_ids, return_counts=True)
    repeated: BoolArray = np.isin(index.annotation_ids, ids[times > 1])
    strange, out = ~np.isin(v, (0, 1, 2)), (v > 0) & ~_inside(points, size[:, None])
    empty: BoolArray = np.any(extent <= 0, axis=1)
    beyond = ~(_inside(low, size) & _inside(low + extent, size))
    for row in np.flatnonzero(repeated | (strange | out).any(axis=1) | empty | beyond).tolist():
        subject, image = f"annotation {index.annotation_ids[row]}", "the {} x {} image".format(*size[row])
        if repeated[row]:
            yield Fault(subject, "duplicate", "there is another annotation of this id")
        if strange[row].any():
            yield Fault(subject, "visibility", f"v is {v[row, strange[row]][0]:g}")
        if out[row].any():
            first = tuple(points[row, out[row]][0].tolist())
            yield Fault(subject, "outside", f"{out[row].sum()} keypoints lie outside {image}, the first at {first}")
        if empty[row]:  # COCO has some of size 0, of people without keypoints
            what = "the box has the size {:g} x {:g}".format(*extent[row])
            yield Fault(subject, "box", what, bool((extent[row] < 0).any()))
        if beyond[row]:
            yield Fault(subject, "outside", f"the box {index.boxes[row].tolist()} reaches out of {image}")


def _inside(points: FloatArray, size: Any) -> BoolArray:
    """(...) which points (..., 2) lie in images of (width, height), or nearly so."""
    return np.asarray(((points >= -TOLERANCE_IMG) & (points <= size + TOLERANCE_IMG)).all(axis=-1))


def _exchanged_sides(index: CocoIndex, names: Sequence[str]) -> Iterator[Fault]:
    testable, wrong = exchanged(index.keypoints, names)
    count = int(wrong.sum())
    if 2 * count > testable.sum():
        what = f"left and right are exchanged, in {count} of {testable.sum()} people who face the camera"
        yield Fault("", "sides", what)
    for number in index.annotation_ids[wrong].tolist():
        what = "faces the camera, with left and right exchanged in every pair"
        yield Fault(f"annotation {number}", "sides", what, bool(count > RARE * testable.sum()))


def exchanged(keypoints: FloatArray, names: Sequence[str]) -> tuple[BoolArray, BoolArray]:
    """People whose sides can be checked, and those whose every pair of sides is reversed: two (P,) bool.

    `keypoints` (P, K, 3): x, y, v in original pixels, of the K `names`. Checked are people who show nose and both
    eyes, so they face the camera, and another pair. From right to left is then a quarter turn against the clock from
    the way down the body, so people who lie or stand on their head are checked, too. Skeletons without a face: none.
    """
    if not set(FACE) <= set(names) or keypoints.shape[1] != len(names):  # where no people are annotated
        return np.zeros(len(keypoints), np.bool_), np.zeros(len(keypoints), np.bool_)
    points = {name: keypoints[:, place].astype(np.float64) for place, name in enumerate(names)}
    parts = [part for part in PAIRS if {f"left_{part}", f"right_{part}"} <= set(names)]
    left, right = (np.array([points[f"{side}_{part}"] for part in parts]) for side in ("left", "right"))
    known = (left[..., 2] > 0) & (right[..., 2] > 0)  # (pairs, P)
    across, middles = (left - right)[..., :2], (left + right) / 2
    down = points["nose"] - middles[0]  # the first pair are the eyes
    if "shoulder" in parts:
        place = parts.index("shoulder")
        down = np.where(known[place, :, None], middles[place] - points["nose"], down)
    wrong = across[..., 0] * down[:, 1] - across[..., 1] * down[:, 0] < 0
    shows_face = np.all([points[name][:, 2] == VISIBLE for name in FACE], axis=0)
    testable = shows_face & (known.sum(axis=0) >= MIN_PAIRS)
    return testable, testable & (wrong | ~known).all(axis=0)


def broken_skeleton(skeleton: Skeleton) -> list[Finding]:
    """Flip pairs that contradict the names: a keypoint that is left or right must mirror its namesake."""
    findings = []
    for name, place in zip(skeleton.keypoints, skeleton.keypoint_flip.tolist(), strict=True):
        mirror, other = skeleton.keypoints[place], re.sub("[Ll]eft|[Rr]ight", lambda side: OTHER_SIDE[side[0]], name)
        namesake = other if other in skeleton.keypoints else name
        if mirror != namesake:
            what = f"flip_pairs mirror {name} to {mirror}, its name says {namesake}"
            findings.append(Finding(f"skeleton {skeleton.name}", "", "skeleton", what))
    return findings
