# SPDX-License-Identifier: Apache-2.0
"""Average precision of detected people after COCO, CrowdPose and OCHuman, from results gathered over ranks.

The numbers are those of pycocotools and of the official CrowdPose tool; faster-coco-eval computes them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common import distributed, files
from common.cli import UserError

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

Protocol = Literal["coco", "crowdpose", "ochuman"]
PERSON_CATEGORY = 1
COCO_METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
CROWDPOSE_METRICS = ("AP", "AP50", "AP75", "AR", "AR50", "AR75", "APeasy", "APmed", "APhard")
METRICS: Mapping[str, tuple[str, ...]] = {
    "coco": COCO_METRICS,
    "ochuman": COCO_METRICS,  # its annotations come in COCO's format and count by COCO's rules
    "crowdpose": CROWDPOSE_METRICS,
}
MAX_PEOPLE = 20  # of one image that count, the best first (COCO)
_RANGES = {"m": "area=medium", "l": "area= large", "easy": "type=  easy", "med": "type=medium", "hard": "type=  hard"}


@dataclass(frozen=True)
class Detections:
    """N detected people: coordinates in original pixels (`_img`), people of one image in any order."""

    image_ids: npt.NDArray[np.int64]  # (N,)
    keypoints: npt.NDArray[Any]  # (N, K, 3) float32 or float64: x, y, score or 1; 0, 0, 0 where not found
    scores: npt.NDArray[np.float64]  # (N,)

    def __post_init__(self) -> None:
        if self.keypoints.ndim != 3 or self.keypoints.shape[2] != 3:
            raise ValueError(f"keypoints {self.keypoints.shape} must be (people, keypoints, 3)")
        if not len(self.image_ids) == len(self.keypoints) == len(self.scores):
            raise ValueError(f"{len(self.image_ids)} images, {len(self.keypoints)} people, {len(self.scores)} scores")

    def __len__(self) -> int:
        return len(self.image_ids)

    def select(self, rows: npt.NDArray[Any]) -> "Detections":
        """Some of them: a mask or row numbers."""
        return Detections(self.image_ids[rows], self.keypoints[rows], self.scores[rows])

    def to_json(self) -> list[dict[str, Any]]:
        """COCO's list of results. Raises UserError, naming the image, for a NaN or an infinity."""
        finite = np.isfinite(self.scores) & np.isfinite(self.keypoints).all(axis=(1, 2))
        if not finite.all():
            image = self.image_ids[~finite][0]
            raise UserError(f"the network's result for image id {image} has NaN or infinity in it: no AP can be told")
        flat = self.keypoints.reshape(len(self), 3 * self.keypoints.shape[1]).tolist()
        rows = zip(self.image_ids.tolist(), flat, self.scores.tolist(), strict=True)
        return [
            {"image_id": image, "category_id": PERSON_CATEGORY, "keypoints": keypoints, "score": score}
            for image, keypoints, score in rows
        ]

    def write_json(self, path: str | Path) -> None:
        """Writes COCO's result file, all digits, indented by 4 as the originals do."""
        files.write_atomically(path, json.dumps(self.to_json(), indent=4).encode())


def no_detections(num_keypoints: int) -> Detections:
    """Nobody."""
    return Detections(np.zeros(0, np.int64), np.zeros((0, num_keypoints, 3), np.float32), np.zeros(0))


def concatenate(parts: Sequence[Detections]) -> Detections:
    """The detections of several parts of a data set, one after the other; at least one part."""
    return Detections(
        np.concatenate([part.image_ids for part in parts]).astype(np.int64),
        np.concatenate([part.keypoints for part in parts]),
        np.concatenate([part.scores for part in parts]).astype(np.float64),
    )


def from_json(results: Iterable[Mapping[str, Any]], num_keypoints: int) -> Detections:
    """The detections of COCO's list of results. Raises UserError for another number of keypoints."""
    results = list(results)
    for result in results:
        if len(result["keypoints"]) != 3 * num_keypoints:
            given = f"{len(result['keypoints'])} keypoint numbers"
            raise UserError(f"a result for image id {result['image_id']} has {given}, not 3 x {num_keypoints}")
    return Detections(
        np.array([result["image_id"] for result in results], np.int64),
        np.array([result["keypoints"] for result in results], np.float64).reshape(-1, num_keypoints, 3),
        np.array([result["score"] for result in results], np.float64),
    )


def gather(detections: Detections) -> Detections:
    """Those of all ranks, on every rank. An image that several ranks saw, to fill their last batch, counts once."""
    return merge(distributed.gather_objects(detections))


def merge(ranks: Sequence[Detections]) -> Detections:
    """The detections of all ranks; those of an image come from the first rank that has any."""
    seen = np.zeros(0, np.int64)
    parts = []
    for part in ranks:
        parts.append(part.select(~np.isin(part.image_ids, seen)))
        seen = np.union1d(seen, part.image_ids)
    return concatenate(parts)


def average_precision(
    annotations: str | Path | Mapping[str, Any],
    detections: Detections,
    sigmas: Sequence[float],
    image_ids: Iterable[int] | None = None,
    protocol: Protocol = "coco",
) -> dict[str, float]:
    """The metrics of a protocol, by the names in METRICS; -1 where nobody is annotated (COCO's convention).

    `annotations`: annotation file, or its content. `sigmas`: one a keypoint, `Skeleton.sigmas`. `image_ids`: only
    these images count; None: all of the file.
    Raises UserError: a detection with NaN or of an unknown image; annotations that lack what the protocol needs.
    """
    if isinstance(annotations, Mapping):
        content, source = annotations, "annotations"
    else:
        content, source = files.read_json(annotations), str(annotations)
    if not isinstance(content, Mapping) or not {"images", "annotations"} <= set(content):
        raise UserError(f"{source}: no lists `images` and `annotations`; a COCO keypoint file is needed")
    known = {int(image["id"]) for image in content["images"]}
    unknown = np.setdiff1d(detections.image_ids, np.array(list(known), np.int64))
    if len(unknown):
        raise UserError(f"detections of image id {unknown[0]}, which is not in {source}: evaluate with its own file")
    if detections.keypoints.shape[1] != len(sigmas):
        raise ValueError(f"{detections.keypoints.shape[1]} keypoints, {len(sigmas)} sigmas")
    wanted = known if image_ids is None else known & {int(image) for image in image_ids}
    truth = _truth(content, wanted, len(sigmas), protocol, source)
    results = [result for result in detections.to_json() if result["image_id"] in wanted]
    category = truth["categories"][0]["id"]
    return _evaluate(truth, [{**result, "category_id": category} for result in results], sigmas, protocol)


def _truth(
    content: Mapping[str, Any], wanted: set[int], num_keypoints: int, protocol: str, source: str
) -> dict[str, Any]:
    """The images that count, with their people, in a form with all the fields that the evaluation reads."""
    images = [image for image in content["images"] if image["id"] in wanted]
    if not images:
        raise UserError(f"{source}: none of its images is to be evaluated")
    if protocol == "crowdpose" and not all("crowdIndex" in image for image in images):
        raise UserError(f"{source}: no crowdIndex in its images, so this is no CrowdPose file")
    category = _person_category(content, source)
    chosen = [
        person
        for person in content["annotations"]
        if person["image_id"] in wanted and person.get("category_id", category) == category
    ]
    # ids from 1 on: the evaluation takes an annotation with the id 0 for nobody
    people = [
        _person(person, number, category, num_keypoints, protocol, source) for number, person in enumerate(chosen, 1)
    ]
    return {"images": images, "annotations": people, "categories": [{"id": category, "name": "person"}]}


def _person_category(content: Mapping[str, Any], source: str) -> int:
    """The category of people: the only one that there is, else COCO's 1."""
    categories = {int(person.get("category_id", PERSON_CATEGORY)) for person in content["annotations"]}
    if len(categories) > 1 and PERSON_CATEGORY not in categories:
        raise UserError(f"{source}: people must be of category {PERSON_CATEGORY}; there are {sorted(categories)}")
    return categories.pop() if len(categories) == 1 else PERSON_CATEGORY


def _person(
    person: Mapping[str, Any], number: int, category: int, num_keypoints: int, protocol: str, source: str
) -> dict[str, Any]:
    needed = ("keypoints", "bbox") if protocol == "crowdpose" else ("keypoints", "bbox", "area")
    lacking = [name for name in needed if name not in person]
    if lacking:
        raise UserError(f"{source}: annotation {person.get('id')} has no {lacking[0]}, which AP ({protocol}) needs")
    keypoints = person["keypoints"]
    if len(keypoints) != 3 * num_keypoints:
        given = f"{len(keypoints)} keypoint numbers"
        raise UserError(
            f"{source}: annotation {person.get('id')} has {given}, not 3 x {num_keypoints}: which skeleton?"
        )
    return {
        "id": number,
        "category_id": category,
        "image_id": person["image_id"],
        "keypoints": keypoints,
        "num_keypoints": person.get("num_keypoints", sum(v > 0 for v in keypoints[2::3])),
        "bbox": person["bbox"],
        "area": person.get("area", 0.0),
        "iscrowd": int(person.get("iscrowd", 0)),
    }


def _evaluate(
    truth: dict[str, Any], results: list[dict[str, Any]], sigmas: Sequence[float], protocol: str
) -> dict[str, float]:
    annotated = COCO(truth)
    evaluation = COCOeval_faster(
        annotated,
        annotated.loadRes(results),
        "keypoints_crowd" if protocol == "crowdpose" else "keypoints",
        kpt_oks_sigmas=np.asarray(sigmas, np.float64),
        use_area=protocol != "crowdpose",  # CrowdPose has no areas: 0.53 of the box
    )
    evaluation.run()
    return {name: float(value) for name, value in zip(METRICS[protocol], evaluation.all_stats, strict=False)}


def table(metrics: Mapping[str, float]) -> str:
    """The metrics in the lines of pycocotools."""
    return "\n".join(f"{_describe(name)} = {value:0.3f}" for name, value in metrics.items())


def _describe(name: str) -> str:
    kind, rest = name[:2], name[2:]
    title = "Average Precision" if kind == "AP" else "Average Recall"
    overlap = f"0.{rest}" if rest.isdigit() else "0.50:0.95"
    people = _RANGES.get(rest, "area=   all")
    return f" {title:<18} ({kind}) @[ IoU={overlap:<9} | {people} | maxDets={MAX_PEOPLE:>3d} ]"
