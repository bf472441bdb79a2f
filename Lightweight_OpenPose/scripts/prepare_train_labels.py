# SPDX-License-Identifier: Apache-2.0
"""Counts the people to train on, and copies their annotations to where `train.py --prepared_train_labels` reads them.

python scripts/prepare_train_labels.py --labels <COCO>/annotations/person_keypoints_train2017.json
"""

from dataclasses import dataclass

from common import cli, files
from common.skeleton import load
from Lightweight_OpenPose.labels import build

RETIRED = {"original_format": "the file is read by train.py alone"}


@dataclass(frozen=True)
class Config:
    """Prepare training labels from a COCO keypoint file."""

    labels: str = cli.flag("annotation file, person_keypoints_train2017.json (required)", "")
    output_name: str = cli.flag("file to write", "prepared_train_annotation.pkl")
    net_input_size: int = cli.flag("accepted as published: train.py scales the people", 368, least=1, most=4096)
    skeleton: str = cli.flag("openpose, coco, crowdpose, or a YAML file", "openpose")


def main(argv: list[str] | None = None) -> None:
    """The command of this script."""
    config = cli.parse(Config, {}, argv, retired=RETIRED)
    if not config.labels:
        raise cli.UserError("--labels is required: the annotation file, person_keypoints_train2017.json")
    prepared = build(config.labels, load(config.skeleton).num_keypoints)
    files.write_atomically(config.output_name, files.read_bytes(config.labels))
    print(f"{config.output_name}: {len(prepared)} people to train on, in {len(set(prepared.images.tolist()))} images")


if __name__ == "__main__":
    cli.run(main)
