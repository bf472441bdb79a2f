# SPDX-License-Identifier: Apache-2.0
"""The original program's prepared labels: a list with one dict a sample, in which everybody is told again and again.

The format is that of its `prepare_train_labels.py`: specification of the original, item by item.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.coco.annotations import CocoIndex
from common.coco.reader import from_sections

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from Lightweight_OpenPose.labels import TrainLabels

PREPARED_V = (2, 0, 1)  # COCO's v 0 absent, 1 hidden, 2 visible, in the original's numbers
COCO_V = (1, 2, 0)  # and back


def original_item(labels: "TrainLabels", sample: int) -> dict[str, Any]:
    """A sample as the original's dict: names, box centre, scale, `v` in its own numbers, the other people, crowds.

    Crowd segmentations are uncompressed run lengths, whatever kind the annotation file has.
    """
    index, image = labels.index, int(labels.images[sample])
    height, width = index.image_sizes[image].tolist()
    people = index.people(image)
    rows = people.start + np.flatnonzero(index.is_crowd[people])
    crowds = [index.runs[index.run_offsets[row] : index.run_offsets[row + 1]] for row in rows]
    return {
        "img_paths": index.file_name(image),
        "img_width": width,
        "img_height": height,
        "image_id": int(index.image_ids[image]),
        **_original_person(labels, int(labels.main[sample])),
        "segmentations": [{"counts": runs.tolist(), "size": [height, width]} for runs in crowds],
        "processed_other_annotations": [_original_person(labels, row) for row in labels.others(sample).tolist()],
    }


def _original_person(labels: "TrainLabels", row: int) -> dict[str, Any]:
    index = labels.index
    left, top, width, height = index.boxes[row].tolist()
    return {
        "objpos": [left + width / 2, top + height / 2],
        "bbox": [left, top, width, height],
        "segment_area": float(index.areas[row]),
        "scale_provided": height / labels.net_input_size,
        "num_keypoints": int(index.num_keypoints[row]),
        "keypoints": [[_number(x), _number(y), PREPARED_V[int(v)]] for x, y, v in index.keypoints[row].tolist()],
    }


def _number(value: float) -> int | float:
    """Whole numbers without a point, as COCO's files write them."""
    return int(value) if value.is_integer() else value


def from_original(items: list[dict[str, Any]], path: str | Path) -> tuple[CocoIndex, npt.NDArray[np.int32], int]:
    """The index, the main person of each sample (S,) and the network input size of the original's list.

    Annotation ids are not in it: people are numbered from 1. `path` is the name that errors tell. Raises UserError,
    KeyError, TypeError, IndexError, AttributeError or ValueError where it is not such a list.
    """
    samples_of: dict[int, list[int]] = {}
    for sample, item in enumerate(items):
        samples_of.setdefault(item["image_id"], []).append(sample)
    firsts = [items[samples[0]] for samples in samples_of.values()]
    images = [
        {
            "id": item["image_id"],
            "file_name": item["img_paths"],
            "height": item["img_height"],
            "width": item["img_width"],
        }
        for item in firsts
    ]
    main = np.zeros(len(items), np.int32)
    tall = next((item for item in items if item["scale_provided"] > 0), None)
    if tall is None:
        raise ValueError("nobody is in it")
    annotations = _annotations(items, samples_of, main)
    index = from_sections(path, [("images", images), ("annotations", annotations)])
    return index, main, round(tall["bbox"][3] / tall["scale_provided"])


def _annotations(
    items: list[dict[str, Any]], samples_of: dict[int, list[int]], main: npt.NDArray[np.int32]
) -> Iterator[dict[str, Any]]:
    """COCO annotations of the people and crowds, image by image; on the way `main` (S,) gets the row of each sample."""
    row = 0
    for image_id, samples in samples_of.items():
        people = _people_of([items[sample] for sample in samples])
        for sample in samples:
            main[sample] = row + people.index(_as_person(items[sample]))
        for person in people + [{"segmentation": region} for region in items[samples[0]]["segmentations"]]:
            row += 1
            yield {"id": row, "image_id": image_id, **_as_annotation(person, people[0])}


_PERSON_KEYS = ("objpos", "bbox", "segment_area", "scale_provided", "num_keypoints", "keypoints")


def _as_person(item: dict[str, Any]) -> dict[str, Any]:
    return {key: item[key] for key in _PERSON_KEYS}


def _people_of(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All people of an image, in the order of the annotation file.

    An item names everybody else in this order; where its own main person belongs, another item of the image tells.
    """
    people = [_as_person(other) for other in items[0]["processed_other_annotations"]]
    main = _as_person(items[0])
    elsewhere = [_as_person(other) for other in items[-1]["processed_other_annotations"]]
    people.insert(elsewhere.index(main) if main in elsewhere else 0, main)
    missing = [_as_person(item) for item in items if _as_person(item) not in people]
    return people + missing


def _as_annotation(person: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """A COCO annotation of a person, or of a crowd: {"segmentation": region}, with as many keypoints as `like`."""
    if "segmentation" in person:
        return {
            "iscrowd": 1, "segmentation": person["segmentation"], "bbox": [0, 0, 0, 0], "area": 0, "num_keypoints": 0,
            "keypoints": [0, 0, 0] * len(like["keypoints"]),
        }  # fmt: skip
    keypoints = [value for x, y, v in person["keypoints"] for value in (x, y, COCO_V[v])]
    return {
        "iscrowd": 0, "bbox": person["bbox"], "area": person["segment_area"],
        "num_keypoints": person["num_keypoints"], "keypoints": keypoints,
    }  # fmt: skip
