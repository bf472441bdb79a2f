# SPDX-License-Identifier: Apache-2.0
"""COCO keypoints: one file, the folder of the published layout, or Roboflow's folders.

COCO's annotations belong to the stored pixels, without EXIF; files of other tools may differ (--shown).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError
from common.coco import fields
from common.skeleton import COCO
from tools.convert import reading
from tools.convert.dataset import HIDDEN, VISIBLE, Box, Category, Dataset, Image, Named, build
from tools.convert.reading import list_of, number, object_of

CURE = "See cocodataset.org, Data format, Keypoint detection; `python -m common.coco` lists all that is wrong"
PATTERNS = (
    "annotations/person_keypoints_*.json",
    "*/_annotations.coco.json",
    "annotations/*.json",
    "*.json",
    "**/*.json",
)
KEPT = ("area", "iscrowd", "segmentation")
DEFAULT_CATEGORY = "person"


def read(source: Path, names: tuple[str, ...] = ()) -> Dataset:
    """A file or a folder. `names`: of keypoints, for files without. Raises UserError, naming file, entry and cure."""
    known: dict[str, Category] = {}
    paths = reading.source_files(source, PATTERNS, "a COCO keypoint file, or the folder with `annotations`")
    images = [image for path in paths for image in _images(path, known, names)]
    if not images:
        raise UserError(f"{source}: its list `images` is empty. {CURE}")
    dataset = build(source, images, known.values())
    rows = [row for image in dataset.images for one in image.instances for row in one.keypoints if row[2] > 0]
    if rows and max(max(x, y) for x, y, _ in rows) <= 1:
        what = "all coordinates of keypoints lie between 0 and 1: parts of the image"
        raise UserError(f"{source}: {what}. Multiply them by its width and height: pixels are needed")
    return dataset


def subset_of(path: Path) -> str:
    """train, val, test or nothing, from a file's name, else from that of its folder."""
    for word in (path.stem.lower(), path.parent.name.lower()):
        for key, subset in (("train", "train"), ("val", "val"), ("test", "test")):
            if key in word:
                return subset
    return ""


def _images(path: Path, known: dict[str, Category], names: tuple[str, ...]) -> Iterator[Image]:
    content = files.read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise UserError(f"{path}: no list `images`. {CURE}")
    with reading.entry(path, "its lists", CURE):
        lists = {name: list_of(content.get(name) or [], name) for name in ("images", "annotations", "categories")}
    titles = dict(_categories(path, lists["categories"], known))
    people: dict[int, list[Named]] = {}
    for place, element in enumerate(lists["annotations"]):
        with reading.entry(path, f"annotations[{place}]", CURE):
            owner = fields.whole(object_of(element)["image_id"], "image_id")
            people.setdefault(owner, []).append(_person(element, titles, known, names))
    subset = subset_of(path)
    for place, element in enumerate(lists["images"]):
        with reading.entry(path, f"images[{place}]", CURE):
            number_, name, height, width, _ = fields.image_of(element)
            yield Image(name.decode(), (width, height), tuple(people.pop(number_, ())), subset, id=number_)
    if people:
        raise UserError(f"{path}: annotations of image {next(iter(people))}, which is not in `images`. {CURE}")


def _categories(path: Path, categories: list[Any], known: dict[str, Category]) -> Iterator[tuple[str, str]]:
    for place, element in enumerate(categories):
        with reading.entry(path, f"categories[{place}]", CURE):
            title = reading.name_of(object_of(element).get("name", element.get("id")), "name")
            points = tuple(fields.category(element)[2])
            if len(set(points)) != len(points):
                raise ValueError("a keypoint's name occurs twice")
            pairs = [pair for pair in list_of(element.get("skeleton") or [], "skeleton") if len(pair) == 2]  # noqa: PLR2004
            limbs = [(points[a - 1], points[b - 1]) for a, b in pairs if 0 < min(a, b) <= max(a, b) <= len(points)]
            if not known.get(title, Category(title)).keypoints:
                known[title] = Category(title, points, tuple(limbs))
            yield fields.category_of(element.get("id")), title


def _person(
    element: dict[str, Any], titles: dict[str, str], known: dict[str, Category], names: tuple[str, ...]
) -> Named:
    key = fields.category_of(element.get("category_id"))
    if titles and key not in titles:
        raise ValueError(f"category {key!r}, which `categories` does not have")
    title = titles.get(key, DEFAULT_CATEGORY)
    values = fields.numbers_of(element, "keypoints") if element.get("keypoints") else []
    points = known[title].keypoints if title in known else ()
    if values and not points:
        points = names if 3 * len(names) == len(values) else default_names(len(values) // 3)
        known[title] = Category(title, points)
    if values and len(values) != 3 * len(points):
        raise ValueError(f"{len(values)} keypoint numbers, not 3 x {len(points)}")
    rows = [(number(values[at]), number(values[at + 1]), _v(values[at + 2])) for at in range(0, len(values), 3)]
    kept = {key: element[key] for key in KEPT if element.get(key) is not None}
    return Named(title, dict(zip(points, rows, strict=False)), _box(element), coco=kept)


def default_names(count: int) -> tuple[str, ...]:
    """COCO's names where there are as many, else point_0, point_1, ..."""
    return COCO.keypoints if count == COCO.num_keypoints else tuple(f"point_{place}" for place in range(count))


def _v(value: float) -> int:
    if value not in (0, HIDDEN, VISIBLE):
        raise ValueError(f"v is {value:g}, not 0, 1 or 2")
    return int(value)


def _box(element: dict[str, Any]) -> Box | None:
    if not element.get("bbox"):
        return None
    left, top, width, height = fields.numbers_of(element, "bbox")
    return number(left), number(top), number(width), number(height)


def write(dataset: Dataset, folder: Path, names: dict[int, str]) -> None:
    """annotations/person_keypoints_{train,val}2017.json, skeleton.yaml and data.yaml; `names`: of the image files."""
    (folder / "annotations").mkdir(parents=True)
    subsets = sorted({image.subset for image in dataset.images})
    numbers = _numbers(dataset.images)
    for subset in subsets:
        rows = [place for place, image in enumerate(dataset.images) if image.subset == subset]
        content = _content(dataset, rows, numbers, names)
        path = folder / "annotations" / f"person_keypoints_{subset}2017.json"
        with path.open("w", encoding="utf-8") as file:
            json.dump(content, file, separators=(",", ":"))
    first = next(iter(dataset.categories.values()))
    (folder / "skeleton.yaml").write_text(skeleton_text(first), encoding="utf-8")
    (folder / "data.yaml").write_text(_data_text(subsets), encoding="utf-8")


def _numbers(images: list[Image]) -> list[int]:
    """The ids of a COCO file, where all images have one; else 1, 2, ..."""
    given = [image.id for image in images if image.id is not None]
    return given if len(set(given)) == len(images) else list(range(1, len(images) + 1))


def _content(dataset: Dataset, rows: list[int], numbers: list[int], names: dict[int, str]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories = {name: place for place, name in enumerate(dataset.categories, 1)}
    for row in rows:
        image = dataset.images[row]
        width, height = image.size or (0, 0)
        images.append({"id": numbers[row], "file_name": names[row], "width": width, "height": height})
        for one in image.instances:
            left, top, wide, high = one.box or (0, 0, 0, 0)
            keypoints = one.keypoints.round(3).ravel().tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": numbers[row],
                    "category_id": categories[one.category],
                    "bbox": [round(side, 3) for side in (left, top, wide, high)],
                    "area": round(wide * high, 3),
                    "segmentation": [],
                    "iscrowd": 0,
                    "keypoints": keypoints,
                    "num_keypoints": int((one.keypoints[:, 2] > 0).sum()),
                    **one.coco,
                }
            )
    listed = [_category(number_, dataset.categories[name]) for name, number_ in categories.items()]
    return {"images": images, "annotations": annotations, "categories": listed}


def _category(number_: int, one: Category) -> dict[str, Any]:
    limbs = [[one.keypoints.index(a) + 1, one.keypoints.index(b) + 1] for a, b in one.limbs]
    return {"id": number_, "name": one.name, "keypoints": list(one.keypoints), "skeleton": limbs}


def skeleton_text(one: Category) -> str:
    """The YAML file of `--skeleton`."""
    values = {"name": one.name, "keypoints": one.keypoints, "flip_pairs": one.flip_pairs, "limbs": one.limbs}
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())


def _data_text(subsets: list[str]) -> str:
    lines = [
        f"{subset}: {{images: {subset}2017, annotations: annotations/person_keypoints_{subset}2017.json}}\n"
        for subset in subsets
    ]
    return "".join(lines) + "skeleton: skeleton.yaml\n"
