# SPDX-License-Identifier: Apache-2.0
"""Average precision of detected people after COCO, CrowdPose and OCHuman.

The numbers are those of pycocotools and of the official CrowdPose tool; faster-coco-eval computes them.
"""

import json
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from common import files
from common.arrays import Float64Array, Int64Array, UInt8Array
from common.cli import ImageError, UserError
from common.coco import fields, images
from common.coco.annotations import CocoIndex
from common.coco.reader import load
from common.people import PERSON_CATEGORY
from common.skeleton import Skeleton

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

Result = TypeVar("Result")
Protocol = Literal["coco", "crowdpose", "ochuman"]
COCO_METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")  # OCHuman's, too
CROWDPOSE_METRICS = ("AP", "AP50", "AP75", "AR", "AR50", "AR75", "APeasy", "APmed", "APhard")
MAX_PEOPLE = 20  # of one image that count, the best first (COCO)
_RANGES = {"m": "area=medium", "l": "area= large", "easy": "type=  easy", "med": "type=medium", "hard": "type=  hard"}


@dataclass(frozen=True)
class Detections:
    """N detected people: coordinates in original pixels (`_img`), people of one image in any order."""

    image_ids: Int64Array  # (N,)
    keypoints: npt.NDArray[Any]  # (N, K, 3) float32 or float64: x, y, score or 1; 0, 0, 0 where not found
    scores: Float64Array  # (N,)

    def __len__(self) -> int:
        return len(self.image_ids)

    def select(self, rows: npt.NDArray[Any]) -> "Detections":
        """A selection: a mask or row numbers."""
        return Detections(self.image_ids[rows], self.keypoints[rows], self.scores[rows])

    def to_json(self) -> list[dict[str, Any]]:
        """COCO's list of results. Raises UserError, naming the image, for a NaN or an infinity."""
        finite = np.isfinite(self.scores) & np.isfinite(self.keypoints).all(axis=(1, 2))
        if not finite.all():
            image = self.image_ids[~finite][0]
            raise UserError(f"the network's result for image id {image} has NaN or infinity in it: there is no AP")
        rows = zip(self.image_ids.tolist(), self.keypoints, self.scores.tolist(), strict=True)
        return [
            {"image_id": image, "category_id": PERSON_CATEGORY, "keypoints": keypoints.ravel().tolist(), "score": score}
            for image, keypoints, score in rows
        ]

    def write_json(self, path: str | Path) -> None:
        """Writes COCO's result file, all digits, indented by 4 as the originals do."""
        files.write_atomically(path, json.dumps(self.to_json(), indent=4).encode())


def no_detections(num_keypoints: int) -> Detections:
    """No people."""
    return Detections(np.zeros(0, np.int64), np.zeros((0, num_keypoints, 3), np.float32), np.zeros(0))


def concatenate(parts: Sequence[Detections]) -> Detections:
    """The detections of several parts of a data set, one after the other; at least one part."""
    return Detections(
        np.concatenate([part.image_ids for part in parts]).astype(np.int64),
        np.concatenate([part.keypoints for part in parts]),
        np.concatenate([part.scores for part in parts]).astype(np.float64),
    )


def places_of(ids: Int64Array, known: Int64Array) -> Int64Array:
    """(N,) the place of each of N `ids` among the `known` ones, which are different; -1 for an unknown one."""
    places = {number: place for place, number in enumerate(known.tolist())}
    return np.array([places.get(number, -1) for number in ids.tolist()], np.int64)


def table(metrics: Mapping[str, float]) -> str:
    """The metrics in the lines of pycocotools."""
    lines = []
    for name, value in metrics.items():
        kind, rest = name[:2], name[2:]
        title, overlap = f"Average {'Precision' if kind == 'AP' else 'Recall'}", f"0.{rest}" if rest.isdigit() else ""
        conditions = f"IoU={overlap or '0.50:0.95':<9} | {_RANGES.get(rest, 'area=   all')} | maxDets={MAX_PEOPLE:>3d}"
        lines.append(f" {title:<18} ({kind}) @[ {conditions} ] = {value:0.3f}")
    return "\n".join(lines)


@dataclass(frozen=True)
class EvaluationSet:
    """Annotated images to evaluate on."""

    annotations: str | Path  # what errors call them
    folder: Path
    index: CocoIndex
    rows: Int64Array  # images of the index
    exif: images.Exif = "ignore"

    @staticmethod
    def load(
        annotations: Path, folder: Path, skeleton: Skeleton, num_images: int, exif: images.Exif = "ignore"
    ) -> "EvaluationSet":
        """All images of a file, or `num_images` of them by the publication's rule. Raises UserError."""
        index = load(annotations, skeleton.num_keypoints)
        some = 0 < num_images < index.num_images
        rows = val_subset(index.num_images, num_images) if some else range(index.num_images)
        return EvaluationSet(annotations, folder, index, np.array(rows), exif)

    @staticmethod
    def of(
        index: CocoIndex, image_ids: npt.ArrayLike | None = None, annotations: str | Path = "annotations"
    ) -> "EvaluationSet":
        """Images of an index by their ids, None: all; only their annotations are at hand."""
        rows = np.flatnonzero(np.isin(index.image_ids, index.image_ids if image_ids is None else image_ids))
        return EvaluationSet(annotations, Path(), index, rows)

    def average_precision(
        self, detections: Detections, sigmas: Sequence[float], protocol: Protocol = "coco"
    ) -> dict[str, float]:
        """The COCO_METRICS or CROWDPOSE_METRICS by name; -1 where no people are annotated (COCO's convention).

        `detections`: those of other images of the index do not count. `sigmas`: one a keypoint, `Skeleton.sigmas`.
        Raises UserError: a detection with NaN or of an unknown image; annotations that lack what the protocol needs,
        or whose people do not count.
        """
        if detections.keypoints.shape[1] != len(sigmas):
            raise ValueError(f"{detections.keypoints.shape[1]} keypoints, {len(sigmas)} sigmas")
        rows = places_of(detections.image_ids, self.index.image_ids)
        if (rows < 0).any():
            first = f"detections of image id {detections.image_ids[rows < 0][0]}"
            raise UserError(f"{first}, which is not in {self.annotations}: evaluate with its own file")
        people = self._people(protocol)
        metrics = self._evaluate(people, detections.select(np.isin(rows, self.rows)), sigmas, protocol)
        if metrics["AP"] < 0 and len(people):
            what = "AP is -1 although people are annotated: are their areas beyond measure?"
            raise UserError(f"{self.annotations}: {what} `python -m common.coco DATA_PATH` checks the data set")
        return metrics

    def _people(self, protocol: Protocol) -> Int64Array:
        """(P,) the rows of the people in these images. Raises UserError where none would count."""
        index, source = self.index, self.annotations
        if not len(self.rows):
            raise UserError(f"{source}: none of its images is to be evaluated")
        if protocol == "crowdpose" and (index.crowd_index[self.rows] < 0).any():
            raise UserError(f"{source}: no crowdIndex in its images, so this is no CrowdPose file")
        people = np.flatnonzero(np.isin(index.image_rows(np.arange(len(index.boxes))), self.rows))
        if len(people) and not (~index.is_crowd & (index.num_keypoints > 0))[people].any():
            raise UserError(
                f"{source}: none of the {len(people)} people in the images to evaluate counts, AP would be -1: all are "
                "crowds, or have no labelled keypoint (v is 0 everywhere)"
            )
        return people

    def _evaluate(
        self, people: Int64Array, detections: Detections, sigmas: Sequence[float], protocol: Protocol
    ) -> dict[str, float]:
        """Images are numbered from 1 on in the order of their ids: the evaluation may hold an id as a float."""
        index, known = self.index, np.sort(self.index.image_ids)
        numbers = (places_of(index.image_ids, known) + 1).tolist()
        owners = index.image_rows(people).tolist()
        annotations = [
            {
                "id": number,  # from 1 on: the evaluation takes the id 0 for a detection without a match
                "image_id": numbers[image],
                "category_id": PERSON_CATEGORY,
                "keypoints": index.keypoints[row].ravel().tolist(),
                "num_keypoints": int(index.num_keypoints[row]),
                "bbox": index.boxes[row].tolist(),
                "area": float(index.areas[row]),
                "iscrowd": int(index.is_crowd[row]),
            }
            for number, (row, image) in enumerate(zip(people.tolist(), owners, strict=True), 1)
        ]
        images = [{"id": numbers[row], "crowdIndex": float(index.crowd_index[row])} for row in self.rows.tolist()]
        category = {"id": PERSON_CATEGORY, "name": "person"}
        annotated = COCO({"images": images, "annotations": annotations, "categories": [category]})
        owners = (places_of(detections.image_ids, known) + 1).tolist()
        results = [{**one, "image_id": owner} for one, owner in zip(detections.to_json(), owners, strict=True)]
        evaluation = COCOeval_faster(
            annotated,
            annotated.loadRes(results),
            "keypoints_crowd" if protocol == "crowdpose" else "keypoints",
            kpt_oks_sigmas=np.asarray(sigmas, np.float64),
            use_area=protocol != "crowdpose",  # CrowdPose has no areas: 0.53 of the box
        )
        evaluation.run()
        names = CROWDPOSE_METRICS if protocol == "crowdpose" else COCO_METRICS
        return {name: float(value) for name, value in zip(names, evaluation.all_stats, strict=False)}

    def check(self, protocol: Protocol = "coco") -> None:
        """Raises UserError where an evaluation would fail: no people count, an image is missing."""
        self._people(protocol)
        names = [self.index.file_name(row) for row in self.rows.tolist()]
        missing = [name for name in names if not os.path.exists(images.path_inside(str(self.folder), name))]
        if missing:
            count = f"{len(missing)} of {len(names)} annotated images are not there, the first is {missing[0]!r}"
            raise ImageError(f"{self.folder}: {count}: evaluation needs them. Put them there")

    def read(self, row: int) -> UInt8Array:
        """(h, w, 3) uint8 BGR. Raises ImageError, also where the file has another size than its annotation says."""
        height, width = self.index.image_sizes[row].tolist()
        return images.read_annotated(self.folder, self.index.file_name(row), (height, width), self.exif)


def read_list(path: str | Path, read: Callable[[Any], Result], advice: str) -> Iterator[Result]:
    """Applies `read` to each element of a file that is a JSON list. Raises UserError, see `read_each`."""
    content = files.read_json(path)
    if not isinstance(content, list):
        raise UserError(f"{path}: no list of detections; {advice}")
    return read_each(path, "entry", 0, content, read, advice)


def read_each(
    path: str | Path, what: str, first: int, content: Iterable[Any], read: Callable[[Any], Result], advice: str
) -> Iterator[Result]:
    """Applies `read` to each element. Raises UserError: the file, `what` at which place, counted from `first`."""
    for place, one in enumerate(content, first):
        try:
            found = read(one)
        except (*fields.FAULTS, RecursionError) as error:
            raise UserError(f"{path}: {what} {place}: {fields.words(error)}; {advice}") from error
        yield found


def val_subset(num_images: int, size: int, seed: int = 0) -> list[int]:
    """Positions of the images that a validation subset takes, in drawn order.

    With seed 0, 250 of COCO val2017's 5,000 are those of the published results.
    """
    positions = list(range(num_images))
    random.Random(seed).shuffle(positions)
    return positions[:size]
