# SPDX-License-Identifier: Apache-2.0
"""Label Studio's JSON and JSON-MIN exports: keypointlabels and rectanglelabels, in percent of the image.

A keypoint's instance is the region that it is related to, or its parentID, else the box around it. Label Studio shows
images as a browser does, turned by their EXIF tag; a rotation in the tool (`image_rotation`) is undone here.
"""

import json
import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import parse_qs, unquote, urlsplit

from common import files
from common.cli import UserError
from common.media.source import IMAGE_SUFFIXES
from tools.convert import grouping, reading
from tools.convert.dataset import HIDDEN, Box, Category, Dataset, Image, Instance, build
from tools.convert.reading import list_of, number, object_of

CURE = "Export again as `JSON` (or `JSON-MIN`)"
FULL = 100.0  # percent
POINT_WIDTH = 0.5  # percent: how large a point is drawn
NAMESPACE = uuid.UUID("8a6f7d52-3c0e-4c51-9d1c-0b6c1f7f1a6b")
IMAGE_KEYS = ("image", "img", "images", "picture", "photo", "url")


def read(source: Path) -> Dataset:
    """An export, or a folder with some. Raises UserError, naming file, task and cure."""
    paths = reading.source_files(source, ("*.json", "**/*.json"), "the exported JSON file")
    images = [image for path in paths for image in _images(path)]
    if not images:
        raise UserError(f"{source}: no annotated task in it. Annotate some, and export again as `JSON`")
    return build(source, images)


def _images(path: Path) -> Iterator[Image]:
    content = files.read_json(path)
    if not isinstance(content, list):
        content = [content]  # one task, as the API gives it
    for place, task in enumerate(content):
        with reading.entry(path, f"task {task.get('id', place) if isinstance(task, dict) else place}", CURE):
            results = _results(object_of(task, "the task"))
            if results is not None:
                yield _image(task, results)


def _results(task: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The regions of the annotation that counts: ground truth, else the last; None for a task without annotations."""
    if "annotations" not in task and "completions" not in task:
        return _of_min(task)
    found = list_of(task.get("annotations", task.get("completions")), "annotations")
    done = [one for one in found if isinstance(one, dict) and not one.get("was_cancelled")]
    if not done:
        return None
    chosen = next((one for one in done if one.get("ground_truth")), done[-1])
    return [object_of(one, "a region") for one in list_of(chosen.get("result"), "result")]


def _of_min(task: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The regions of JSON-MIN, where a region is its own value."""
    lists = [value for value in task.values() if isinstance(value, list)]
    regions = [one for values in lists for one in values if isinstance(one, dict) and "x" in one and "y" in one]
    if not regions and "annotator" not in task:
        raise ValueError("it has neither annotations nor keypoints")
    return [{**region, "value": region} for region in regions]


def _image(task: dict[str, Any], results: list[dict[str, Any]]) -> Image:
    regions = [one for one in results if isinstance(one.get("value"), dict)]
    sizes = {reading.size_of(one.get("original_width"), one.get("original_height")) for one in regions} - {None}
    if len(sizes) > 1:
        raise ValueError(f"regions of images of several sizes: {sorted(filter(None, sizes))}; one image a task is read")
    size = next(iter(sizes), None)
    scale = size or (1, 1)
    owner = {one["from_id"]: one["to_id"] for one in results if one.get("type") == "relation"}
    owner |= {to: source for source, to in owner.items() if to not in owner}  # either end may be the point
    hidden = {one.get("id") for one in results if "choices" in str(one.get("type")) and _says_hidden(one)}
    frames = [frame for one in regions if (frame := _frame(one, scale))]
    groups = {frame.group for frame in frames}
    points = [point for one in regions if (point := _point(one, scale, owner, groups, hidden))]
    return Image(name_of(task), size, grouping.instances(points, frames), fractions=size is None)


def name_of(task: dict[str, Any]) -> str:
    """The path of a task's image, out of an address: /data/local-files/?d=..., s3://..., http://..."""
    data = task["data"] if isinstance(task.get("data"), dict) else task
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    likely = [texts[key] for key in IMAGE_KEYS if key in texts]
    likely += [value for value in texts.values() if Path(urlsplit(value).path).suffix.lower() in IMAGE_SUFFIXES]
    if not likely:
        raise ValueError(f"its data has no image: {', '.join(data)[:80]}")
    address = urlsplit(likely[0])
    local = parse_qs(address.query).get("d")
    return local[0] if local else unquote(address.path if address.scheme or address.query else likely[0])


def _says_hidden(one: dict[str, Any]) -> bool:
    choices = one.get("value", {}).get("choices", [])
    return any(reading.visibility({"v": choice}) == HIDDEN for choice in choices)


def _label(value: dict[str, Any], kind: str) -> str:
    labels = list_of(value[kind], kind)
    if len(labels) != 1:
        raise ValueError(f"{kind} are {labels}, not one label")
    return reading.name_of(labels[0], "a label")


def _kind(one: dict[str, Any], usual: str, fits: bool) -> str:
    """The key of a region's label: `<KeyPoint>` and `<Rectangle>` beside `<Labels>` have it in `labels`."""
    return "labels" if one.get("type") == "labels" and fits and "x" in one["value"] else usual


def _frame(one: dict[str, Any], scale: tuple[int, int]) -> grouping.Frame | None:
    value = one["value"]
    kind = _kind(one, "rectanglelabels", "height" in value)
    if not value.get(kind):
        return None
    sides = [number(value[side], side) / FULL for side in ("x", "y", "width", "height")]
    sideways = _turn_of(one) in (90, 270)  # then what was annotated is as wide as the image is high
    corners = _corners(sides, number(value.get("rotation") or 0, "rotation"), scale[::-1] if sideways else scale)
    corners = [_turned_back(x, y, one) for x, y in corners]
    left, right = (edge(x for x, _ in corners) for edge in (min, max))
    top, bottom = (edge(y for _, y in corners) for edge in (min, max))
    box: Box = left * scale[0], top * scale[1], (right - left) * scale[0], (bottom - top) * scale[1]
    return grouping.Frame(_label(value, kind), box, one.get("id"))


def _corners(sides: list[float], degrees: float, scale: tuple[int, int]) -> list[tuple[float, float]]:
    """The corners, as fractions, of a rectangle that may be turned about its first one, clockwise."""
    left, top, width, height = sides
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    wide, high = width * scale[0], height * scale[1]
    ends = [(0.0, 0.0), (wide, 0.0), (wide, high), (0.0, high)]
    return [(left + (x * cos - y * sin) / scale[0], top + (x * sin + y * cos) / scale[1]) for x, y in ends]


def _point(
    one: dict[str, Any], scale: tuple[int, int], owner: dict[Any, Any], groups: set[Any], hidden: set[Any]
) -> grouping.Point | None:
    value = one["value"]
    kind = _kind(one, "keypointlabels", "height" not in value)
    if not value.get(kind):
        return None
    x, y = _turned_back(number(value["x"], "x") / FULL, number(value["y"], "y") / FULL, one)
    group = owner.get(one.get("id")) or one.get("parentID")
    is_hidden = one.get("id") is not None and one.get("id") in hidden
    v = HIDDEN if is_hidden else reading.visibility({**value, **_meta(one)})
    whose = group if group in groups else None
    return grouping.Point(_label(value, kind), x * scale[0], y * scale[1], v, whose)


def _meta(one: dict[str, Any]) -> dict[str, Any]:
    """What people write of a region: `{"text": ["hidden"]}` counts as its visibility."""
    meta = one.get("meta")
    if not isinstance(meta, dict):
        return {}
    texts = meta.get("text")
    return {**meta, "v": texts[0]} if isinstance(texts, list) and texts else meta


def _turned_back(x: float, y: float, one: dict[str, Any]) -> tuple[float, float]:
    """A place, as fractions of the image as it was turned in the tool, in the image as it is."""
    return {0: (x, y), 90: (y, 1 - x), 180: (1 - x, 1 - y), 270: (1 - y, x)}[_turn_of(one)]


def _turn_of(one: dict[str, Any]) -> int:
    """By how much the image was turned in the tool, clockwise: 0, 90, 180 or 270 degrees."""
    rotation = number(one.get("image_rotation") or one.get("original_rotation") or 0, "image_rotation") % 360
    if rotation not in (0, 90, 180, 270):
        raise ValueError(f"image_rotation is {rotation:g}, no quarter turn")
    return int(rotation)


def write(dataset: Dataset, target: TextIO) -> None:
    """Tasks with predictions, for Label Studio's import. `from_name` is kp and bbox, `to_name` image."""
    tasks = [_task(image, dataset.categories) for image in dataset.images]
    json.dump(tasks, target, indent=1)


def _task(image: Image, categories: dict[str, Category]) -> dict[str, Any]:
    results = [
        one
        for place, instance in enumerate(image.instances)
        for one in _regions(image, place, instance, categories[instance.category])
    ]
    scores = [one.score for one in image.instances if one.score is not None]
    score = {"score": sum(scores) / len(scores)} if scores else {}
    data = {"image": f"/data/local-files/?d={image.name}"}
    return {"data": data, "predictions": [{"model_version": "pose_zoo", "result": results, **score}]}


def _regions(image: Image, place: int, one: Instance, category: Category) -> Iterator[dict[str, Any]]:
    width, height = image.size or (1, 1)
    around = {"original_width": width, "original_height": height, "image_rotation": 0, "to_name": "image"}
    parent = str(uuid.uuid5(NAMESPACE, f"{image.name} {place}"))
    left, top, wide, high = one.box or box_around(one)
    sides = {"x": left / width, "y": top / height, "width": wide / width, "height": high / height}
    value: dict[str, Any] = {side: FULL * length for side, length in sides.items()}
    value = {**value, "rotation": 0, "rectanglelabels": [category.name]}
    yield {**around, "id": parent, "from_name": "bbox", "type": "rectanglelabels", "value": value}
    for name, (x, y, v) in zip(category.keypoints, one.keypoints.tolist(), strict=True):
        if v:
            spot = {"x": FULL * x / width, "y": FULL * y / height, "width": POINT_WIDTH, "keypointlabels": [name]}
            number_ = str(uuid.uuid5(NAMESPACE, f"{image.name} {place} {name}"))
            whose = {"id": number_, "parentID": parent, "from_name": "kp", "type": "keypointlabels"}
            yield {**around, **whose, "value": spot, **({"meta": {"text": ["hidden"]}} if v == HIDDEN else {})}


def box_around(one: Instance) -> Box:
    """left, top, width, height of the labelled points."""
    points = one.keypoints[one.keypoints[:, 2] > 0, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])
