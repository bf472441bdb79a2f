# SPDX-License-Identifier: Apache-2.0
"""The boxes that people are cropped from: of annotated people, or of a detector."""

from array import array
from pathlib import Path
from typing import Any

from common.arrays import Float64Array, Int64Array
from common.cli import UserError
from common.coco import fields
from common.coco.evaluate import EvaluationSet, places_of, read_list
from common.people import PERSON_CATEGORY
from common.topdown.crops import DETECTED, PersonBoxes, boxes_inside, labelled_people

import numpy as np

FORMAT = 'a list of {"image_id": 1, "category_id": 1, "bbox": [left, top, width, height], "score": 0.9} is needed'


def annotated(validation: EvaluationSet, lenient: bool = False) -> PersonBoxes:
    """The boxes of the annotated people, see `crops.labelled_people`. Raises UserError where there are none."""
    people = labelled_people(validation.index, lenient)
    people = people.select(_in_order_of(validation, people.image_rows))
    if not len(people):
        what = "no people with keypoints and a box in the images to evaluate"
        raise UserError(f"{validation.annotations}: {what}; `python -m common.coco DATA_PATH` checks it")
    return people


def detected(path: str | Path, validation: EvaluationSet, min_score: float = 0.0) -> PersonBoxes:
    """The boxes of a detector from COCO's list of results; those below `min_score` are not taken.

    Boxes that are not finite, of no size or outside their image, and those of unknown images, are left out; `notes`
    counts them. Raises UserError, naming the file: missing or damaged, no such list, a broken entry, only other
    images, nothing left.
    """
    image_ids, boxes, scores = _read(path)
    image_rows = places_of(image_ids, validation.index.image_ids)
    known = image_rows >= 0
    if len(known) and not known.any():
        raise UserError(
            f"{path}: detections of other images: none of its image ids (the first is {image_ids[0]}) is in "
            f"{validation.annotations}; name the detections of these images"
        )
    finite = np.isfinite(scores) & (np.abs(boxes) < fields.LARGEST_IMG).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    sizes = validation.index.image_sizes[image_rows]
    inside = (boxes_inside(np.where(finite[:, None], boxes, 0), sizes)[:, 2:] >= 0).all(axis=1)
    wrong, notes = np.flatnonzero(known & ~(finite & inside)), list[str]()
    if not known.all():
        notes.append(f"{path}: {np.count_nonzero(~known)} boxes of images that are not annotated are left out")
    if len(wrong):
        first = f"image id {image_ids[wrong[0]]}, {boxes[wrong[0]].tolist()}"
        why = "not finite, of no size or outside their image"
        notes.append(f"{path}: {len(wrong)} boxes are left out, {why}; the first: {first}")
    rows = np.flatnonzero(known & finite & inside & (scores >= min_score))
    rows = rows[_in_order_of(validation, image_rows[rows])]
    if not len(rows):
        least = f"of a person (category_id {PERSON_CATEGORY}) with a score of at least {min_score}"
        advice = "; ".join((f"lower the least score or run the detector again; {FORMAT}", *notes))
        raise UserError(f"{path}: no box {least} in the images to evaluate: {advice}")
    return PersonBoxes(image_rows[rows], boxes[rows], scores[rows], np.full(len(rows), DETECTED), tuple(notes))


def _read(path: str | Path) -> tuple[Int64Array, Float64Array, Float64Array]:
    """Image ids (N,), boxes (N, 4) and scores (N,) of the people of a detection file."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; name the boxes that a detector found")
    people = list(filter(None, read_list(path, _person, FORMAT)))
    image_ids, boxes, scores = zip(*people, strict=True) if people else ((),) * 3
    return np.array(image_ids, np.int64), np.array(boxes, np.float64).reshape(-1, 4), np.array(scores, np.float64)


def _person(entry: Any) -> tuple[int, "array[float]", float] | None:
    """Image, box and score; None for another category."""
    fields.need_object(entry)
    if fields.category_of(entry.get("category_id", PERSON_CATEGORY)) != str(PERSON_CATEGORY):
        return None
    return fields.whole(entry["image_id"], "image_id"), fields.box_of(entry), float(entry["score"])


def _in_order_of(validation: EvaluationSet, image_rows: Int64Array) -> Int64Array:
    """The items whose image is to be evaluated, image after image."""
    places = places_of(image_rows, validation.rows)
    order = np.argsort(places, kind="stable")
    return order[places[order] >= 0]
