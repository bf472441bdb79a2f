# SPDX-License-Identifier: Apache-2.0
"""Keypoint annotations from one tool's format into another's.

    python -m tools.convert --from=cvat --to=coco --source=annotations.xml --images=photos --target=creatures

reads cvat, labelstudio, yolo, labelme, via, dlc (DeepLabCut), coco, halpe, and predictions (people.jsonl of a demo, or
COCO results with --annotations); writes a COCO or YOLO folder that trains at once, or a file for CVAT or Label Studio.
docs/convert.md says what each format gives, and which tool shows images turned by their EXIF tag.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import cli
from common.cli import UserError, flag
from tools.convert import (
    choices,
    coco,
    cvat,
    dlc,
    frames,
    halpe,
    labelme,
    labelstudio,
    places,
    predictions,
    result,
    splitting,
    via,
    yolo,
)
from tools.convert.dataset import Dataset, Image

READERS: dict[str, Callable[[Path], Dataset]] = {
    "cvat": cvat.read,
    "labelstudio": labelstudio.read,
    "yolo": yolo.read,
    "labelme": labelme.read,
    "via": via.read,
    "dlc": dlc.read,
    "coco": coco.read,
    "halpe": halpe.read,
}
SourceFormat = Literal["", "cvat", "labelstudio", "yolo", "labelme", "via", "dlc", "coco", "halpe", "predictions"]
TargetFormat = Literal["", "coco", "yolo", "cvat", "labelstudio"]
STORED = frozenset({"coco", "halpe", "dlc"})  # formats whose annotations belong to the pixels as they are stored


@dataclass(frozen=True)
class Config:
    """Convert keypoint annotations of CVAT, Label Studio, YOLO, labelme, VIA, DeepLabCut, COCO, Halpe; predictions."""

    source_format: SourceFormat = flag("format to read, also --from (required)", "")
    target_format: TargetFormat = flag("format to write, also --to (required)", "")
    source: str = flag("file or folder of the annotations (required)", "")
    target: str = flag("a new folder for the result (required)", "")
    images: str = flag("folder of the images; empty: beside the annotations", "")
    category: str = flag("the one category to take, by its name; empty: the only one that has keypoints", "")
    skeleton: str = flag("names and order of the keypoints: coco, crowdpose, or a YAML file; empty: the source's", "")
    exif: Literal["ignore", "turn"] = flag(
        "the frame of --to=coco: how the training will read images (its --exif)", "ignore"
    )
    shown: Literal["auto", "turned", "stored"] = flag("what the tool showed: images turned by EXIF, or stored", "auto")
    val: float | None = flag(
        "part of the images for validation, 0 to 1; none: the source's own split, else 0.1", None, most=1
    )
    split_by: str = flag(
        "empty: by image; folder; or a regular expression whose first group names what stays together", ""
    )
    subset: str = flag("take only this subset of the source: train, val, test, or a name of CVAT; empty: all", "")
    num_images: int = flag("number of images to take, drawn by --seed; 0: all", 0)
    only_annotated: bool = flag("leave out images without an instance", False)
    seed: int = flag("seed of the split", 0)
    place_images: Literal["link", "copy"] = flag("how images come into a COCO or YOLO folder", "link")
    annotations: str = flag("of --from=predictions with COCO results: the annotation file with the images' names", "")
    min_score: float = flag("of --from=predictions: score of a keypoint, from where it is taken", 0.0)


ALIASES = {"from": "source_format", "to": "target_format"}


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = cli.parse(Config, {}, argv, aliases=ALIASES)
    _check(config)
    dataset = read(config)
    dataset = choices.one_category(dataset, config.category)
    dataset = choices.ordered(dataset, config.skeleton)
    dataset = choices.some_images(dataset, config.subset, config.only_annotated, config.num_images, config.seed)
    dataset = _framed(dataset, config)
    if config.target_format in result.FOLDERS:
        images = splitting.split(dataset.images, config.val, config.split_by, config.seed)
        dataset = dataclasses.replace(dataset, images=images)
    result.write(dataset, config.target_format, Path(config.target), config.place_images)
    _report(dataset, config)


def _check(config: Config) -> None:
    for name in ("source_format", "target_format", "source", "target"):
        if not getattr(config, name):
            word = {"source_format": "from", "target_format": "to"}.get(name, name)
            raise UserError(
                f"--{word} is needed: python -m tools.convert --from=cvat --to=coco --source=... --target=..."
            )
    target = Path(config.target)
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"--target={target}: there is something already; name a new folder")


def read(config: Config) -> Dataset:
    """The source, in the frame that its tool showed."""
    source = Path(config.source)
    if config.source_format == "predictions":
        known = choices.category_of_skeleton(config.skeleton) if config.skeleton else None
        return predictions.read(source, config.annotations, config.min_score, known)
    return choices.each_image_once(READERS[config.source_format](source))


def _framed(dataset: Dataset, config: Config) -> Dataset:
    """Pixels in the frame of the result, points and boxes inside their images."""
    source = Path(config.source)
    root = Path(config.images) if config.images else _root(source if source.is_dir() else source.parent)
    found = places.locate(dataset, root, needed=config.target_format in result.FOLDERS)
    wants_turned = config.exif == "turn" if config.target_format == "coco" else True
    images, turned, out = [], 0, 0
    for place, image in enumerate(dataset.images):
        if place in found:
            image, is_turned = places.checked(image, found[place], _shown(config))
            image = frames.to_pixels(image)
            if is_turned != wants_turned:
                turned += found[place].orientation != 1
                image = frames.turn(image, found[place].orientation, wants_turned, dataset.categories)
        image, count = frames.inside(frames.to_pixels(image))
        out += count
        images.append(_without_nobody(image))
    if turned:
        choices.note(f"{turned} images have an EXIF orientation: their points are those of --exif={config.exif} now")
    if out:
        choices.note(f"{out} keypoints beyond their image are not labelled now")
    return dataclasses.replace(dataset, images=images)


def _root(folder: Path) -> Path:
    return folder.parent if folder.name.lower() in ("annotations", "labels", "ann") else folder


def _shown(config: Config) -> str:
    if config.shown != "auto":
        return config.shown
    results = config.source_format == "predictions" and config.annotations
    return "stored" if config.source_format in STORED or results else "turned"


def _without_nobody(image: Image) -> Image:
    """Without instances that have neither a point nor a box."""
    return dataclasses.replace(image, instances=tuple(one for one in image.instances if one.box))


def _report(dataset: Dataset, config: Config) -> None:
    ((name, category),) = dataset.categories.items()
    count = sum(len(image.instances) for image in dataset.images)
    subsets = {image.subset for image in dataset.images}
    parts = [f"{sum(image.subset == one for image in dataset.images)} {one}" for one in sorted(subsets) if one]
    images = f"{len(dataset.images)} images" + (f" ({', '.join(parts)})" if parts else "")
    print(f"{config.target}: {images}, {count} of {name}, {len(category.keypoints)} keypoints")  # noqa: T201
    if config.target_format == "coco":
        print(f"check it: python -m common.coco {config.target} --skeleton={config.target}/skeleton.yaml")  # noqa: T201


if __name__ == "__main__":
    cli.run(main)
