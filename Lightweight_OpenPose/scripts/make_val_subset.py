# SPDX-License-Identifier: Apache-2.0
"""Samples images of an annotation file: enough for validation during training.

python scripts/make_val_subset.py --labels <COCO>/annotations/person_keypoints_val2017.json
"""

import json
from dataclasses import dataclass
from typing import Any

from common import cli, files
from common.coco.evaluate import val_subset


@dataclass(frozen=True)
class Config:
    """Sample a subset of the images of a COCO keypoint file, with their annotations."""

    labels: str = cli.flag("annotation file, person_keypoints_val2017.json (required)", "")
    output_name: str = cli.flag("file to write", "val_subset.json")
    num_images: int = cli.flag("how many images; all where the file has fewer", 250, least=1)


def subset(dataset: dict[str, Any], num_images: int) -> dict[str, Any]:
    """The data set with `num_images` of its images, in drawn order, and their annotations, in the file's order.

    With COCO val2017's 5,000 images these are the 250 images of the published results.
    """
    images = [dataset["images"][position] for position in val_subset(len(dataset["images"]), num_images)]
    ids = {image["id"] for image in images}
    annotations = [one for one in dataset["annotations"] if one["image_id"] in ids]
    return {**dataset, "images": images, "annotations": annotations}


def main(argv: list[str] | None = None) -> None:
    """The command of this script."""
    config = cli.parse(Config, {}, argv, retired={"seed": "the published images are drawn"})
    if not config.labels:
        raise cli.UserError("--labels is required: the annotation file, person_keypoints_val2017.json")
    try:
        drawn = subset(files.read_json(config.labels), config.num_images)
    except (KeyError, TypeError) as error:
        raise cli.UserError(f"{config.labels}: not a COCO annotation file, {error} is missing") from error
    files.write_atomically(config.output_name, json.dumps(drawn, indent=4).encode())
    found = len(drawn["images"])
    note = "" if found == config.num_images else f", all that there are, not {config.num_images}"
    print(f"{config.output_name}: {found} images{note}, {len(drawn['annotations'])} annotations")


if __name__ == "__main__":
    cli.run(main)
