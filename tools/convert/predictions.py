# SPDX-License-Identifier: Apache-2.0
"""People that a network found, to be corrected in a tool: people.jsonl of the demos, or COCO results with annotations.

People.jsonl is in the frame of the image turned by its EXIF tag, COCO results in that of their annotations.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError
from common.coco import fields
from common.media.source import IMAGE_SUFFIXES
from common.skeleton import COCO, OPENPOSE
from tools.convert import coco, reading
from tools.convert.dataset import VISIBLE, Category, Dataset, Image, Named, build
from tools.convert.reading import list_of, number, object_of

CURE = "people.jsonl of a demo, or a COCO result file with --annotations, is needed"
CATEGORY = "person"


def read(source: Path, annotations: str, min_score: float, known: Category | None = None) -> Dataset:
    """Keypoints with a score of at least `min_score` (and above 0), as visible points; `known`: their order and limbs.

    Raises UserError, naming file, line and cure.
    """
    paths = reading.source_files(source, ("people.jsonl", "*.jsonl", "*.json"), "people.jsonl or COCO results")
    if paths[0].suffix == ".jsonl":
        return _lines_dataset(source, list(_of_lines(paths, min_score)), known)
    if not annotations:
        raise UserError(f"{paths[0]}: COCO results name no images; give their annotation file: --annotations")
    truth = coco.read(Path(annotations))
    return build(source, _of_results(paths[0], truth, min_score), truth.categories.values())


def _lines_dataset(source: Path, images: list[Image], known: Category | None) -> Dataset:
    """Without a skeleton, points of COCO are in COCO's order; a point that the skeleton lacks (neck) is left out."""
    names = {name for image in images for one in image.instances for name in one.points}
    if not names:
        raise UserError(
            f"{source}: the network found no people in its {len(images)} images; there is nothing to correct"
        )
    if known is None and names <= {*OPENPOSE.points}:
        known = Category(CATEGORY, COCO.keypoints, COCO.limbs, COCO.flip_pairs)
    if known is None:
        return build(source, images)
    return build(source, [_of_category(image, known) for image in images], [known])


def _of_category(image: Image, known: Category) -> Image:
    people = [
        Named(known.name, {name: one.points[name] for name in known.keypoints if name in one.points}, score=one.score)
        for one in image.instances
    ]
    return dataclasses.replace(image, instances=tuple(people))


def _of_lines(paths: list[Path], min_score: float) -> Iterator[Image]:
    for path in paths:
        lines = files.read_bytes(path).decode("utf-8-sig", "replace").splitlines()
        for place, line in enumerate(lines, 1):
            if line.strip():
                with reading.entry(path, f"line {place}", CURE):
                    yield _frame(object_of(json.loads(line), "the line"), min_score)


def _frame(content: dict[str, Any], min_score: float) -> Image:
    source = str(content["source"])
    is_image = Path(source).suffix.lower() in IMAGE_SUFFIXES
    name = source if is_image else f"frame_{fields.whole(content['frame'], 'frame'):06d}"  # as CVAT names frames
    people = []
    for person in list_of(content["people"], "people"):
        points = {
            reading.name_of(point): (number(x), number(y), VISIBLE if 0 < score >= min_score else 0)
            for point, (x, y, score) in object_of(object_of(person)["keypoints"]).items()
        }
        people.append(Named(CATEGORY, points, score=number(person["score"], "score")))
    return Image(name, reading.size_of(content["width"], content["height"]), tuple(people))


def _of_results(path: Path, truth: Dataset, min_score: float) -> list[Image]:
    with_points = [one for one in truth.categories.values() if one.keypoints]
    if len(with_points) != 1:
        raise UserError(f"{truth.source}: {len(with_points)} categories have keypoints, one is needed for results")
    category, people = with_points[0], dict[int, list[Named]]()
    with reading.entry(path, "file", CURE):
        results = list_of(files.read_json(path), "the content")
    for place, result in enumerate(results):
        with reading.entry(path, f"entry {place}", CURE):
            owner = fields.whole(object_of(result)["image_id"], "image_id")
            people.setdefault(owner, []).append(_person(result, category, min_score))
    images = [
        Image(image.name, image.size, tuple(people.pop(image.id or 0, ())), image.subset, id=image.id)
        for image in truth.images
    ]
    if people:
        raise UserError(f"{path}: image_id {next(iter(people))} is not in {truth.source}: name its own annotations")
    return images


def _person(result: dict[str, Any], category: Category, min_score: float) -> Named:
    values = fields.numbers_of(result, "keypoints")
    if len(values) != 3 * len(category.keypoints):
        raise ValueError(f"{len(values)} keypoint numbers, not 3 x {len(category.keypoints)}")
    rows = zip(category.keypoints, values[0::3], values[1::3], values[2::3], strict=True)
    points = {name: (number(x), number(y), VISIBLE if 0 < score >= min_score else 0) for name, x, y, score in rows}
    return Named(category.name, points, score=number(result["score"], "score"))
